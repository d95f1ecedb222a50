"""slurm/train.sbatch on a real SLURM of two nodes."""

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest
from reference.program import train
from slurm.cluster import submission_environment

CONFIGURATION, PREEMPTED = 2, 9
STEPS_PER_EPOCH = 6
FILES = ("model.safetensors", "config.json")


def options_of(project, num_train_epochs):
    return {"train_file": project / "train.csv", "global_batch_size": 8, "num_train_epochs": num_train_epochs,
            "learning_rate": 1e-3, "save_strategy": "steps", "save_steps": 10_000, "logging_steps": 10,
            "token_cache_dir": project / "cache", "num_threads": 1}


def write_config(project, name, num_train_epochs):
    options = {"model_name_or_path": "model", "output_dir": f"runs/{name}", **options_of(project, num_train_epochs)}
    config = project / f"{name}.toml"
    config.write_text("".join(f"{key} = {json.dumps(value if isinstance(value, (int, float)) else str(value))}\n"
                              for key, value in options.items()))
    return config.name


def sbatch(cluster, project, *arguments, **environment):
    return cluster.submit(*arguments, cwd=project, env=submission_environment(**environment))


def log_of(project, job, name="bertdist"):
    return (project / f"{name}-{job}.log").read_text()


@pytest.fixture(scope="module")
def outside(project):
    """Two ranks without SLURM: the same runs."""
    folders = {}
    for epochs in (2, LONG):
        folders[epochs] = project / "outside" / str(epochs)
        train(project / "model", folders[epochs], ranks=2, **options_of(project, epochs))
    return folders


LONG = 100


def require_equal_bits(project, name, straight):
    for file in FILES:
        assert (project / "runs" / name / file).read_bytes() == (straight / file).read_bytes(), file


