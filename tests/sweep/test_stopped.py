"""Sweeps that a signal stops: the same command goes on, and a trial that was trained by itself with the same bits."""

import json
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from reference.program import ENVIRONMENT, command, make_rows, save_bert, write_csv

PREEMPTED = 9


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    save_bert(folder / "model", num_hidden_layers=1)
    write_csv(folder / "train.csv", make_rows(48))
    # Every fourth label is wrong: who learns for long gets worse, so that the best weights are early ones.
    rows = [(text, label if index % 4 else 1 - label) for index, (text, label) in enumerate(make_rows(24, seed=1))]
    write_csv(folder / "validation.csv", rows)
    return folder


def sweep_file(data, folder, ranks_per_trial=1, **options):
    folder.mkdir()
    options = {"model_name_or_path": f"{data}/model", "train_file": f"{data}/train.csv", "num_threads": 1,
               "validation_file": f"{data}/validation.csv", "token_cache_dir": f"{data}/cache", "global_batch_size": 8,
               "num_train_epochs": 100, "output_dir": f"{folder}/sweep", **options}
    file = folder / "sweep.toml"
    file.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in options.items()) + f"""
[sweep]
method = "grid"
metric = {{name = "eval_loss", goal = "minimize"}}
save_trials = "all"
ranks_per_trial = {ranks_per_trial}
parameters.learning_rate.values = [1e-2, 3e-3]
""")
    return file


def start(file, ranks):
    return subprocess.Popen(command("--config", str(file), ranks=ranks), env=ENVIRONMENT, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def finish(file, ranks):
    job = start(file, ranks)
    output, errors = job.communicate(timeout=300)
    assert job.returncode == 0, output + errors
    return output


def wait_for_step(job, log, step):
    deadline = time.monotonic() + 120
    while not log.exists() or f'"step":{step}' not in log.read_text():
        assert job.poll() is None and time.monotonic() < deadline, job.communicate()
        time.sleep(0.005)


def wait_for_evaluation(job, folder):
    deadline = time.monotonic() + 120
    while not any(file.read_text() for file in folder.glob("trials*.jsonl")):
        assert job.poll() is None and time.monotonic() < deadline, job.communicate()
        time.sleep(0.005)


def outcome_of(folder):
    """What must not depend on when the sweep was stopped: each trial's curve, result and model."""
    lines = [json.loads(line) for file in folder.glob("trials*.jsonl") for line in file.read_text().splitlines()]
    found = {}
    for trial in (0, 1):
        mine = sorted((line for line in lines if line["trial"] == trial), key=lambda line: line["time"])
        [result] = (line for line in mine if line["event"] == "finished")
        curve = [(line["evaluation"], line["metric"]) for line in mine if line["event"] == "evaluation"]
        keys = ("eval_loss", "eval_accuracy", "train_loss", "epoch", "global_step")
        found[trial] = (curve, [result[key] for key in keys],
                        (folder / f"trial_{trial:03}/model/model.safetensors").read_bytes())
    return found


@pytest.mark.parametrize("ranks, ranks_per_trial", [(0, 1), (2, 1), (2, 2)])
def test_a_trial_by_itself_goes_on_from_where_it_was(data, tmp_path, ranks, ranks_per_trial):
    straight = sweep_file(data, tmp_path / "straight", ranks_per_trial)
    finish(straight, ranks)
    expected = outcome_of(tmp_path / "straight/sweep")
    file = sweep_file(data, tmp_path / "stopped", ranks_per_trial)
    folder = tmp_path / "stopped/sweep"
    job = start(file, ranks)
    under_way = [0, 1] if ranks > ranks_per_trial else [0]
    for trial in under_way:
        wait_for_step(job, folder / f"trial_{trial:03}/run_log.jsonl", 204)
    job.send_signal(signal.SIGUSR1)
    _, errors = job.communicate(timeout=120)
    assert job.returncode == PREEMPTED, errors
    assert not list(folder.glob(".queue*"))
    steps = {}
    for trial in under_way:
        [checkpoint] = (folder / f"trial_{trial:03}").glob("checkpoint-*")
        steps[trial] = int(checkpoint.name.removeprefix("checkpoint-"))
        best = min(expected[trial][0], key=lambda evaluation: evaluation[1])[0] * 6
        assert best < steps[trial], "the best weights are of before the stop"

    output = finish(file, ranks)
    told = re.findall(r"^trial (\d) goes on from step (\d+)$", output, re.MULTILINE)
    assert {int(trial): int(step) for trial, step in told} == steps
    assert outcome_of(folder) == expected
    assert not list(folder.glob("trial_*/checkpoint-*"))


def test_heads_that_are_trained_together_begin_again(data, tmp_path):
    options = {"freeze": "base_except_pooler", "num_train_epochs": 2000}
    file = sweep_file(data, tmp_path / "stopped", **options)
    folder = tmp_path / "stopped/sweep"
    job = start(file, 0)
    wait_for_evaluation(job, folder)
    job.send_signal(signal.SIGUSR1)
    _, errors = job.communicate(timeout=60)
    assert job.returncode == PREEMPTED and "2 heads were trained together" in errors, errors
    assert not list(folder.glob(".queue*"))
    finish(file, 0)
    finish(sweep_file(data, tmp_path / "straight", **options), 0)
    found, expected = (outcome_of(tmp_path / name / "sweep") for name in ("stopped", "straight"))
    for trial in (0, 1):
        assert found[trial][1:] == expected[trial][1:]


def test_a_signal_before_the_first_trial_stops_the_sweep_too(data, tmp_path):
    file = sweep_file(data, tmp_path / "stopped", freeze="base_except_pooler", token_cache_dir=f"{tmp_path}/cache")
    job = start(file, 0)
    assert job.stderr.readline().startswith("2 trials, ")
    job.send_signal(signal.SIGUSR1)
    _, errors = job.communicate(timeout=60)
    assert job.returncode == PREEMPTED and "stopped by SIGUSR1 " in errors, errors
    assert not list(Path(tmp_path / "stopped/sweep").glob(".queue*"))
