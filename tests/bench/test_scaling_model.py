"""The arithmetic of docs/scaling.md's model, against values computed by hand and the sizes of transformers' own models."""

import json
import re
import sys
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

sys.path.insert(0, str(Path(__file__).parent))
import scaling_model as model  # noqa: E402

PROJECT = Path(__file__).resolve().parents[2]
US = 1e-6


@pytest.mark.parametrize("bert, config", [
    (model.BERT_BASE, {}),
    (model.Bert(384, 6, 1536), {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536}),
    (model.BERT_LARGE, {"hidden_size": 1024, "num_hidden_layers": 24, "intermediate_size": 4096, "num_attention_heads": 16})])
def test_as_many_elements_as_transformers_counts(bert, config):
    with torch.device("meta"):
        parameters = dict(BertForSequenceClassification(BertConfig(**config)).named_parameters())
    assert bert.num_elements() == sum(parameter.numel() for parameter in parameters.values())
    assert bert.head_elements() == sum(parameter.numel() for name, parameter in parameters.items()
                                       if "pooler" in name or "classifier" in name)


def test_operations():
    # A layer: 4 x 768^2 + 2 x 768 x 3072 = 7,077,888 weights, 2 operations each; 2 x 2 x 128 x 768 for attention.
    assert model.BERT_BASE.forward_flops(128) == 12 * (14_155_776 + 393_216) == 174_587_904
    assert model.a100_flops() == pytest.approx(3 * 641_728_512 * 384 * 102.26)


def test_interpolation():
    table = [(10, 2.0), (1000, 200.0)]
    assert [model.interpolate(table, size) for size in (5, 10, 100, 1000, 2000)] == pytest.approx([2, 2, 20, 200, 400])


def test_all_reduce_of_gpus():
    assert model.gpu_all_reduce(2**20, 1) == 0
    assert model.gpu_all_reduce(2**20, 8) == pytest.approx(77.7 * US)
    assert model.gpu_all_reduce(2**26, 16) == pytest.approx(918.0 * US)
    # 511/512 instead of 15/16 is sent; five doublings of (64.0 - 38.6) / 4 = 6.35.
    assert model.gpu_all_reduce(2**26, 512) == pytest.approx((918.0 * 1.0645833333 + 5 * 6.35) * US)


def test_buckets():
    # A layer: two matrices of 4 MiB, four of 1 MiB; pooler and positions 1 MiB, classifier and types 4 KiB, words 2 MiB.
    bert = model.Bert(hidden=512, layers=2, intermediate=2048, vocabulary=1024)
    small = 2 * 512 + 2 * (9 * 512 + 2048) + 512 + 2
    assert model.buckets(bert) == [
        (2**20 + 4096, 0.0),  # more than 1 MiB: the first one is closed
        (25 * 2**20 + 4096, 1.0),  # both layers, types, positions
        (2 * 2**20, 1.0),
        ((small + 2) * 4, 1.0)]
    assert [ready for _, ready in model.buckets(bert, cap=12 * 2**20)[:3]] == [0.0, 0.5, 1.0]


def test_sums_one_after_the_other():
    assert model.reduce_end([(0, 1), (0.5, 2), (4, 1)]) == 5
    assert model.reduce_end([(0, 3), (1, 2)]) == 5


def test_a_step_of_gpus():
    flops = 32 * 128 * 174_587_904  # forward takes a second
    update = 32 * 109_483_778 / 1.555e12
    one = model.gpu_full_step(1, 32, flops=flops)
    assert one == pytest.approx({"compute": 3, "reduce": 0, "exposed": 0, "update": update, "step": 3 + update})
    # Layers are far apart: only what is ready at the very end is seen, the first layer, the embeddings, and the rest.
    last = [28_311_552, 95_342_592, 488_464]
    assert model.gpu_full_step(64, 32, flops=flops)["exposed"] == pytest.approx(
        sum(model.gpu_all_reduce(size, 64) for size in last))
    assert model.gpu_full_step(64, 32, flops=flops, overlap=False)["exposed"] == pytest.approx(
        model.gpu_all_reduce(4 * 109_483_780, 64))
    # 592,132 floats lie between 2 and 4 MiB.
    assert 113.7 * US < model.gpu_frozen_step(8)["reduce"] < 134.7 * US
    assert model.gpu_frozen_step(1)["step"] == pytest.approx(100 * US)


def test_all_reduce_of_cores():
    two = [(8, 10 * US), (1_000_000, 1010 * US)]
    assert model.cpu_all_reduce(two, 1_000_000, 1, 2) == 0
    assert model.cpu_all_reduce(two, 1_000_000, 2, 2) == pytest.approx(1010 * US)
    # 10/4 and 22/4 times what two ranks move, on the same two cores, and two and four turns.
    assert model.cpu_all_reduce(two, 1_000_000, 4, 2) == pytest.approx((20 + 2500) * US)
    assert model.cpu_all_reduce(two, 1_000_000, 8, 2) == pytest.approx((40 + 5500) * US)
    assert model.cpu_all_reduce(two, 1_000_000, 4, 8) == pytest.approx((10 + 1250) * US)


def test_a_step_of_cores():
    job = {"one_rank_small_batch": {"tokens": 100, "seconds": 0.3}, "reduced_bytes": 1_000_000,
           "separate_update": 0.01, "ranks": {"1": {"tokens": 300, "seconds": 0.7}}}
    assert model.cpu_parts(job["one_rank_small_batch"], job["ranks"]["1"]) == pytest.approx((0.002, 0.1))
    two = [(8, 10 * US), (1_000_000, 1010 * US)]
    steps = [model.cpu_step(job, two, ranks, 2) for ranks in (1, 2, 4)]
    assert steps == pytest.approx([0.7, 0.3 + 0.11 + 0.00101, 0.3 + 0.22 + 0.00252])


def test_the_documents_tables_are_the_models():
    page = (PROJECT / "docs/scaling.md").read_text()
    places = dict(re.findall(r"<!-- (\w+) -->\n(.*?)<!-- end -->\n", page, re.DOTALL))
    assert places == model.tables(json.loads((PROJECT / "docs/scaling.json").read_text()))
