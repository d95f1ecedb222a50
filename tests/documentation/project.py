"""A copy of the project in which documented commands run as they stand there, with the programs that were built."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from scripts.machine import EFFECTS, PROJECT, Machine


class Project(Machine):
    """A machine whose Python, mpirun and bertdist are the real ones; nothing is installed or compiled on it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.install_all_packages()
        self.set_user_id(os.geteuid())
        self.add_program("ninja", f'mkdir -p "$2/bin"; ln -sf {os.environ["BERTDIST"]} "$2/bin/bertdist"')
        self.add_program("mpirun", f'exec {shutil.which("mpirun")} --oversubscribe "$@"')
        self.add_program("venv-python", f'if [[ $1 == -m && $2 == pip ]]; then {EFFECTS["venv-python"]}; '
                                        f'else exec {sys.executable} "$@"; fi')
        (self.project / "models").mkdir()
        (self.project / "models" / "all-MiniLM-L6-v2").symlink_to(os.environ["BERTDIST_MINILM"])

    def environment(self) -> dict[str, str]:
        return super().environment() | {"CUDA_VISIBLE_DEVICES": ""}  # as for all tests of a build for CPUs

    def shell(self, script: str, **environment: str) -> str:
        """What the script prints, standard error included."""
        as_root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        done = subprocess.run(["bash", "-euc", script], cwd=self.project, env=self.environment() | as_root | environment,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=300)
        assert done.returncode == 0, done.stdout
        return done.stdout.replace(str(self.folder), "~")


def blocks(file: str, language: str) -> list[str]:
    """The fenced blocks of a document that are in this language ("" for none)."""
    text = (PROJECT / file).read_text()
    return [body for name, body in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL) if name == language]


def sessions(file: str) -> list[tuple[str, list[str]]]:
    """The commands of a document's console blocks, each with the lines that it prints there."""
    found: list[tuple[str, list[str]]] = []
    for block in blocks(file, "console"):
        lines = iter(block.splitlines())
        for line in lines:
            if not line.startswith("$ "):
                found[-1][1].append(line)
                continue
            command = line[2:]
            while command.endswith(("|", "\\")) or command.count("'") % 2:
                command += "\n" + next(lines)
            found.append((command, []))
    return found


NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?![\w.]*\w)")


def same_line(expected: str, actual: str, tolerance: float) -> bool:
    """Whether the lines are equal, but for the last digits of their fractions and for what is of the machine."""
    for pattern, stand_in in ((r"\(\S+\), \d+ threads? each", "(HOST)"), (r"\b[0-9a-f]{32}\b", "HASH"),
                                (r"looked at \S+", "looked at PATH"), (r"\s+", " ")):
        expected, actual = re.sub(pattern, stand_in, expected), re.sub(pattern, stand_in, actual)
    if NUMBER.sub("N", expected) != NUMBER.sub("N", actual):
        return False
    pairs = zip(NUMBER.findall(expected), NUMBER.findall(actual), strict=True)
    return all(a == b if "." not in a else abs(float(a.replace(",", "")) - float(b.replace(",", ""))) <= tolerance
               for a, b in pairs)


def missing_lines(expected: list[str], printed: str, tolerance: float) -> list[str]:
    """The lines of a document, other than those that stand for more, that no printed line is the same as."""
    actual = printed.splitlines()
    return [line for line in expected if line.strip() not in ("", "…")
            and not any(same_line(line, other, tolerance) for other in actual)]
