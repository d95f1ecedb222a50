"""The CUDA build on a machine that has no NVIDIA driver, or is made to look so."""

import json
import os
import subprocess
from pathlib import Path

import pytest

BERTDIST = os.environ["BERTDIST"]
STUBS = os.environ["CUDA_STUBS"]
DEVICE = 8
PROJECT = Path(__file__).parents[2]


@pytest.fixture
def no_driver(tmp_path) -> Path:
    """A folder whose libcuda.so.1 hides a driver that the machine may have, because no library can be loaded from it."""
    (tmp_path / "driver").mkdir()
    (tmp_path / "driver" / "libcuda.so.1").write_text("no library")
    return tmp_path / "driver"


def train(tmp_path: Path, no_driver: Path, *options: object) -> subprocess.CompletedProcess:
    command = [BERTDIST, "--config", "configs/quickstart.toml", "--output_dir", tmp_path / "out", "--token_cache_dir",
               tmp_path / "cache", *options]
    return subprocess.run(list(map(str, command)), cwd=PROJECT, capture_output=True, text=True, timeout=600,
                          env={**os.environ, "LD_LIBRARY_PATH": f"{no_driver}:{STUBS}"})


@pytest.mark.parametrize("options", [[], ["--device", "cuda"]])
def test_without_a_driver_it_says_so_and_offers_the_cpu(tmp_path, no_driver, options):
    done = train(tmp_path, no_driver, *options)
    assert done.returncode == DEVICE, done.stderr
    assert "error: this bertdist was built for NVIDIA GPUs, but there is no NVIDIA driver here" in done.stderr
    assert 'device = "cpu"' in done.stderr
    assert not (tmp_path / "cache").exists()


def test_on_the_cpu_it_trains(tmp_path, no_driver):
    done = train(tmp_path, no_driver, "--device", "cpu", "--max_steps", 3)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out" / "config.json").read_text())["architectures"] == ["BertForSequenceClassification"]


def test_nccl_without_a_driver(no_driver):
    """The real CUDA runtime, asked by NcclCommunicator."""
    done = subprocess.run([os.environ["MPIRUN"], "-np", "2", "-x", "LD_LIBRARY_PATH", os.environ["NCCL_SUITE_TEST"],
                           "--gtest_filter=*KnowsItsRanks/0"], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "LD_LIBRARY_PATH": str(no_driver)})
    assert done.returncode != 0
    assert "there is no CUDA device: CUDA driver version is insufficient for CUDA runtime version" in done.stdout
