"""The arithmetic of tests/gpu/measure.py, and what tests/gpu/run says where there is no GPU."""

import os
import subprocess
from pathlib import Path

import pytest
import torch
from gpu.figures import Run, Shape, all_reduce_table, bus_bandwidth, forward_flops, table, tokens_per_second, training_flops
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertModel

RUN, PACK = Path(__file__).with_name("run"), Path(__file__).with_name("pack")
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


def run(*options, path=None, script=RUN):
    return subprocess.run([script, *options], capture_output=True, text=True, timeout=60,
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
    assert help_text.startswith("Usage: tests/gpu/run") and "--pack FILE" in help_text
    for options, message in ((["--gpu"], "unknown option '--gpu'"), (["--gpus", "9"], "from 1 to 8, not '9'"),
                             (["--gpus"], "needs a value"), (["--pack", str(tmp_path / "none")], "there is no file")):
        done = run(*options, path=without_gpus)
        assert done.returncode == 1 and message in done.stderr, done.stderr


def test_more_gpus_than_there_are(tmp_path):
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 'GPU 0: NVIDIA A100 (UUID: GPU-0)'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    done = run("--gpus", "2", path=f"{tmp_path}:{os.environ['PATH']}")
    assert done.returncode == 1 and "--gpus 2, but nvidia-smi shows 1" in done.stderr


def test_what_the_packing_script_refuses(tmp_path):
    assert run("--help", script=PACK).stdout.startswith("Usage: tests/gpu/pack FILE")
    for options, message in (([], "name the file to write"), (["pack.zip"], "with the ending .tar.xz"),
                             (["a.tar.xz", "--python", "3"], "a version such as 3.12"), (["--wheels"], "unknown option")):
        done = run(*options, script=PACK)
        assert done.returncode == 1 and message in done.stderr, done.stderr


def test_what_a_pack_holds_is_found(tmp_path):
    """A pack of one program and one Python package, unpacked as tests/gpu/run does it, once."""
    tree = tmp_path / "tree"
    (tree / "system/usr/bin").mkdir(parents=True)
    (tree / "system/usr/bin/packed-program").write_text("#!/bin/sh\necho it runs\n")
    (tree / "system/usr/bin/packed-program").chmod(0o755)
    (tree / "python").mkdir()
    (tree / "python/packed_package.py").write_text("print('it is imported')\n")
    subprocess.run(["tar", "-C", tree, "-cJf", tmp_path / "pack.tar.xz", "system", "python"], check=True)
    script = (f"set -eu; root={tmp_path}/clone; say() {{ echo \"$@\"; }}; . {RUN.with_name('unpack.sh')} {tmp_path}/pack.tar.xz;"
              "packed-program; python3 -c 'import packed_package'; echo \"$OPAL_PREFIX\"")
    for said in (f"unpacking {tmp_path}/pack.tar.xz into build/pack\n", ""):
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout == f"{said}it runs\nit is imported\n{tmp_path}/clone/build/pack/system/usr\n"
