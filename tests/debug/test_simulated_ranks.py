"""debug.world_size = n gives the bits of n MPI ranks with as many threads each."""

import json
import shutil

import pytest
from reference.program import losses_of, make_rows, save_bert, state_of, train, write_csv

TIMES = ("time", "_runtime", "_per_second")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    save_bert(folder / "model", dropout=0.2)
    save_bert(folder / "wide", hidden_size=640, num_hidden_layers=1)  # 16 rows of its head are too many for each rank
    write_csv(folder / "train.csv", make_rows(29))
    write_csv(folder / "validation.csv", make_rows(11, seed=1))
    return folder


def without_times(entry):
    return {key: value for key, value in entry.items() if not key.endswith(TIMES)}


def content(folder):
    """All that a run leaves and is to be the same, by its path: weights and optimizer as bytes, JSON without times."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.suffix == ".safetensors":
            found[name] = path.read_bytes()
        elif path.name == "run_log.jsonl":
            found[name] = [without_times(json.loads(line)) | {"started_by": "of no concern"}
                           for line in path.read_text().splitlines()]
        elif path.suffix == ".json":
            found[name] = without_times(json.loads(path.read_text()))
            if "log_history" in found[name]:
                found[name]["log_history"] = [without_times(entry) for entry in found[name]["log_history"]]
    return found


def run(folder, name, *, ranks=0, **options):
    """Into the same folder for all, because checkpoints name it; it is moved to `name` afterwards."""
    options = {"global_batch_size": 6, "num_train_epochs": 2, "learning_rate": 2e-3, "logging_strategy": "steps",
               "logging_steps": 1, "save_strategy": "epoch", "eval_strategy": "epoch", "train_file": folder / "train.csv",
               "validation_file": folder / "validation.csv", "num_threads": 1, **options}
    options = {key: value for key, value in options.items() if value is not None}
    output = folder / "output"
    result = train(folder / options.pop("model", "model"), output, ranks=ranks, **options)
    shutil.move(output, folder / name)
    return folder / name, result


@pytest.mark.parametrize("name, ranks, options", [
    ("full", 2, {"gradient_accumulation_steps": 2, "weight_decay": 0.1}),
    ("full", 3, {"gradient_accumulation_steps": 2, "weight_decay": 0.1}),
    ("two_threads", 2, {"num_threads": 2}),
    ("bf16_reduced", 2, {"grad_reduce_in_bf16": True}),
    ("bf16_reduced", 3, {"grad_reduce_in_bf16": True, "ddp_bucket_cap_mb": 0.01, "gradient_accumulation_steps": 2}),
    ("head", 2, {"freeze": "base_except_pooler"}),
    ("head", 3, {"freeze": "base_except_pooler", "num_threads": 2}),
    ("wide_head", 2, {"freeze": "base_except_pooler", "model": "wide", "global_batch_size": 16}),
    ("last_layer", 3, {"freeze": "{first_layers = 1}"}),
    ("frozen_dropout", 2, {"freeze": "base_except_pooler", "frozen_dropout": True}),
    ("rows_for_some_ranks", 3, {"max_train_samples": 7, "global_batch_size": 5}),
    ("batch_of_a_rank", 3, {"global_batch_size": None, "per_device_train_batch_size": 4}),
])
def test_simulated_ranks_are_mpi_ranks_to_the_bit(folder, name, ranks, options):
    real, _ = run(folder, f"{name}-mpi-{ranks}", ranks=ranks, **options)
    simulated, result = run(folder, f"{name}-simulated-{ranks}", **options, **{"debug.world_size": ranks})
    assert f"{ranks} ranks, simulated, on 1 host" in result.stderr
    expected, found = content(real), content(simulated)
    assert {"model.safetensors", "trainer_state.json", "run_log.jsonl"} <= expected.keys()
    assert sum(path.endswith("optimizer.safetensors") for path in expected) == 2
    assert found.keys() == expected.keys()
    for path, value in expected.items():
        assert found[path] == value, path


def test_one_rank_is_not_simulated_and_others_differ(folder):
    one, _ = run(folder, "one")
    debugged, result = run(folder, "one-debugged", debug=True)
    assert "1 rank on 1 host" in result.stderr and content(debugged) == content(one)
    two, _ = run(folder, "two", **{"debug.world_size": 2})
    assert losses_of(two) == pytest.approx(losses_of(one), abs=1e-5) and content(two) != content(one)


def test_a_table_switches_debug_mode_on_and_the_command_line_off(folder):
    config = folder / "debug.toml"
    config.write_text("[debug]\nworld_size = 2\n")
    _, result = run(folder, "from-table", config=config)
    assert "2 ranks, simulated, on 1 host" in result.stderr
    _, result = run(folder, "off", config=config, debug=False)
    assert "1 rank on 1 host" in result.stderr
    assert state_of(folder / "off")["log_history"] != state_of(folder / "from-table")["log_history"]


def test_debug_mode_is_one_process(folder):
    result = train(folder / "model", folder / "refused", ranks=2, check=False, train_file=folder / "train.csv", debug=True)
    assert result.returncode == 2 and "debug mode is one process, not 2" in result.stderr
    assert "--debug.world_size 2" in result.stderr and not (folder / "refused").exists()


def test_a_simulated_run_goes_on_as_the_ranks_would(folder):
    options = {"save_strategy": "steps", "save_steps": 3, "eval_strategy": "no", "load_best_model_at_end": False}
    whole, _ = run(folder, "whole", ranks=2, **options)
    shutil.copytree(whole / "checkpoint-6", folder / "resumed" / "checkpoint-6")
    result = train(folder / "model", folder / "resumed", train_file=folder / "train.csv", num_threads=1,
                   global_batch_size=6, num_train_epochs=2, learning_rate=2e-3, logging_strategy="steps",
                   logging_steps=1, save_strategy="no", resume_from_checkpoint="latest", **{"debug.world_size": 2})
    assert "at step 6 of 10" in result.stderr and "to rounding" not in result.stderr
    assert (folder / "resumed/model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
