"""How much memory a command takes at its most."""

import subprocess
import sys

# A process's peak counts what it was before exec, a copy of the pytest that started it: something small starts it instead.
STARTER = """import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
sys.exit(code)"""


def start_measured(command, **options):
    """The command's process; its peak in MiB is the last line of its standard output."""
    return subprocess.Popen([sys.executable, "-S", "-c", STARTER, *command], stdout=subprocess.PIPE, text=True, **options)


def peak_of(process, text=None):
    output, _ = process.communicate(text)
    assert process.returncode == 0
    return float(output.splitlines()[-1])
