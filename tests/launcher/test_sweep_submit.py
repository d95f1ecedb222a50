"""bertdist sweep submit, beside an sbatch that writes down how it was called."""

import os
import subprocess

import pytest
from reference.program import make_rows, save_bert, write_csv

SWEEP = """\
model_name_or_path = "model"
train_file = "train.csv"
output_dir = "runs/sweep"
token_cache_dir = "cache"
validation_split = 0.2
[sweep]
method = "grid"
[sweep.parameters]
learning_rate = {values = [1e-4, 2e-4, 3e-4, 4e-4, 5e-4]}
max_seq_length = {values = [16, 32]}
"""


@pytest.fixture
def project(tmp_path):
    save_bert(tmp_path / "model")
    write_csv(tmp_path / "train.csv", make_rows(20))
    (tmp_path / "sweep.toml").write_text(SWEEP)
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "sweep.sbatch").touch()
    (tmp_path / "bin").mkdir()
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.write_text('#!/bin/sh\nfor word in "$@"; do echo "$word"; done\nls cache/*.h5 | wc -l\nexit 7\n')
    sbatch.chmod(0o755)
    return tmp_path


def submit(project, *arguments, path=None):
    return subprocess.run([os.environ["BERTDIST"], "sweep", "submit", *arguments], cwd=project, capture_output=True,
                          text=True, timeout=60, env={**os.environ, "PATH": path or f"{project}/bin:{os.environ['PATH']}"})


def test_the_array_has_a_task_for_each_trial_and_finds_its_caches(project):
    done = submit(project, "--seed", "3", "--config", "sweep.toml")
    *words, num_caches = done.stdout.split()
    assert words == ["--array=0-9", "slurm/sweep.sbatch", "sweep.toml", "--seed", "3"]
    assert int(num_caches) == 2, "one for each max_seq_length"
    assert done.returncode == 7, "sbatch's own"
    assert "sbatch --array=0-9 slurm/sweep.sbatch" in done.stderr


@pytest.mark.parametrize("trials, array", [([], "0-3"), (["--trials", "4,6-7"], "1-2"), (["--trials=0,9"], "0,3")])
def test_several_trials_a_task(project, trials, array):
    words = submit(project, "--config=sweep.toml", "--trials_per_task", "3", *trials).stdout.split()[:-1]
    assert words == [f"--array={array}", "slurm/sweep.sbatch", "sweep.toml", "--trials_per_task", "3"]


def test_options_of_sbatch_are_passed_on(project):
    words = submit(project, "--config", "sweep.toml", "--", "--partition=batch", "-A", "mine").stdout.split()
    assert words[1:4] == ["--partition=batch", "-A", "mine"]


@pytest.mark.parametrize("arguments, path, message", [
    (["--config", "sweep.toml"], "/nowhere", "cannot start sbatch"),
    (["--config", "sweep.toml", "--trials_per_task", "0"], None, "expected a whole number above 0, not 0"),
    (["--config", "sweep.toml", "--trials", "10"], None, "there is no trial 10")], ids=str)
def test_mistakes_are_told(project, arguments, path, message):
    done = submit(project, *arguments, path=path)
    assert done.returncode == 2 and message in done.stderr, done.stderr


def test_elsewhere_there_is_no_script(project):
    (project / "slurm" / "sweep.sbatch").unlink()
    done = submit(project, "--config", "sweep.toml")
    assert done.returncode == 2 and "there is no slurm/sweep.sbatch here" in done.stderr


def test_a_task_of_an_array_runs_its_trials_only(project):
    environment = {**os.environ, "SLURM_JOB_ID": "5", "SLURM_ARRAY_JOB_ID": "4", "SLURM_ARRAY_TASK_ID": "4"}
    done = subprocess.run([os.environ["BERTDIST"], "sweep", "run", "--config", "sweep.toml", "--trials_per_task", "3"],
                          cwd=project, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 2
    assert "task 4 of the job array has no trial: the sweep has 10, 3 a task" in done.stderr
