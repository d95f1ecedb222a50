"""Debug mode says which row, and which module, is the first at which something is wrong."""

import re

import h5py
import numpy as np
import pytest
import torch
from reference.program import VOCABULARY, make_rows, run, save_bert, train, write_csv
from safetensors.torch import load_file, save_file

DATA, NUMERIC = 3, 7


def rows_with_one_q():
    """40 rows of the letters a to l, and one with a q."""
    rows = make_rows(40)
    rows[17] = ("abc q def", rows[17][1])
    return rows


def changed_model(folder, change, dropout=0.0, **options):
    """A model whose weights `change` has altered in place."""
    save_bert(folder, dropout=dropout, **options)
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def debug(folder, model, **options):
    options = {"train_file": folder / "train.csv", "global_batch_size": 8, "num_train_epochs": 1, "save_strategy": "no",
               "debug": True, **options}
    return train(model, folder / "out", check=False, overwrite_output_dir=True, **options)


@pytest.fixture
def folder(tmp_path):
    write_csv(tmp_path / "train.csv", rows_with_one_q())
    return tmp_path


def cache_of(folder, model):
    run("prepare", model_name_or_path=model, train_file=folder / "train.csv", token_cache_dir=folder / "cache")
    return next((folder / "cache").rglob("*.h5"))


def change_row(path, name, value):
    """Of row 17 the label, or its fourth token. Returns the row's line."""
    with h5py.File(path, "r+") as cache:
        place = int(cache["offsets"][17]) + 3 if name == "tokens" else 17
        cache[name][place] = np.array(value, dtype=cache[name].dtype)
        return int(cache["source_lines"][17])


@pytest.mark.parametrize("freeze", ["none", "base_except_pooler"])
def test_a_token_that_the_model_has_no_place_for(folder, freeze):
    model = save_bert(folder / "model")
    size = len(VOCABULARY)
    line = change_row(cache_of(folder, model), "tokens", size)
    result = debug(folder, model, freeze=freeze)
    assert result.returncode == DATA, result.stderr
    assert f"token_ids has {size} at position 3, which is not in [0, {size})" in result.stderr
    assert f'the row is {folder / "train.csv"}:{line}: "abc q def"' in result.stderr


@pytest.mark.parametrize("is_debug", [True, False])
def test_a_row_without_a_label(folder, is_debug):
    model = save_bert(folder / "model")
    line = change_row(cache_of(folder, model), "labels", -1)
    result = debug(folder, model, debug=is_debug)
    assert result.returncode == DATA, result.stderr
    assert f"the row at {folder / 'train.csv'}:{line} has no label in its token cache" in result.stderr


@pytest.mark.parametrize("name, freeze", [
    ("bert.embeddings.LayerNorm.weight", "none"),
    ("bert.encoder.layer.0.attention.self.query.weight", "none"),
    ("bert.encoder.layer.1.attention.self.value.bias", "none"),
    ("bert.encoder.layer.1.attention.output.LayerNorm.bias", "{first_layers = 1}"),
    ("bert.encoder.layer.0.output.dense.weight", "{first_layers = 1}"),
    ("bert.encoder.layer.1.intermediate.dense.bias", "base_except_pooler"),
    ("bert.pooler.dense.weight", "none"),
    ("bert.pooler.dense.weight", "base_except_pooler"),
    ("classifier.bias", "base_except_pooler"),
])
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_weight_that_is_not_finite(folder, name, freeze, ranks):
    def change(weights):
        weights[name].view(-1)[3 % weights[name].numel()] = torch.nan

    model = changed_model(folder / "model", change)
    result = debug(folder, model, freeze=freeze, **{"debug.world_size": ranks})
    assert result.returncode == NUMERIC, result.stderr
    module = name.rsplit(".", 1)[0]
    assert f"step 1, forward: {module} is the first module whose output is not finite" in result.stderr
    assert re.search(rf"so is its parameter {re.escape(name)} \(of [\d,]+ elements 1 NaN and 0 Inf\)", result.stderr)
    assert f"{folder / 'train.csv'}:" in result.stderr


