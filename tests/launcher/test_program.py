"""The program itself: what it needs to start, and its two halves."""

import os
import shutil
import subprocess
from pathlib import Path

from reference.program import ENVIRONMENT, make_rows, save_bert, write_csv

BERTDIST = Path(os.environ["BERTDIST"])


def libraries_of(program: Path) -> str:
    return subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout


def run(*arguments: object, **options) -> subprocess.CompletedProcess:
    return subprocess.run(list(map(str, arguments)), capture_output=True, text=True, timeout=60, **options)


def test_help_and_version_need_neither_torch_nor_mpi():
    assert "libtorch" not in libraries_of(BERTDIST)
    assert "libtorch" in libraries_of(BERTDIST.with_name("bertdist-torch"))
    # A rank's environment without its launcher: whoever starts MPI now fails or hangs.
    environment = {**os.environ, "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0", "PMIX_RANK": "0"}
    for arguments in (["--help"], ["train", "--help"], ["predict", "--help"], ["--version"]):
        done = run(BERTDIST, *arguments, env=environment)
        assert done.returncode == 0 and "bertdist" in done.stdout, done.stderr


def test_help_is_a_command_too():
    for command in ([], ["predict"], ["sweep"]):
        asked = run(BERTDIST, "help", *command)
        assert asked.returncode == 0 and asked.stdout == run(BERTDIST, *command, "--help").stdout


def test_a_program_without_its_other_half_says_so(tmp_path):
    alone = Path(shutil.copy(BERTDIST, tmp_path / "bertdist"))
    (tmp_path / "train.csv").write_text("text,label\na,0\nb,1\n")
    done = run(alone, "--model_name_or_path", tmp_path, "--train_file", tmp_path / "train.csv", "--output_dir",
               tmp_path / "out")
    assert done.returncode == 1
    assert "bertdist-torch" in done.stderr and "hint: " in done.stderr


def test_it_starts_by_a_link_and_from_path(tmp_path):
    (tmp_path / "bertdist").symlink_to(BERTDIST)
    (tmp_path / "train.csv").write_text("text,label\na,0\nb,1\n")
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = run("bertdist", "--model_name_or_path", "no/such/model", "--train_file", tmp_path / "train.csv",
               "--output_dir", tmp_path / "out", env=environment)
    assert done.returncode == 4 and "no/such/model" in done.stderr, "the model is looked for by bertdist-torch"


def test_installed_where_the_user_wants_it_trains(tmp_path):
    build = BERTDIST.parent.parent
    done = run("cmake", "--install", build, "--prefix", tmp_path)
    assert done.returncode == 0, done.stderr
    assert run(tmp_path / "bin" / "bertdist", "--version").stdout.startswith("bertdist ")
    assert "not found" not in libraries_of(tmp_path / "bin" / "bertdist-torch")
    save_bert(tmp_path / "model")
    write_csv(tmp_path / "train.csv", make_rows(20))
    environment = {**ENVIRONMENT, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    done = run(os.environ["MPIRUN"], "-np", 2, "bertdist", "--model_name_or_path", "model", "--train_file", "train.csv",
               "--output_dir", "out", "--token_cache_dir", "cache", cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "model.safetensors").exists()
