"""Ranks that are stopped, killed or led astray: the others never hang, and each of them names the right one."""

import os
import random
import subprocess
from pathlib import Path

import pytest
from reference.program import ENVIRONMENT
from watchdog import faults


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return faults.Bench(tmp_path_factory.mktemp("watchdog"))


def test_sixty_faults_at_random_points(bench):
    planned = faults.plan(60, seed=1)
    assert [sum(fault.program == name for fault in planned) for name in ("train", "overlap")] == [8, 7]
    assert {fault.ranks for fault in planned} == {2, 3, 8}
    faults.require_answered(faults.run_all(planned, bench, jobs=3, report=lambda *_: None))


# Two of OpenMPI's daemons, without shared memory between their ranks: with two ranks nobody else is on the host of the
# one that is stopped, with four another one is.
@pytest.mark.parametrize("ranks", [2, 4])
def test_faults_on_two_hosts(bench, ranks):
    generator = random.Random(ranks)
    planned = [faults.draw(generator, kind, "collective_rounds", ranks, hosts=2) for kind in ("stop", "stop", "wrong")]
    faults.require_answered(faults.run_all(planned, bench, jobs=2, report=lambda *_: None))


def test_ranks_killed_on_another_host(bench):
    generator = random.Random(5)
    planned = [faults.draw(generator, "kill", "collective_rounds", ranks, hosts=2) for ranks in (2, 2, 2, 2, 4, 4)]
    results = faults.run_all(planned, bench, jobs=2, report=lambda *_: None)
    faults.require_answered(results)
    assert any("SIGTERM came while this rank waited for" in outcome.output for _, outcome, _ in results)


# Over NcclCommunicator, with CUDA and NCCL in host memory: main threads wait in MPI, or are blocked by the device.
def test_faults_over_nccl(bench):
    generator = random.Random(7)
    planned = [faults.draw(generator, kind, "nccl_rounds", ranks)
               for ranks in (2, 3, 8) for kind in ("stop", "kill", "wrong")]
    faults.require_answered(faults.run_all(planned, bench, jobs=3, report=lambda *_: None))


# A whole training whose tensors NcclCommunicator moves: its steps, buckets, evaluations and checkpoints.
def test_faults_in_trainings_over_nccl(bench):
    generator = random.Random(11)
    planned = [faults.draw(generator, kind, "nccl", ranks) for ranks in (2, 3, 8) for kind in ("stop", "kill")]
    faults.require_answered(faults.run_all(planned, bench, jobs=2, report=lambda *_: None))


# Without a launcher, as one rank, and as several: each takes a GPU, of the stand-in, and says which.
@pytest.mark.parametrize("ranks", [0, 1, 3])
def test_a_job_on_gpus_without_faults(ranks):
    program = Path(os.environ["BERTDIST"]).with_name("nccl_rounds")
    launcher = [os.environ["MPIRUN"], "-np", str(ranks)] if ranks else []
    result = subprocess.run([*launcher, program, "30", "25"], env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    for rank in range(ranks):
        assert f"rank {rank} on {rank} Stand-in GPU" in result.stdout + result.stderr
