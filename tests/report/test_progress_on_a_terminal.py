"""The progress line rewrites itself on a terminal, and there only, with and without mpirun."""

import fcntl
import os
import pty
import struct
import subprocess
import termios

import pytest

PROGRAM = os.environ["PRINT_PROGRESS"]
COMMANDS = [[PROGRAM], [os.environ["MPIRUN"], "-np", "1", PROGRAM]]


def run_on_a_terminal(command, columns):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs, check=True)
    output = os.read(ours, 65536).decode()
    os.close(theirs)
    os.close(ours)
    return output


@pytest.mark.parametrize("command", COMMANDS, ids=["alone", "mpirun"])
def test_one_line_is_rewritten(command):
    output = run_on_a_terminal(command, columns=100)
    assert "step 1/3" in output and "step 3/3" in output
    assert "\n" not in output
    assert output.endswith("\r\x1b[K")


def test_a_narrow_terminal_cuts_the_line():
    output = run_on_a_terminal([PROGRAM], columns=20)
    assert output.split("\r\x1b[K")[1] == "epoch 1/1  step 1/3"


@pytest.mark.parametrize("command", COMMANDS, ids=["alone", "mpirun"])
def test_a_pipe_gets_no_control_characters(command):
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "\r" not in result.stderr and "\x1b" not in result.stderr
