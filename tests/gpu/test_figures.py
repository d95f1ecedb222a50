"""The arithmetic of tests/gpu/measure.py, and what tests/gpu/run says where there is no GPU."""

import os
import subprocess
from pathlib import Path

import pytest
import torch
from gpu.figures import Run, Shape, all_reduce_table, bus_bandwidth, forward_flops, table, tokens_per_second, training_flops
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertModel

RUN = Path(__file__).with_name("run")
NO_GPU = 8


def test_flops_are_those_that_torch_counts():
    """transformers computes the last layer for all tokens, and here two layers are compared of which the last is left out."""
    shape = Shape(hidden_size=64, intermediate_size=96, num_hidden_layers=3)
    length, rows = 24, 4

    def counted(layers):
        model = BertModel(BertConfig(hidden_size=64, intermediate_size=96, num_hidden_layers=layers, num_attention_heads=4,
                                     vocab_size=50, attn_implementation="eager"), add_pooling_layer=False).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.zeros((rows, length), dtype=torch.long))
        return counter.get_total_flops()

    last = Shape(hidden_size=64, intermediate_size=96, num_hidden_layers=1)
    lengths = [length] * rows
    assert forward_flops(shape, lengths) - forward_flops(last, lengths) == counted(2)
    # Of rows of one token the last layer is a whole one.
    assert forward_flops(last, [1]) == counted(1) / (rows * length) - 4 * 64 * (length - 1)
    assert training_flops(shape, lengths) == 3 * forward_flops(shape, lengths)


def test_bandwidth_and_rates():
    assert bus_bandwidth(1000, 0.5, 2) == 2000
    assert bus_bandwidth(1000, 0.5, 8) == 3500
    assert tokens_per_second(Run(10, 1000, 5.0), Run(20, 3000, 9.0)) == 500


def test_tables():
    entry = {"gpus": 2, "dropout": 0.1, "tokens_per_second": 123456.7, "matmul_share": 0.412, "efficiency": 0.95}
    assert table([entry]).splitlines()[-1] == "| 2 | 0.1 | 123,457 | 41.2% | 95.0% |"
    reduced = {"ranks": 8, "bytes": 4 << 20, "seconds": 0.0002, "bus_bandwidth": 3.67e10}
    assert all_reduce_table([reduced]).splitlines()[-1] == "| 8 | 4 | 0.200 | 36.7 |"


def run(*options, path=None):
    return subprocess.run([RUN, *options], capture_output=True, text=True, timeout=60,
                          env={**os.environ, **({"PATH": path} if path else {})})


@pytest.fixture
def without_gpus(tmp_path):
    """A PATH whose nvidia-smi shows none."""
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    return f"{tmp_path}:{os.environ['PATH']}"


def test_without_a_gpu_the_script_says_so(without_gpus):
    done = run(path=without_gpus)
    assert done.returncode == NO_GPU
    assert "error: nvidia-smi shows no NVIDIA GPU here" in done.stderr and "tests/run --cuda-build" in done.stderr
    assert not done.stdout


def test_the_scripts_options(without_gpus, tmp_path):
    help_text = run("--help").stdout
    assert help_text.startswith("Usage: tests/gpu/run") and "--wheels DIR" in help_text
    for options, message in ((["--gpu"], "unknown option '--gpu'"), (["--gpus", "9"], "from 1 to 8, not '9'"),
                             (["--gpus"], "needs a value"), (["--wheels", str(tmp_path / "none")], "there is no folder")):
        done = run(*options, path=without_gpus)
        assert done.returncode == 1 and message in done.stderr, done.stderr


def test_more_gpus_than_there_are(tmp_path):
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 'GPU 0: NVIDIA A100 (UUID: GPU-0)'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    done = run("--gpus", "2", path=f"{tmp_path}:{os.environ['PATH']}")
    assert done.returncode == 1 and "--gpus 2, but nvidia-smi shows 1" in done.stderr
