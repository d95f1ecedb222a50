"""Bounds what a training step costs in counts that do not depend on the machine's load: operators that libtorch
dispatches, and allocations of the program's own code. By the difference of two runs, so that nothing but steps counts."""

import json
import os
import subprocess

import pytest
from reference.program import ENVIRONMENT, command, save_bert, write_csv

ROWS, BATCH, SHORT, LONG = 400, 8, 10, 20  # all in the first epoch


def rows_of(lengths):
    letters = "abcdefghijklmnop"
    return [(" ".join(letters[(row + word) % 16] for word in range(lengths[row % len(lengths)])), row % 2)
            for row in range(ROWS)]


def count(folder, what, max_steps, options):
    line = command("train", output_dir=folder / f"out_{max_steps}", overwrite_output_dir=True, max_steps=max_steps,
                   num_threads=1, save_strategy="no", eval_strategy="no", logging_strategy="no", global_batch_size=BATCH,
                   token_cache_dir=folder / "cache", **options)
    counters = folder / "counters.json"
    subprocess.run(line, check=True, capture_output=True, env={
        **ENVIRONMENT, "LD_PRELOAD": os.environ["STEP_COUNTERS_LIBRARY"], "STEP_COUNTERS": str(counters), "COUNT": what})
    return json.loads(counters.read_text())


def cost_of_a_step(folder, what, *, layers=2, lengths=(20,), freeze="none"):
    folder.mkdir()
    options = {"model_name_or_path": save_bert(folder / "model", num_hidden_layers=layers), "freeze": freeze,
               "train_file": write_csv(folder / "train.csv", rows_of(lengths))}
    _, short, long = (count(folder, what, steps, options) for steps in (1, SHORT, LONG))  # the first one fills the caches
    return {name: (long[name] - short.get(name, 0)) / (LONG - SHORT) for name in long}


@pytest.mark.parametrize("layers", [2, 4])
def test_operators_of_full_fine_tuning(tmp_path, layers):
    operators = cost_of_a_step(tmp_path / "run", "operators", layers=layers)
    # A layer has six linear layers, head and pooler are linear too. The derivative by a layer's weight is added where it
    # is kept by the product that makes it.
    assert operators["aten::addmm"] == 6 * layers + 2
    assert operators["aten::addmm_"] == 6 * layers
    assert operators["aten::mm"] == 6 * layers + 2 * 2
    assert not {"aten::bmm", "aten::softmax", "aten::matmul"} & operators.keys(), "attention is one node of the graph"
    # Of a layer neither dropout, the sum with what goes past it, LayerNorm nor GELU is left to libtorch.
    assert operators["aten::native_layer_norm"] == operators["aten::native_layer_norm_backward"] == 1
    assert "aten::gelu" not in operators and operators["aten::mul"] <= layers + 10
    assert sum(operators.values()) < 255 + 220 * layers, operators


def test_operators_of_a_heads_step(tmp_path):
    operators = cost_of_a_step(tmp_path / "run", "operators", freeze="base_except_pooler")
    # The loss and its derivatives are written out: tanh and the dropout's mask are left, and memory to put results in.
    assert not {"aten::linear", "aten::addmm", "aten::mm", "aten::item", "aten::_local_scalar_dense"} & operators.keys()
    assert operators["aten::tanh"] == operators["aten::mul"] == operators["aten::copy_"] == 1
    assert sum(operators.values()) <= 30, operators


# A step has some vectors of indices of its own; libtorch's allocations are not counted, but for those of its headers: a
# node of the graph that is not libtorch's own takes 16 of them, and a layer has ten.
def test_allocations(tmp_path):
    two, four, mixed, head = (cost_of_a_step(tmp_path / str(index), "allocations", **options)["allocations"]
                              for index, options in enumerate(({}, {"layers": 4}, {"lengths": (20, 21, 22, 23)},
                                                               {"freeze": "base_except_pooler"})))
    print(two, four, mixed, head)
    assert two <= 380 and four - two <= 166 * 2, "a layer: its nodes, dropout's rows twice, and attention's results"
    assert mixed <= two + 4, "a length: the group itself"
    assert head <= 20
