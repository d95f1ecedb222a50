"""The scripts of slurm/ by themselves, beside stand-ins that write down how SLURM's commands and bertdist were called."""

import os
import subprocess

import pytest
from slurm.cluster import PROJECT


def write_program(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "slurm").symlink_to(PROJECT / "slurm")
    write_program(tmp_path / "bin/scontrol", 'echo "scontrol $*"')
    write_program(tmp_path / "bin/squeue", 'case "$*" in "--noheader --jobs 12 --format %l") echo "  2-03:00:00";; esac')
    write_program(tmp_path / "bin/bertdist", 'for word in "$@"; do echo "$word"; done')
    return tmp_path


def run(folder, *command, **environment):
    outside = {key: value for key, value in os.environ.items() if not key.startswith("SLURM_")}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30,
                          env={**outside, "PATH": f"{folder}/bin:{os.environ['PATH']}", "SLURM_JOB_ID": "12",
                               **environment})


def end_with(folder, code, **environment):
    return run(folder, "slurm/with_requeue", "sh", "-c", f"exit {code}", **environment)


@pytest.mark.parametrize("code, requeues", [(0, False), (2, False), (5, False), (6, True), (7, False), (8, False),
                                            (9, True), (10, True), (126, False), (127, False), (137, True), (205, True)])
def test_what_another_try_mends_is_requeued(folder, code, requeues):
    done = end_with(folder, code)
    assert done.returncode == code and ("scontrol requeue 12\n" in done.stdout) == requeues, done.stdout + done.stderr


def test_a_program_that_is_not_there_is_not_looked_for_again(folder):
    done = run(folder, "slurm/with_requeue", "no_such_program")
    assert done.returncode == 127 and "scontrol" not in done.stdout


def test_a_job_is_requeued_at_most_so_often(folder):
    done = end_with(folder, 9, MAX_REQUEUES="1")
    assert "requeueing, 1 of at most 1" in done.stderr and "scontrol requeue 12" in done.stdout
    done = end_with(folder, 9, MAX_REQUEUES="1", SLURM_RESTART_COUNT="1")
    assert done.returncode == 9 and "scontrol" not in done.stdout
    assert "exit code 9, and the job was requeued 1 times already: giving up (MAX_REQUEUES)" in done.stderr


def test_the_array_gets_what_the_job_that_submits_it_has(folder):
    given = {"SLURM_JOB_PARTITION": "long", "SLURM_JOB_ACCOUNT": "mine", "SLURM_JOB_QOS": "slow",
             "SLURM_JOB_NUM_NODES": "1", "SLURM_NTASKS_PER_NODE": "2", "SLURM_CPUS_PER_TASK": "4",
             "SLURM_MEM_PER_NODE": "2000"}
    words = run(folder, "slurm/sweep.sbatch", "sweep.toml", "--seed", "3", **given).stdout.split()
    assert words == ["sweep", "submit", "--config", "sweep.toml", "--seed", "3", "--", "--time=2-03:00:00",
                     "--partition=long", "--account=mine", "--qos=slow", "--nodes=1", "--ntasks-per-node=2",
                     "--cpus-per-task=4", "--mem=2000"]
    few = run(folder, "slurm/sweep.sbatch", "sweep.toml", SLURM_JOB_PARTITION="long").stdout.split()
    assert few[4:] == ["--", "--time=2-03:00:00", "--partition=long"]
