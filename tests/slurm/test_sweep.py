"""A sweep as a job array on a real SLURM of two nodes."""

import csv
import os
import re
import subprocess
import time

import pytest
from reference.program import ENVIRONMENT
from slurm.cluster import submission_environment

SWEEP = """\
model_name_or_path = "model"
freeze = "base_except_pooler"
train_file = "train.csv"
validation_file = "validation.csv"
token_cache_dir = "cache"
num_threads = 1
num_train_epochs = 2
output_dir = "runs/{name}"
[sweep]
method = "grid"
metric = {{name = "eval_loss", goal = "minimize"}}
[sweep.parameters]
learning_rate = {{values = [1e-3, 2e-3, 3e-3, 4e-3]}}
global_batch_size = {{values = [4, 8]}}
"""


def write_sweep(project, name):
    (project / f"{name}.toml").write_text(SWEEP.format(name=name))
    return f"{name}.toml"


def bertdist(project, *arguments, check=True):
    done = subprocess.run([os.environ["BERTDIST"], *arguments], cwd=project, env=ENVIRONMENT, capture_output=True,
                          text=True, timeout=120)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def submit(cluster, project, *arguments):
    done = cluster.run("bin/bertdist", "sweep", "submit", *arguments, cwd=project, env=submission_environment())
    return re.search(r"Submitted batch job (\d+)", done.stdout)[1]


def metrics_of(project, name):
    """The trials with a result, and their metrics."""
    text = bertdist(project, "sweep", "export", f"runs/{name}").stdout
    return {int(row["trial"]): row["eval_loss"] for row in csv.DictReader(text.splitlines()) if row["eval_loss"]}


@pytest.fixture(scope="module")
def outside(project):
    """The same sweep without SLURM."""
    (project / "validation.csv").write_text((project / "train.csv").read_text())
    bertdist(project, "--config", write_sweep(project, "outside"))
    metrics = metrics_of(project, "outside")
    assert sorted(metrics) == list(range(8))
    return metrics


def test_an_array_over_both_nodes(cluster, project, outside):
    job = submit(cluster, project, "--config", write_sweep(project, "array"), "--trials_per_task", "2", "--",
                 "--partition=batch", "--cpus-per-task=1")
    nodes = set()
    for task in range(4):
        assert cluster.wait_for_state(f"{job}_{task}", "COMPLETED", "FAILED") == "COMPLETED"
        nodes.add(cluster.job(f"{job}_{task}")["NodeList"])
        log = (project / f"sweep-{job}_{task}.log").read_text()
        assert f"as mpirun says; SLURM job {job}_{task}, array task {task}\n" in log
        assert f"\ntask {task}: trials {2 * task}-{2 * task + 1}\n" in log
    assert nodes == {"n1", "n2"}
    assert {trial: float(metric) for trial, metric in metrics_of(project, "array").items()} == pytest.approx(
        {trial: float(metric) for trial, metric in outside.items()}, abs=1e-5, rel=0)


def test_a_cancelled_task_is_named_and_run_again_alone(cluster, project, outside):
    job = submit(cluster, project, "--config", write_sweep(project, "cancelled"), "--trials_per_task", "2", "--",
                 "--hold")
    cluster.run("scancel", f"{job}_2")
    cluster.run("scontrol", "release", job)
    for task in (0, 1, 3):
        assert cluster.wait_for_state(f"{job}_{task}", "COMPLETED", "FAILED") == "COMPLETED"
    status = bertdist(project, "sweep", "status", "runs/cancelled").stdout
    assert "4-5" in status, status
    assert sorted(metrics_of(project, "cancelled")) == [0, 1, 2, 3, 6, 7]
    again = submit(cluster, project, "--config", "cancelled.toml", "--trials_per_task", "2", "--trials", "4-5")
    assert cluster.wait_for_state(f"{again}_2", "COMPLETED", "FAILED") == "COMPLETED"
    assert sorted(metrics_of(project, "cancelled")) == sorted(outside)


def test_without_an_array_the_job_submits_it(cluster, project, outside):
    job = cluster.submit("--time=7", "--cpus-per-task=2", "slurm/sweep.sbatch", write_sweep(project, "submits"),
                         "--trials_per_task", "4", cwd=project, env=submission_environment())
    assert cluster.wait_for_state(job, "COMPLETED", "FAILED") == "COMPLETED"
    array = int(job) + 1
    for task in (0, 1):
        assert cluster.wait_for_state(f"{array}_{task}", "COMPLETED", "FAILED") == "COMPLETED"
        assert cluster.job(f"{array}_{task}")["TimeLimit"] == "00:07:00"
        assert cluster.job(f"{array}_{task}")["CPUs/Task"] == "2"
    assert sorted(metrics_of(project, "submits")) == sorted(outside)


def test_a_trial_longer_than_its_tasks_time_goes_on_after_the_requeue(cluster, project, outside):
    lines = [line for line in SWEEP.format(name="long").splitlines() if not line.startswith("freeze")]
    text = "\n".join(lines).replace("num_train_epochs = 2", "num_train_epochs = 100").replace("[4, 8]", "[4]")
    (project / "long.toml").write_text(text.replace("[1e-3, 2e-3, 3e-3, 4e-3]", "[1e-3]") + "\n")
    job = submit(cluster, project, "--config", "long.toml")
    log = project / "runs/long/trial_000/run_log.jsonl"
    deadline = time.monotonic() + 60
    while not log.exists() or '"step":120' not in log.read_text():
        assert time.monotonic() < deadline, cluster.job(f"{job}_0")
        time.sleep(0.02)
    cluster.run("scancel", "--batch", "--signal=USR1", f"{job}_0")
    assert cluster.wait_for_state(f"{job}_0", "COMPLETED", "FAILED") == "COMPLETED"
    output = (project / f"sweep-{job}_0.log").read_text()
    step = int(re.search(r"stopped by SIGUSR1 after step (\d+) of 1200", output)[1])
    assert "==> exit code 9: requeueing, 1 of at most 10" in output
    assert f"\ntrial 0 goes on from step {step}\n" in output
    assert sorted(metrics_of(project, "long")) == [0]