def starts_of(project, name):
    """How the run log says that the run was started, each time."""
    lines = (project / "runs" / name / "run_log.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if "started_by" in event]


def wait_for_step(cluster, project, name, job, step):
    log = project / "runs" / name / "run_log.jsonl"
    deadline = time.monotonic() + 60
    while not log.exists() or f'"step":{step}' not in log.read_text():
        assert time.monotonic() < deadline, cluster.job(job)
        time.sleep(0.02)


def test_two_nodes_with_mpirun_are_as_two_ranks_outside(cluster, project, outside):
    job = sbatch(cluster, project, "--nodes=2", "--ntasks-per-node=1", "slurm/train.sbatch",
                 write_config(project, "two_nodes", 2))
    assert cluster.wait_for_state(job, "COMPLETED", "FAILED") == "COMPLETED", log_of(project, job)
    assert f"rank 0 of 2, local rank 0, as mpirun says; SLURM job {job}\n" in log_of(project, job)
    require_equal_bits(project, "two_nodes", outside[2])
    (start,) = starts_of(project, "two_nodes")
    assert (start["started_by"], start["world_size"], start["slurm_job_id"], start["slurm_restart_count"]) == (
        "mpirun", 2, job, 0)


def test_srun_on_one_node_is_as_two_ranks_outside(cluster, project, outside):
    job = sbatch(cluster, project, "--ntasks-per-node=2", "slurm/train.sbatch", write_config(project, "srun", 2),
                 LAUNCHER="srun")
    assert cluster.wait_for_state(job, "COMPLETED", "FAILED") == "COMPLETED", log_of(project, job)
    assert f"rank 0 of 2, local rank 0, as srun says; SLURM job {job}\n" in log_of(project, job)
    require_equal_bits(project, "srun", outside[2])


@pytest.mark.parametrize("launcher", ["mpirun", "srun"])
def test_the_notice_of_the_end_leads_to_a_checkpoint_and_another_start(cluster, project, outside, launcher):
    name = f"requeued_{launcher}"
    nodes = ["--nodes=2", "--ntasks-per-node=1"] if launcher == "mpirun" else []
    job = sbatch(cluster, project, *nodes, "slurm/train.sbatch", write_config(project, name, LONG), LAUNCHER=launcher)
    wait_for_step(cluster, project, name, job, 20)
    # What --signal=B:USR1@300 lets SLURM send.
    cluster.run("scancel", "--batch", "--signal=USR1", job)
    assert cluster.wait_for_state(job, "COMPLETED", "FAILED") == "COMPLETED", log_of(project, job)
    log = log_of(project, job)
    step = int(re.search(r"stopped by SIGUSR1 after step (\d+) of", log)[1])
    assert "==> exit code 9: requeueing, 1 of at most 10" in log
    assert f"SLURM job {job}, SLURM_RESTART_COUNT 1" in log
    assert f"resuming from 'runs/{name}/checkpoint-{step}'" in log
    assert [start["slurm_restart_count"] for start in starts_of(project, name)] == [0, 1]
    require_equal_bits(project, name, outside[LONG])


def test_slurm_itself_sends_the_notice(cluster, project):
    name = "time_limit"
    job = sbatch(cluster, project, "--time=1", "--signal=B:USR1@60", "slurm/train.sbatch",
                 write_config(project, name, 100_000), MAX_REQUEUES="0")
    assert cluster.wait_for_state(job, "COMPLETED", "FAILED", "TIMEOUT") == "FAILED", log_of(project, job)
    assert "stopped by SIGUSR1" in log_of(project, job)
    assert "exit code 9, and the job was requeued 0 times already: giving up (MAX_REQUEUES)" in log_of(project, job)
    assert cluster.job(job)["ExitCode"] == f"{PREEMPTED}:0"


def test_a_lost_node_requeues_from_the_last_checkpoint(cluster, project, outside):
    name = "lost_node"
    job = sbatch(cluster, project, "--nodes=2", "--ntasks-per-node=1", "slurm/train.sbatch",
                 write_config(project, name, LONG), "--save_steps", "50")
    while not (project / "runs" / name / "checkpoint-50").exists():
        time.sleep(0.02)
    for process in processes_on(cluster, "n2", job):
        os.kill(process, signal.SIGKILL)
    assert cluster.wait_for_state(job, "COMPLETED", "FAILED") == "COMPLETED", log_of(project, job)
    log = log_of(project, job)
    assert "requeueing, 1 of at most 10" in log and "resuming from 'runs/lost_node/checkpoint-" in log
    require_equal_bits(project, name, outside[LONG])


def test_a_rank_that_hangs_is_found_and_the_job_requeued(cluster, project, outside):
    name = "hangs"
    job = sbatch(cluster, project, "--nodes=2", "--ntasks-per-node=1", "slurm/train.sbatch",
                 write_config(project, name, LONG), "--save_steps", "50", "--comm_timeout_s", "5")
    while not (project / "runs" / name / "checkpoint-50").exists():
        time.sleep(0.02)
    [rank] = [process for process in processes_on(cluster, "n2", job)
              if (Path("/proc") / str(process) / "comm").read_text().strip() == "bertdist-torch"]
    os.kill(rank, signal.SIGSTOP)
    assert cluster.wait_for_state(job, "COMPLETED", "FAILED") == "COMPLETED", log_of(project, job)
    log = log_of(project, job)
    assert "==> exit code 10: requeueing, 1 of at most 10" in log, log
    assert "resuming from 'runs/hangs/checkpoint-" in log
    require_equal_bits(project, name, outside[LONG])


def test_a_job_queues_itself_again_at_most_so_often(cluster, project):
    name = "at_most"
    job = sbatch(cluster, project, "slurm/train.sbatch", write_config(project, name, 100_000), MAX_REQUEUES="1")
    for restart in (0, 1):
        wait_for_step(cluster, project, name, job, 20 if restart == 0 else step_of_checkpoint(project, name) + 20)
        cluster.run("scancel", "--batch", "--signal=USR1", job)
        if restart == 0:
            deadline = time.monotonic() + 60
            while "SLURM_RESTART_COUNT 1" not in log_of(project, job):
                assert time.monotonic() < deadline, log_of(project, job)
                time.sleep(0.1)
    assert cluster.wait_for_state(job, "FAILED", "COMPLETED") == "FAILED", log_of(project, job)
    log = log_of(project, job)
    assert "requeueing, 1 of at most 1\n" in log
    assert "exit code 9, and the job was requeued 1 times already: giving up (MAX_REQUEUES)" in log
    assert [start["slurm_restart_count"] for start in starts_of(project, name)] == [0, 1]


def step_of_checkpoint(project, name):
    """The newest checkpoint's, in tens, as the log tells of steps."""
    steps = [int(path.name.removeprefix("checkpoint-")) for path in (project / "runs" / name).glob("checkpoint-*")]
    return max(steps) // 10 * 10


def processes_on(cluster, node, job):
    """What mpirun started on a node: its daemon and the ranks below it."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            variables = environment.read_bytes().split(b"\0")
            name = (environment.parent / "comm").read_text().strip()
        except OSError:
            continue
        mine = {f"SLURM_CONF={cluster.environment['SLURM_CONF']}".encode(), f"SLURM_JOB_ID={job}".encode(),
                f"SLURMD_NODENAME={node}".encode()}
        if mine <= set(variables) and name in ("orted", "bertdist-torch"):
            found.append(int(environment.parent.name))
    assert len(found) == 2, found
    return found


def test_what_another_try_does_not_mend_is_not_tried_again(cluster, project):
    job = sbatch(cluster, project, "slurm/train.sbatch", write_config(project, "wrong", 2), "--learning_rate", "fast")
    assert cluster.wait_for_state(job, "COMPLETED", "FAILED") == "FAILED"
    assert cluster.job(job)["ExitCode"] == f"{CONFIGURATION}:0" and "requeue" not in log_of(project, job)


def test_scancel_saves_a_checkpoint_and_ends_the_job(cluster, project):
    name = "cancelled"
    job = sbatch(cluster, project, "slurm/train.sbatch", write_config(project, name, 100_000))
    wait_for_step(cluster, project, name, job, 20)
    cluster.run("scancel", job)
    assert cluster.wait_for_state(job, "CANCELLED", "COMPLETED", "FAILED", "PENDING") == "CANCELLED"
    assert list((project / "runs" / name).glob("checkpoint-*"))


def test_processes_that_mpi_cannot_connect_are_no_runs_of_their_own(cluster, project):
    config = write_config(project, "apart", 2)
    done = cluster.run("srun", "-n2", "--mpi=none", "bin/bertdist", "--config", config, cwd=project, check=False)
    assert done.returncode == CONFIGURATION
    assert "srun started 2 processes, but MPI cannot connect them: each would run alone" in done.stderr
    assert "hint: inside a SLURM job start with mpirun, or with srun --mpi=pmix" in done.stderr
    assert not (project / "runs" / "apart").exists()


def test_one_process_in_a_batch_script_may_be_alone_and_is_told(cluster, project):
    config = write_config(project, "alone", 2)
    job = sbatch(cluster, project, "-n2", "--output=bertdist-%j.log", f"--wrap=bin/bertdist --config {config}")
    assert cluster.wait_for_state(job, "COMPLETED", "FAILED") == "COMPLETED", log_of(project, job)
    assert "SLURM has room for 2 tasks in this job: mpirun, or srun --mpi=pmix" in log_of(project, job)