def test_the_rows_are_those_that_are_touched(folder):
    def change(weights):
        weights["bert.embeddings.word_embeddings.weight"][VOCABULARY.index("q")] = torch.inf

    model = changed_model(folder / "model", change)
    result = debug(folder, model)
    assert result.returncode == NUMERIC, result.stderr
    assert "forward: bert.embeddings.word_embeddings is the first module" in result.stderr
    assert re.search(r'in 1 row:\n  \S+train\.csv:\d+: "abc q def"\n', result.stderr)


def test_an_overflow_forward(folder):
    def change(weights):
        weights["bert.encoder.layer.0.intermediate.dense.weight"] *= 1e30
        weights["bert.encoder.layer.0.output.dense.weight"] *= 1e30

    result = debug(folder, changed_model(folder / "model", change))
    assert result.returncode == NUMERIC, result.stderr
    assert "forward: bert.encoder.layer.0.output.dense is the first module" in result.stderr
    assert "parameter" not in result.stderr


def large_gradient_of_the_pooler(weights):
    """Logits of 1e12, but the pooler's gradient is 1e25, by its output, times 1e15, its input."""
    weights["bert.encoder.layer.1.output.LayerNorm.weight"] *= 1e15
    weights["bert.pooler.dense.weight"] *= 1e-30
    weights["classifier.weight"] *= 1e27


def large_gradient_through_a_layer_norm(weights):
    """The last LayerNorm's input is so small that its derivative is 1e6, of a gradient of 1e33."""
    weights["bert.encoder.layer.1.attention.output.LayerNorm.weight"] *= 1e-8
    weights["bert.encoder.layer.1.output.dense.weight"] *= 1e-8
    weights["bert.pooler.dense.weight"] *= 1e-3
    weights["classifier.weight"] *= 1e38


@pytest.mark.parametrize("freeze", ["none", "base_except_pooler"])
@pytest.mark.parametrize("ranks", [1, 2])
def test_an_overflow_backward_in_a_parameter(folder, freeze, ranks):
    result = debug(folder, changed_model(folder / "model", large_gradient_of_the_pooler), freeze=freeze,
                   **{"debug.world_size": ranks})
    assert result.returncode == NUMERIC, result.stderr
    assert ("step 1, backward: bert.pooler.dense is the first module whose gradient is not finite: that of its parameter "
            "bert.pooler.dense.weight") in result.stderr
    assert re.search(r"in \d rows?:\n  \S+train\.csv:\d+: ", result.stderr)


def test_an_overflow_backward_in_an_activation(folder):
    result = debug(folder, changed_model(folder / "model", large_gradient_through_a_layer_norm))
    assert result.returncode == NUMERIC, result.stderr
    assert ("step 1, backward: bert.encoder.layer.1.output.LayerNorm is the first module whose gradient is not finite: "
            "that of its input, the output of bert.encoder.layer.1.output.dense") in result.stderr
    assert re.search(r"in \d rows?:\n  \S+train\.csv:\d+: ", result.stderr)


def test_the_step_that_a_run_died_of_is_replayed(folder):
    """A learning rate that makes the second step's numbers infinite, under mpirun, which names no module."""
    model = save_bert(folder / "model", dropout=0.1)
    result = train(model, folder / "dead", ranks=2, check=False, train_file=folder / "train.csv", global_batch_size=8,
                   learning_rate=1e38, max_grad_norm=0, save_strategy="no")
    assert result.returncode == NUMERIC and "is the first module" not in result.stderr
    step = re.search(r"step (\d+): loss", result.stderr)[1]
    replayed = run("replay", str(folder / "dead"), "--step", step, check=False)
    assert replayed.returncode == NUMERIC, replayed.stderr
    assert re.search(rf"step {step}, forward: bert\.\S+ is the first module whose output is not finite", replayed.stderr)
    assert re.search(r"rank 1: \d+ rows?, ", replayed.stdout)
