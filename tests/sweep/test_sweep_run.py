"""Sweeps from outside: their trials over ranks, what is recorded, and what a later run makes of it."""

import csv
import json
import math
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from reference.program import ENVIRONMENT, command, make_rows, run, save_bert, write_csv
from transformers import AutoModelForSequenceClassification

GRID = """
[sweep]
method = "grid"
metric = {name = "eval_accuracy", goal = "maximize"}
"""
RATES = "[1e-3, 3e-3, 1e-2, 3e-2]"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    save_bert(folder / "model", num_hidden_layers=1)
    write_csv(folder / "train.csv", make_rows(48))
    write_csv(folder / "validation.csv", make_rows(24, seed=1))
    return folder


def sweep_file(data, folder, sweep, **options):
    options = {"model_name_or_path": f"{data}/model", "train_file": f"{data}/train.csv", "num_threads": 1,
               "validation_file": f"{data}/validation.csv", "token_cache_dir": f"{data}/cache", "global_batch_size": 8,
               "num_train_epochs": 2, "output_dir": f"{folder}/sweep", **options}
    file = folder / "sweep.toml"
    file.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in options.items()) + sweep)
    return file


def run_sweep(file, *arguments, ranks=0, check=True):
    line = command(*arguments, "--config", str(file), ranks=ranks)
    done = subprocess.run(line, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def results_of(folder):
    lines = [json.loads(line) for file in Path(folder).glob("trials*.jsonl") for line in file.read_text().splitlines()]
    return {line["trial"]: line for line in lines if line["event"] != "evaluation"}


def test_trials_are_the_same_at_any_number_of_ranks(data, tmp_path):
    found = {}
    for ranks in (0, 2, 3, 8):
        folder = tmp_path / str(ranks)
        folder.mkdir()
        file = sweep_file(data, folder, '[sweep]\nmethod = "random"\nrun_cap = 8\n[sweep.parameters]\n'
                          'learning_rate = {distribution = "log_uniform_values", min = 1e-4, max = 1e-2}\n'
                          "classifier_dropout = {min = 0.0, max = 0.5}\n")
        done = run_sweep(file, ranks=ranks)
        groups = max(1, ranks)
        assert done.stderr.startswith(f"8 trials, {groups} group{'s'[:groups > 1]} of 1 rank; ranks_per_trial = "
                                      f"{max(2, groups)} trains each trial data-parallel\n"), done.stderr
        results = results_of(folder / "sweep")
        assert sorted(results) == list(range(8)) and {r["event"] for r in results.values()} == {"finished"}
        assert len(list((folder / "sweep").glob("trials*.jsonl"))) == groups, "each writer has a file of its own"
        assert not list((folder / "sweep").glob(".queue*"))
        found[ranks] = {i: (r["parameters"], r["eval_loss"], r["train_loss"]) for i, r in results.items()}
        assert json.loads((folder / "sweep/best/trial.json").read_text())["trial"] == min(
            results, key=lambda i: (results[i]["metric"], i))
    assert all(results == found[0] for results in found.values())


def test_ranks_that_train_one_trial_together_agree_with_one(data, tmp_path):
    found = {}
    for ranks_per_trial in (1, 2):
        folder = tmp_path / str(ranks_per_trial)
        folder.mkdir()
        file = sweep_file(data, folder, GRID + f"ranks_per_trial = {ranks_per_trial}\n"
                          f"parameters.learning_rate.values = {RATES}\n")
        run_sweep(file, ranks=4)
        found[ranks_per_trial] = results_of(folder / "sweep")
    for index in range(4):
        assert found[2][index]["world_size"] == 2
        assert math.isclose(found[1][index]["eval_loss"], found[2][index]["eval_loss"], abs_tol=1e-5)
    bad = run_sweep(tmp_path / "2" / "sweep.toml", ranks=3, check=False)
    assert bad.returncode == 2 and "3 ranks cannot be split into groups of 2" in bad.stderr


@pytest.mark.parametrize("ranks, ranks_per_trial", [(2, 1), (2, 2)])
def test_a_failed_trial_is_recorded_and_the_sweep_goes_on(data, tmp_path, ranks, ranks_per_trial):
    sweep = GRID + f"ranks_per_trial = {ranks_per_trial}\nparameters.learning_rate.values = [1e-3, 1e38, 2e-3]\n"
    file = sweep_file(data, tmp_path, sweep)
    done = run_sweep(file, ranks=ranks)
    results = results_of(tmp_path / "sweep")
    assert [results[i]["event"] for i in range(3)] == ["finished", "failed", "finished"]
    assert "not finite" in results[1]["error"] and results[1]["exit_code"] == 7
    status = run("sweep", "status", str(tmp_path / "sweep")).stdout
    assert "3 trials: 2 finished, 0 stopped early, 1 failed, 0 missing" in status and "trial 1 failed: step" in status
    assert f"bertdist sweep run --config {tmp_path}/sweep/sweep.toml --trials 1\n" in status
    assert "failed" in done.stdout
    # Rerun, a failed trial is left alone unless it is named.
    count = lambda: sum(f.read_text().count('"failed"') for f in (tmp_path / "sweep").glob("trials*.jsonl"))
    run_sweep(file, ranks=ranks)
    assert count() == 1
    again = run_sweep(file, "sweep", "run", "--trials", "1", ranks=ranks, check=False)
    assert count() == 2
    assert again.returncode == 7 and "1 of 1 trials failed; trial 1: step" in again.stderr


def test_max_failures_ends_the_sweep(data, tmp_path):
    file = sweep_file(data, tmp_path, GRID + "max_failures = 0\nparameters.learning_rate.values = [1e38, 1e-3, 2e-3]\n")
    done = run_sweep(file, check=False)
    assert done.returncode == 7 and "1 of 1 trials failed; trial 0: step" in done.stderr
    folder = tmp_path / "sweep"
    assert list(results_of(folder)) == [0]
    # It has ended: the command that began it adds nothing.
    assert run_sweep(file, check=False).returncode == 7 and list(results_of(folder)) == [0]
    # The commands that `status` prints do, although there is a failure on record.
    missing, failed = (shlex.split(line) for line in
                       re.findall(r"^  bertdist (.*)$", run("sweep", "status", str(folder)).stdout, re.MULTILINE))
    assert missing[-2:] == ["--trials", "1-2"] and failed[-2:] == ["--trials", "0"]
    assert run(*missing).returncode == 0
    assert {trial: result["event"] for trial, result in results_of(folder).items()} == {
        0: "failed", 1: "finished", 2: "finished"}
    times = lambda: sum(file.read_text().count('"failed"') for file in folder.glob("trials*.jsonl"))
    assert run(*failed, check=False).returncode == 7 and times() == 2
    assert run("sweep", "run", "--config", str(file), "--trials", "0,2", check=False).returncode == 7 and times() == 3


def test_what_is_missing_is_named_and_can_be_run(data, tmp_path):
    file = sweep_file(data, tmp_path, GRID + f"parameters.learning_rate.values = {RATES}\n")
    run_sweep(file, "sweep", "run", "--trials", "2")
    folder = tmp_path / "sweep"
    status = run("sweep", "status", str(folder)).stdout
    assert "4 trials: 1 finished, 0 stopped early, 0 failed, 3 missing\nmissing: 0-1,3\n" in status
    line = shlex.split(re.search(r"^  bertdist (.*)$", status, re.MULTILINE)[1])
    run(*line)
    assert "0 missing" in run("sweep", "status", str(folder)).stdout
    assert sum(file.read_text().count('"finished"') for file in folder.glob("trials*.jsonl")) == 4, "trial 2 ran once"
    with open(folder / "leaderboard.csv", newline="") as leaderboard:
        rows = list(csv.DictReader(leaderboard))
    metrics = [float(row["metric"]) for row in rows]
    assert len(rows) == 4 and metrics == sorted(metrics, reverse=True) and float(rows[0]["learning_rate"]) in eval(RATES)
    assert run("sweep", "export", str(folder)).stdout.replace("\r", "") == \
        (folder / "leaderboard.csv").read_text().replace("\r", "")


def test_a_half_written_line_loses_its_own_trial_alone(data, tmp_path):
    file = sweep_file(data, tmp_path, GRID + "parameters.learning_rate.values = [1e-3, 2e-3]\n")
    run_sweep(file)
    [results] = (tmp_path / "sweep").glob("trials*.jsonl")
    results.write_bytes(results.read_bytes()[:-20])
    status = run("sweep", "status", str(tmp_path / "sweep")).stdout
    assert "1 finished" in status and "1 missing\n1 lines were not written to their end" in status
    run_sweep(file)
    assert "2 finished" in run("sweep", "status", str(tmp_path / "sweep")).stdout


def test_the_best_trial_is_a_checkpoint_and_can_be_trained_again(data, tmp_path):
    file = sweep_file(data, tmp_path, GRID + f"parameters.learning_rate.values = {RATES}\n")
    run_sweep(file, ranks=2)
    folder = tmp_path / "sweep"
    results = results_of(folder)
    best = max(results, key=lambda i: (results[i]["metric"], -i))
    printed = run("sweep", "best", str(folder)).stdout
    assert printed.startswith(f"trial {best}: eval_accuracy")
    assert AutoModelForSequenceClassification.from_pretrained(folder / "best").config.num_labels == 2
    evaluated = run("evaluate", model_name_or_path=folder / "best", test_file=data / "validation.csv",
                    output_dir=tmp_path / "evaluated", token_cache_dir=data / "cache", num_threads=1)
    evaluated = json.loads((tmp_path / "evaluated/eval_results.json").read_text())
    assert evaluated["eval_accuracy"] == results[best]["metric"]
    assert not list(folder.glob("trial_*/**/model.safetensors")), "only the best one's model is kept"

    assert f"\nits model: {folder}/best\n" in printed
    line = shlex.split(re.search(r"^  bertdist (.*)$", printed, re.MULTILINE)[1])
    run(*line)
    again = json.loads((folder / f"trial_{best:03}/run/eval_results.json").read_text())
    assert again["eval_loss"] == results[best]["eval_loss"]
    assert (folder / f"trial_{best:03}/run/model.safetensors").read_bytes() == (
        folder / "best/model.safetensors").read_bytes()


def test_a_better_result_of_another_machine_is_not_the_model_that_is_here(data, tmp_path):
    file = sweep_file(data, tmp_path, GRID + f"parameters.learning_rate.values = {RATES}\n")
    folder = tmp_path / "sweep"
    run_sweep(file, "sweep", "run", "--trials", "0-2")
    here = json.loads((folder / "best/trial.json").read_text())["trial"]
    elsewhere = {"trial": 3, "event": "finished", "metric": 1.5, "parameters": {"learning_rate": 3e-2}, "time": "2026"}
    (folder / "trials-elsewhere-1.jsonl").write_text(json.dumps(elsewhere) + "\n")
    printed = run("sweep", "best", str(folder)).stdout
    assert printed.startswith("trial 3: eval_accuracy 1.5\n")
    assert f"its model is not in this folder: {folder}/best is trial {here}'s\n" in printed and "its model: " not in printed


@pytest.mark.parametrize("save_trials, models", [("all", 3), ("none", 0)])
def test_save_trials(data, tmp_path, save_trials, models):
    file = sweep_file(data, tmp_path, GRID + f'save_trials = "{save_trials}"\n'
                      "parameters.learning_rate.values = [1e-3, 2e-3]\n")
    run_sweep(file)
    assert len(list((tmp_path / "sweep").glob("**/model.safetensors"))) == models


def test_a_folder_holds_one_sweep(data, tmp_path):
    file = sweep_file(data, tmp_path, GRID + "parameters.learning_rate.values = [1e-3]\n")
    run_sweep(file)
    other = sweep_file(data, tmp_path, GRID + "parameters.learning_rate.values = [2e-3]\n")
    done = run_sweep(other, check=False)
    assert done.returncode == 5 and "holds another sweep" in done.stderr
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    done = run_sweep(file, "sweep", "run", "--output_dir", str(tmp_path / "mine"), check=False)
    assert done.returncode == 5 and "is not empty and holds no sweep" in done.stderr
    done = run("sweep", "status", str(tmp_path / "mine"), check=False)
    assert done.returncode == 3 and "no sweep.toml" in done.stderr


def test_two_jobs_at_once_complete_one_table(data, tmp_path):
    file = sweep_file(data, tmp_path, GRID + f"parameters.learning_rate.values = {RATES}\n")
    line = [command("sweep", "run", "--config", str(file), "--trials", trials) for trials in ("0-1", "2-3")]
    jobs = [subprocess.Popen(part, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            for part in line]
    for job in jobs:
        _, errors = job.communicate(timeout=120)
        assert job.returncode == 0, errors
    results = results_of(tmp_path / "sweep")
    assert sorted(results) == [0, 1, 2, 3]
    with open(tmp_path / "sweep/leaderboard.csv", newline="") as leaderboard:
        assert len(list(csv.DictReader(leaderboard))) == 4
    best = json.loads((tmp_path / "sweep/best/trial.json").read_text())["trial"]
    assert best == max(results, key=lambda i: (results[i]["metric"], -i))


def test_asha_stops_trials_that_look_bad(data, tmp_path):
    # One process goes through the trials in order, so the first three fill the rung that the others must pass.
    file = sweep_file(data, tmp_path, '[sweep]\nmethod = "grid"\nparameters.learning_rate.values = [1e-2, 1e-9, 2e-9, 3e-9]\n'
                      '[sweep.early_terminate]\ntype = "asha"\nmax_t = 6\ngrace_period = 2\nreduction_factor = 3\n',
                      num_train_epochs=6)
    run_sweep(file)
    results = results_of(tmp_path / "sweep")
    assert results[0]["event"] == "finished" and results[0]["epoch"] == 6
    assert [results[i]["event"] for i in (1, 2, 3)] == ["stopped"] * 3
    assert all(results[i]["epoch"] == 2 for i in (1, 2, 3))
    assert "1 finished, 3 stopped early" in run("sweep", "status", str(tmp_path / "sweep")).stdout
