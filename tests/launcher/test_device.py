"""A build for CPUs on a machine with an NVIDIA GPU: the driver is a stand-in that shows one."""

import os
import subprocess

import pytest

BERTDIST = os.environ["BERTDIST"]
CONFIGURATION, MODEL, DEVICE = 2, 4, 8


def run(command, tmp_path, *options, driver=os.environ["NVIDIA_DRIVER"], gpus="1", launcher=()):
    table = tmp_path / "table.csv"
    table.write_text("text,label\ngood,1\nbad,0\n")
    # There is no such model, so whoever gets past the check of the device ends with that.
    files = ["--model_name_or_path", tmp_path / "none", "--token_cache_dir", tmp_path, *(
        ["--train_file", table, "--output_dir", tmp_path / "out"] if command == "train" else ["--test_file", table])]
    return subprocess.run([*launcher, *map(str, [BERTDIST, command, *files, *options])], capture_output=True, text=True,
                          timeout=120, env={**os.environ, "LD_LIBRARY_PATH": driver, "NVIDIA_GPUS": gpus})


@pytest.mark.parametrize("command", ["train", "evaluate", "predict"])
def test_a_gpu_that_would_stay_idle_stops_the_run(tmp_path, command):
    done = run(command, tmp_path)
    assert done.returncode == DEVICE, done.stderr
    assert "[rank 0] error: this machine has an NVIDIA GPU, but this bertdist was built for CPUs" in done.stderr
    assert "launcher/setup --cuda" in done.stderr and 'device = "cpu"' in done.stderr


def test_a_job_of_several_ranks_stops(tmp_path):
    done = run("train", tmp_path, launcher=[os.environ["MPIRUN"], "-np", "2", "-x", "LD_LIBRARY_PATH", "-x", "NVIDIA_GPUS"])
    assert done.returncode == DEVICE, done.stderr
    assert "[rank 0] error: this machine has an NVIDIA GPU" in done.stderr


def test_a_build_for_cpus_computes_on_no_gpu(tmp_path):
    for gpus in ("0", "1"):
        done = run("train", tmp_path, "--device", "cuda", gpus=gpus)
        assert done.returncode == DEVICE, done.stderr
        assert 'error: device = "cuda", but this bertdist was built for CPUs' in done.stderr
        assert "launcher/setup --cuda" in done.stderr


def test_a_sweeps_trials_are_for_cpus(tmp_path):
    (tmp_path / "table.csv").write_text("text,label\ngood,1\nbad,0\n")
    sweep = tmp_path / "sweep.toml"
    sweep.write_text(f"""
model_name_or_path = "none"
train_file = "{tmp_path}/table.csv"
validation_file = "{tmp_path}/table.csv"
output_dir = "{tmp_path}/out"
[sweep]
method = "grid"
metric = {{name = "eval_loss", goal = "minimize"}}
[sweep.parameters]
device = {{values = ["cpu", "cuda"]}}
""")
    done = subprocess.run([BERTDIST, "--config", sweep], capture_output=True, text=True, timeout=120)
    assert done.returncode == CONFIGURATION, done.stderr
    assert "a sweep's trials are trained on the CPU" in done.stderr and 'set it to "cpu"' in done.stderr


@pytest.mark.parametrize("accepted", [{"options": ["--device", "cpu"]}, {"gpus": "0"}, {"driver": ""}])
def test_what_runs_on_the_cpu(tmp_path, accepted):
    done = run("train", tmp_path, *accepted.pop("options", []), **accepted)
    assert done.returncode == MODEL, done.stderr
    assert "NVIDIA" not in done.stderr
