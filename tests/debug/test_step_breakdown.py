"""Debug mode tells what the phases of a step take, and writes a trace of a few."""

import json
import re
from collections import Counter

import pytest
from reference.program import make_rows, save_bert, state_of, train, write_csv


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("breakdown")
    save_bert(folder / "model")
    write_csv(folder / "train.csv", make_rows(40))
    return folder


def debug(folder, **options):
    options = {"train_file": folder / "train.csv", "global_batch_size": 4, "num_train_epochs": 1, "save_strategy": "no",
               "overwrite_output_dir": True, "debug": True, **options}
    return train(folder / "model", folder / "out", **options)


def breakdown_of(output):
    """{phase: (mean ms, share in %)}"""
    lines = output[output.index("phase of a step"):].splitlines()
    rows = [re.fullmatch(r"(.+?) {2,}([\d.]+) {2,}([\d.]+) %", line) for line in lines]
    return {row[1]: (float(row[2]), float(row[3])) for row in rows if row}


@pytest.mark.parametrize("options, phases", [
    ({}, {"data", "forward", "backward", "reduce", "optimizer", "debug mode's checks"}),
    ({"debug.world_size": 2}, {"data", "forward", "backward", "reduce", "optimizer", "debug mode's checks"}),
    ({"freeze": "base_except_pooler"}, {"data", "forward and backward", "optimizer", "debug mode's checks"}),
])
def test_the_phases_make_up_a_step(folder, options, phases):
    output = debug(folder, **options).stdout
    found = breakdown_of(output)
    assert found.keys() == phases | {"all"}
    total, share = found.pop("all")
    assert share == 100 and total > 0
    assert sum(ms for ms, _ in found.values()) == pytest.approx(total, abs=0.01)
    assert sum(percent for _, percent in found.values()) == pytest.approx(100, abs=0.5)
    assert "7 steps, without the first 3" in output


def test_few_steps_are_all_counted(folder):
    assert "2 steps\n" in debug(folder, max_steps=2).stdout


@pytest.mark.parametrize("max_steps, num_traced", [(10, 3), (4, 3), (2, 2)])
@pytest.mark.parametrize("freeze", ["none", "base_except_pooler"])
def test_a_trace_has_phases_and_operators(folder, tmp_path, max_steps, num_traced, freeze):
    file = tmp_path / "traces" / "trace.json"
    output = debug(folder, max_steps=max_steps, freeze=freeze, **{"debug.trace": file}).stdout
    assert f"a trace of {num_traced} steps is in {file}" in output
    events = [event for event in json.loads(file.read_text())["traceEvents"] if event.get("ph") == "X"]
    assert all(event["dur"] >= 0 and event["ts"] > 0 for event in events)
    names = Counter(event["name"] for event in events)
    assert names["optimizer"] == num_traced
    if freeze == "none":
        assert names["forward"] == names["backward"] == num_traced
        # Of the embeddings; a layer's are nodes of their own.
        assert names["aten::layer_norm"] == names["aten::native_layer_norm_backward"] == num_traced
    else:
        assert names["forward and backward"] == num_traced and names["aten::tanh"] >= num_traced
    # The steps themselves are not changed by it.
    assert state_of(folder / "out")["global_step"] == max_steps


def test_a_trace_that_cannot_be_written(folder, tmp_path):
    (tmp_path / "file").write_text("")
    result = debug(folder, check=False, **{"debug.trace": tmp_path / "file" / "trace.json"})
    assert result.returncode == 5 and "file" in result.stderr
