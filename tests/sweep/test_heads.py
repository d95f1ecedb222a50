"""Heads that are trained together on the same features are the trainings that they would be alone."""

import json
import subprocess
from pathlib import Path

import pytest
from reference.program import ENVIRONMENT, command, losses_of, make_rows, run, save_bert, state_of, write_csv

# All that a head's training has of its own: rates, decay, schedule, seed, dropout, order and size of batches, length.
SWEEP = """
[sweep]
method = "random"
run_cap = 9
seed = 4
metric = {name = "eval_loss", goal = "minimize"}
[sweep.parameters]
learning_rate = {distribution = "log_uniform_values", min = 1e-3, max = 3e-2}
weight_decay = {values = [0.0, 0.1]}
lr_scheduler_type = {values = ["linear", "cosine", "constant_with_warmup"]}
warmup_ratio = {values = [0.0, 0.3]}
seed = {values = [1, 2, 3]}
classifier_dropout = {min = 0.0, max = 0.5}
global_batch_size = {values = [4, 8]}
num_train_epochs = {min = 2, max = 4}
max_grad_norm = {values = [0.0, 0.5]}
label_smoothing_factor = {values = [0.0, 0.1]}
adam_beta2 = {values = [0.99, 0.999]}
"""


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads")
    save_bert(folder / "model", num_labels=3)
    write_csv(folder / "train.csv", make_rows(50, num_labels=3))  # the last batch of an epoch is smaller
    write_csv(folder / "validation.csv", make_rows(30, num_labels=3, seed=1))
    options = {"model_name_or_path": f"{folder}/model", "train_file": f"{folder}/train.csv", "num_threads": 1,
               "validation_file": f"{folder}/validation.csv", "token_cache_dir": f"{folder}/cache",
               "output_dir": f"{folder}/sweep", "freeze": "base_except_pooler", "dtype": "float32"}
    file = folder / "sweep.toml"
    file.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in options.items()) + SWEEP)
    done = subprocess.run(command("--config", str(file), ranks=2), env=ENVIRONMENT, capture_output=True, text=True,
                          timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "9 trials on the same frozen features train their heads together" in done.stderr
    return folder / "sweep"


def results_of(folder):
    lines = [json.loads(line) for file in Path(folder).glob("trials*.jsonl") for line in file.read_text().splitlines()]
    return {line["trial"]: line for line in lines if line["event"] == "finished"}


def close(found, expected):
    return len(found) == len(expected) and all(abs(a - b) < 1e-5 for a, b in zip(found, expected))


@pytest.mark.parametrize("trial", range(9))
def test_losses_are_those_of_the_trial_alone(swept, trial):
    folder = swept / f"trial_{trial:03}"
    run("train", "--config", str(folder / "config.toml"))
    together = [json.loads(line) for line in (folder / "run_log.jsonl").read_text().splitlines()]
    alone = state_of(folder / "run")["log_history"]
    for key in ("loss", "grad_norm", "learning_rate", "eval_loss", "eval_accuracy", "eval_auc", "epoch", "step"):
        values = [[entry[key] for entry in log if key in entry and ("loss" in entry or "eval_loss" in entry)]
                  for log in (together, alone)]
        assert values[1] and close(*values), f"{key}: {values}"
    assert close([entry["loss"] for entry in together if "loss" in entry], losses_of(folder / "run"))

    # The final model, the best by the evaluation's loss, is the same one too.
    result = results_of(swept)[trial]
    final = json.loads((folder / "run/all_results.json").read_text())
    for key in ("eval_loss", "eval_accuracy", "train_loss", "epoch", "global_step"):
        assert abs(result[key] - final[key]) < 1e-5, key


def test_the_best_head_is_saved_in_its_model(swept):
    results = results_of(swept)
    best = min(results, key=lambda i: (results[i]["metric"], i))
    run("evaluate", model_name_or_path=swept / "best", test_file=swept.parent / "validation.csv", num_threads=1,
        output_dir=swept.parent / "evaluated", token_cache_dir=swept.parent / "cache")
    evaluated = json.loads((swept.parent / "evaluated/eval_results.json").read_text())
    assert evaluated["eval_accuracy"] == results[best]["eval_accuracy"]
    if results[best]["parameters"]["label_smoothing_factor"] == 0:
        assert abs(evaluated["eval_loss"] - results[best]["eval_loss"]) < 1e-5
    config = json.loads((swept / "best/config.json").read_text())
    assert config["classifier_dropout"] == results[best]["parameters"]["classifier_dropout"]
