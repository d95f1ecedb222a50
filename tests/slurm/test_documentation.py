"""The commands of docs/slurm.md, in their order, as they stand there: only the job's number is another."""

import re
import shlex
import time

from slurm.cluster import PROJECT, submission_environment


def shell_blocks():
    return re.findall(r"^```sh\n(.*?)^```$", (PROJECT / "docs" / "slurm.md").read_text(), re.MULTILINE | re.DOTALL)


def wait_until(condition, what):
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.1)


def trains(log, start):
    """Whether the start that the log tells of so has come to its first steps."""
    lines = log.read_text().rpartition("SLURM job ")[2] if log.exists() else ""
    return start in lines and "step " in lines


def test_every_command(cluster, project):
    job = None
    for command in "".join(shell_blocks()).splitlines():
        words = shlex.split(command)
        if words[0] == "export":
            cluster.run("scancel", job)  # the long training: the sweeps begin here
            job = None
        elif words[0] == "scancel":
            wait_until(lambda: trains(project / f"bertdist-{job}.log", "" if "--batch" in words else "RESTART_COUNT 1"),
                       lambda: cluster.job(job))
        elif job and words[0] != "squeue":
            assert cluster.wait_for_state(job, "COMPLETED", "CANCELLED", "FAILED") != "FAILED", command
        command = re.sub(r"\b12$", str(job), command)
        # As `export PATH=$PWD/bin:$PATH` leaves it for the commands after it.
        environment = submission_environment(PATH=f"{project / 'bin'}:{cluster.environment['PATH']}")
        done = cluster.run("bash", "-c", command, cwd=project, env=environment)
        submitted = re.search(r"Submitted batch job (\d+)\n", done.stdout)
        if submitted and "sweep" in words:
            array = submitted[1]
            wait_until(lambda: not cluster.run("squeue", "--noheader", "--jobs", array, check=False).stdout, cluster.logs)
        elif submitted:
            job = submitted[1]
    status = cluster.run("bin/bertdist", "sweep", "status", "runs/sweep", cwd=project).stdout
    assert "12 trials: 12 finished" in status
    for folder in ("quickstart", "two_nodes", "srun"):
        assert (project / "runs" / folder / "test_results.json").exists()
    assert (project / "runs" / "quickstart" / "model.safetensors").read_bytes() == (
        project / "runs" / "two_nodes" / "model.safetensors").read_bytes()
