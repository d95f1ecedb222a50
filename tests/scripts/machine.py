"""A copy of the project's scripts on a machine of stand-ins: programs that write down how they were called."""

import os
import shutil
import subprocess
from pathlib import Path

PROJECT = Path(__file__).parents[2]

# What the stand-ins do besides: just enough of the real programs' effects.
EFFECTS = {
    "apt-get": "",
    # cmake --preset NAME -B FOLDER
    "cmake": 'mkdir -p "$4"; touch "$4/build.ninja" "$4/CMakeCache.txt"',
    "curl": "",
    "dpkg-query": 'grep -qx "${*: -1}" "$MACHINE/packages" && echo -n installed',
    "id": 'cat "$MACHINE/uid"',
    "mpirun": "",
    "ninja": "",
    "nvidia-smi": "exit 1",
    # python3 -m venv DIR, and the DIR/bin/python that comes of it
    "python3": '[[ $1 == -m ]] || exit 1; mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; cp "$MACHINE/bin/venv-python" "$3/bin/python"',
    "sudo": 'exec "$@"',
    # python -m pip install; what pip offers is in the file wheel
    "venv-python": '[[ $3 != uninstall ]] || exit 0; read -r version cuda < "$MACHINE/wheel"; '
    'd=${0%/bin/python}/lib/python3.11/site-packages/torch; mkdir -p "$d/lib"; '
    '[[ -z $cuda ]] || touch "$d/lib/libtorch_cuda.so"; '
    "printf \"__version__ = '%s'\\ncuda: Optional[str] = '%s'\\n\" \"$version\" \"$cuda\" > \"$d/version.py\"",
}
# Questions that change nothing.
UNLOGGED = {"dpkg-query", "id", "nvidia-smi"}


class Machine:
    def __init__(self, folder: Path) -> None:
        self.project = folder / "project"
        self.folder = folder
        self.log = folder / "log"
        for part in ("launcher", "configs", "data"):
            shutil.copytree(PROJECT / part, self.project / part)
        (self.project / "tests").mkdir()
        shutil.copy(PROJECT / "tests" / "requirements.txt", self.project / "tests")
        (folder / "bin").mkdir()
        (folder / "tmp").mkdir()
        for name, effect in EFFECTS.items():
            self.add_program(name, effect)
        self.set_user_id(0)
        (folder / "packages").write_text("")
        (folder / "wheel").write_text("2.13.0+cpu\n")

    def add_program(self, name: str, effect: str) -> None:
        file = self.folder / "bin" / name
        log = "" if name in UNLOGGED else 'echo "${0##*/} $*" >> "$MACHINE/log"\n'
        file.write_text(f"#!/usr/bin/env bash\n{log}{effect}\n")
        file.chmod(0o755)

    def set_user_id(self, number: int) -> None:
        (self.folder / "uid").write_text(f"{number}\n")

    def install_all_packages(self) -> None:
        text = (self.project / "launcher" / "setup").read_text()
        lists = text.split("packages=(", 1)[1].split("cpu_wheels", 1)[0]
        (self.folder / "packages").write_text("\n".join(lists.replace("test_packages=(", " ").replace(")", " ").split()))

    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "MACHINE": str(self.folder),
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder / "tmp"),
        }

    def run(self, script: str, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
        self.log.write_text("")
        return subprocess.run(
            [self.project / script, *arguments], env=self.environment(), cwd=cwd, stdin=subprocess.DEVNULL,
            capture_output=True, text=True,
        )

    def calls(self) -> list[str]:
        return self.log.read_text().splitlines()
