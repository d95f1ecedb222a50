"""CMake's configuration where libraries and data are not where they usually are. Nothing is compiled."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from scripts.machine import PROJECT

BUILD = Path(os.environ["BERTDIST"]).parents[1]  # of the program that is tested
TORCH = Path(re.search(r"^BERTDIST_TORCH_DIR:PATH=(.*)$", (BUILD / "CMakeCache.txt").read_text(), re.MULTILINE)[1])


def run(*command):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True).stdout


def configure(build, **definitions):
    run("cmake", "-S", PROJECT, "-B", build, "-G", "Ninja", *(f"-D{key}={value}" for key, value in definitions.items()))


@pytest.mark.parametrize("name", ["libgomp-a34b3233.so.1", None])
def test_a_torch_whose_libgomp_has_another_name_or_is_not_there(tmp_path, name):
    (tmp_path / "torch" / "lib").mkdir(parents=True)
    (tmp_path / "torch" / "include").symlink_to(TORCH / "include")
    for library in (TORCH / "lib").glob("*.so*"):
        if not library.name.startswith("libgomp"):
            (tmp_path / "torch" / "lib" / library.name).symlink_to(library)
    if name:
        (tmp_path / "torch" / "lib" / name).symlink_to(TORCH / "lib" / "libgomp.so.1")
    configure(tmp_path / "build", BERTDIST_TORCH_DIR=tmp_path / "torch", BERTDIST_BUILD_TESTS="OFF")
    (linked,) = run("ninja", "-C", tmp_path / "build", "-t", "commands", "bertdist-torch").strip().splitlines()[-1:]
    (libgomp,) = {Path(part) for part in linked.split() if Path(part).name.startswith("libgomp")}
    assert libgomp == tmp_path / "torch" / "lib" / name if name else libgomp.name == "libgomp.so"


def test_real_data_that_appears_or_goes_is_seen_at_the_next_build(tmp_path):
    def real_data_tests():
        run("ninja", "-C", tmp_path / "build", "build.ninja")
        return re.findall(r"Test +#\d+: (\w+)", run("ctest", "--test-dir", tmp_path / "build", "-N", "-L", "real_data"))

    configure(tmp_path / "build", BERTDIST_TORCH_DIR=TORCH, BERTDIST_REAL_DATA=tmp_path / "data")
    assert real_data_tests() == []
    (tmp_path / "data").mkdir()
    assert {"real_data_predictions", "tokenizer_real_data"} & set(real_data_tests())
    (tmp_path / "data").rmdir()
    assert real_data_tests() == []
