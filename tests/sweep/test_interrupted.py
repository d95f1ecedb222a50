"""Sweeps whose disk fills up, or whose processes are killed while they write: what was recorded stays, the rest is named
and can be run."""

import json
import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
from reference.program import ENVIRONMENT, command, make_rows, run, save_bert, write_csv

OUTPUT = 5
NUM_TRIALS = 12


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A model, rows and what their sweep gives when nothing happens to it; its caches are found by the others."""
    folder = tmp_path_factory.mktemp("interrupted")
    save_bert(folder / "model", num_hidden_layers=1)
    write_csv(folder / "train.csv", make_rows(48))
    write_csv(folder / "validation.csv", make_rows(24, seed=1))
    run("--config", str(sweep_file(folder, folder)))
    assert sorted(results_of(folder)) == list(range(NUM_TRIALS))
    return folder


def sweep_file(data, folder):
    """The first layer of the model is trained too, so that each trial is trained by itself."""
    file = folder / "sweep.toml"
    file.write_text(f"""
model_name_or_path = "{data}/model"
train_file = "{data}/train.csv"
validation_file = "{data}/validation.csv"
token_cache_dir = "{data}/cache"
output_dir = "{folder}/sweep"
num_threads = 1
global_batch_size = 8
num_train_epochs = 2
[sweep]
method = "random"
run_cap = {NUM_TRIALS}
save_trials = "none"
metric = {{name = "eval_loss", goal = "minimize"}}
parameters.learning_rate = {{distribution = "log_uniform_values", min = 1e-4, max = 1e-2}}
""")
    return file


def results_of(folder):
    """(metric, eval_accuracy) by trial, of the lines that are whole."""
    results = {}
    for file in Path(folder).glob("sweep/trials*.jsonl"):
        for line in file.read_text().splitlines(keepends=True):
            if line.endswith("}\n") and (result := json.loads(line))["event"] == "finished":
                assert result["trial"] not in results, "a trial ran twice"
                results[result["trial"]] = (result["metric"], result["eval_accuracy"])
    return results


def require_completed(data, folder, recorded):
    """`status` names what is missing; the same command again runs just that."""
    status = run("sweep", "status", str(folder / "sweep")).stdout
    assert f"{NUM_TRIALS} trials: {len(recorded)} finished" in status, status
    assert f"{NUM_TRIALS - len(recorded)} missing" in status, status
    run("--config", str(folder / "sweep.toml"))
    completed = results_of(folder)
    assert completed.items() >= recorded.items()
    assert completed == results_of(data)


def test_a_full_disk_loses_nothing_that_was_recorded(data, tmp_path):
    file = sweep_file(data, tmp_path)
    # Files end in the middle of a line; writers are told, and not killed by a signal.
    limit = ["sh", "-c", 'trap "" XFSZ; ulimit -f "$0"; exec "$@"', "11"]
    done = subprocess.run([*limit, *command("--config", str(file))], env=ENVIRONMENT, capture_output=True, text=True,
                          timeout=120)
    assert done.returncode == OUTPUT and "error: cannot write " in done.stderr, done.stderr
    [lines] = (tmp_path / "sweep").glob("trials*.jsonl")
    assert lines.stat().st_size == 11 * 512 and not lines.read_text().endswith("\n"), "the limit cut a line"
    recorded = results_of(tmp_path)
    assert 0 < len(recorded) < NUM_TRIALS
    require_completed(data, tmp_path, recorded)


@pytest.mark.parametrize("seed", range(3))
def test_a_kill_loses_nothing_that_was_recorded(data, tmp_path, seed):
    file = sweep_file(data, tmp_path)
    job = subprocess.Popen(command("--config", str(file), ranks=2), env=ENVIRONMENT, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 60
    while not results_of(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(random.Random(seed).random() / 5)
    os.killpg(job.pid, signal.SIGKILL)
    # mpirun's ranks are in groups of their own; they end when they miss it.
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if str(file).encode() in (process / "cmdline").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)
    job.wait()
    recorded = results_of(tmp_path)
    assert recorded
    require_completed(data, tmp_path, recorded)
