"""Trials that cannot be: `plan` names them, and where only the training finds out, the others go on without them."""

import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from reference.program import ENVIRONMENT, command, make_rows, run, save_bert, write_csv

CONFIGURATION, DATA, MODEL, NUMERIC = 2, 3, 4, 7


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    save_bert(folder / "model", num_hidden_layers=1)
    write_csv(folder / "train.csv", make_rows(48))
    write_csv(folder / "validation.csv", make_rows(24, seed=1))
    write_csv(folder / "damaged.csv", [(text, "") for text, _ in make_rows(8)])
    return folder


def sweep_file(data, folder, sweep, **options):
    options = {"model_name_or_path": f"{data}/model", "train_file": f"{data}/train.csv", "num_threads": 1,
               "validation_file": f"{data}/validation.csv", "token_cache_dir": f"{data}/cache", "global_batch_size": 8,
               "num_train_epochs": 2, "output_dir": f"{folder}/sweep", "freeze": "base_except_pooler", **options}
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in options.items() if value is not None)
    file = folder / "sweep.toml"
    file.write_text(text + '[sweep]\nmethod = "grid"\nmetric = {name = "eval_loss", goal = "minimize"}\n' + sweep)
    return file


def results_of(folder):
    lines = [json.loads(line) for file in Path(folder).glob("trials*.jsonl") for line in file.read_text().splitlines()]
    return {line["trial"]: line for line in lines if line["event"] != "evaluation"}


@pytest.mark.parametrize("parameters, message", [
    ("max_seq_length = {values = [32, 4096]}", "trial 1: max_seq_length = 4096 is over the 48 positions"),
    ("freeze = {values = [{first_layers = 1}, {first_layers = 99}]}", "trial 1: freeze: first_layers = 99 of a model"),
    ('freeze = {values = ["base", ["bert.decoder.*"]]}', "trial 1: freeze: no parameter matches 'bert.decoder.*'")],
    ids=str)
def test_what_the_model_does_not_allow_is_an_error_of_the_plan(data, tmp_path, parameters, message):
    freeze = {"freeze": None} if "freeze" in parameters else {}
    file = sweep_file(data, tmp_path, f"[sweep.parameters]\nlearning_rate = {{values = [1e-3]}}\n{parameters}\n", **freeze)
    for action in ("plan", "run"):
        done = run("sweep", action, "--config", str(file), check=False)
        assert done.returncode == CONFIGURATION and f"error: {message}" in done.stderr, done.stderr
    assert not (tmp_path / "sweep").exists()


def test_a_plan_says_which_model_it_could_not_look_at(data, tmp_path):
    file = sweep_file(data, tmp_path, "parameters.learning_rate.values = [1e-3]\n", model_name_or_path="elsewhere")
    done = run("sweep", "plan", "--config", str(file))
    assert done.stdout.startswith("1 trials\n")
    assert "the model 'elsewhere' is not here: max_seq_length and freeze are not held against it" in done.stderr


@pytest.mark.parametrize("ranks", [0, 2])
def test_heads_whose_common_part_cannot_be_prepared_fail_and_the_others_go_on(data, tmp_path, ranks):
    files = json.dumps([f"{data}/damaged.csv", f"{data}/train.csv"])
    file = sweep_file(data, tmp_path, f"[sweep.parameters]\ntrain_file = {{values = {files}}}\n"
                      "learning_rate = {values = [1e-3, 2e-3]}\n", train_file=None)
    done = subprocess.run(command("--config", str(file), ranks=ranks), env=ENVIRONMENT, capture_output=True, text=True,
                          timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "what trial 0 and 1 others share cannot be prepared" in done.stderr
    assert "2 trials on the same frozen features train their heads together" in done.stderr
    results = results_of(tmp_path / "sweep")
    assert [results[trial]["event"] for trial in range(4)] == ["failed", "failed", "finished", "finished"]
    assert results[0]["exit_code"] == DATA and "damaged.csv" in results[0]["error"]
    for trial in range(4):
        assert (tmp_path / f"sweep/trial_{trial:03}/config.toml").exists()


def test_heads_that_cannot_be_kept_are_recorded_as_failed(data, tmp_path):
    shutil.copytree(data / "model", tmp_path / "model")
    file = sweep_file(data, tmp_path, 'save_trials = "all"\nparameters.learning_rate.values = [1e-3, 2e-3]\n',
                      model_name_or_path=f"{tmp_path}/model", num_train_epochs=2000)
    job = subprocess.Popen(command("--config", str(file)), env=ENVIRONMENT, stdout=subprocess.DEVNULL,
                           stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not any(results.read_text() for results in (tmp_path / "sweep").glob("trials*.jsonl")):
        assert job.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    for tokenizer in ("tokenizer.json", "vocab.txt"):
        (tmp_path / "model" / tokenizer).unlink()
    _, errors = job.communicate(timeout=120)
    assert job.returncode == MODEL, errors
    assert {trial: result["event"] for trial, result in results_of(tmp_path / "sweep").items()} == {
        0: "failed", 1: "failed"}


def test_a_task_of_an_array_does_not_try_what_failed_again(data, tmp_path):
    file = sweep_file(data, tmp_path, "parameters.learning_rate.values = [1e-3, 2e-3, 1e38]\n")

    def run_task(task, trials_per_task):
        environment = {**ENVIRONMENT, "SLURM_JOB_ID": "5", "SLURM_ARRAY_JOB_ID": "4", "SLURM_ARRAY_TASK_ID": str(task)}
        return subprocess.run(command("sweep", "run", "--config", str(file), trials_per_task=trials_per_task),
                              env=environment, capture_output=True, text=True, timeout=60)

    first = run_task(0, 2)
    assert first.returncode == 0, first.stderr
    assert "SLURM job 4_0, array task 0\ntask 0: trials 0-1\n" in first.stderr
    for _ in range(2):  # the second time as after a requeue
        done = run_task(2, 1)
        assert done.returncode == NUMERIC and "1 of 1 trials failed; trial 2: step" in done.stderr
        assert "task 2: trial 2\n" in done.stderr
    lines = [line for part in (tmp_path / "sweep").glob("trials*.jsonl") for line in part.read_text().splitlines()]
    assert sum(json.loads(line)["event"] == "failed" for line in lines) == 1
    assert sorted(results_of(tmp_path / "sweep")) == [0, 1, 2]
