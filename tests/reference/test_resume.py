"""A run that was stopped and resumed ends as the one that was not."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from program import ENVIRONMENT, command, losses_of, make_rows, save_bert, state_of, train, write_csv
from transformers import AutoModelForSequenceClassification

OUTPUT, PREEMPTED = 5, 9
FINAL = ("model.safetensors", "config.json", "tokenizer.json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resume")
    save_bert(folder / "model", dropout=0.1)
    write_csv(folder / "train.csv", make_rows(45))
    write_csv(folder / "validation.csv", make_rows(10, seed=1))
    return folder


def options_of(folder, **options):
    return {"train_file": folder / "train.csv", "validation_file": folder / "validation.csv", "global_batch_size": 8,
            "num_train_epochs": 3, "learning_rate": 1e-3, "warmup_steps": 4, "weight_decay": 0.1,
            "lr_scheduler_type": "cosine", "logging_strategy": "steps", "logging_steps": 1, "eval_strategy": "epoch",
            "save_strategy": "epoch", "load_best_model_at_end": False, **options}


def cut_off_after(straight, stopped, step):
    """What a run that was ended after this checkpoint leaves in its folder."""
    shutil.copytree(straight, stopped)
    for entry in stopped.iterdir():
        if entry.is_file():
            entry.unlink()
        elif entry.name.startswith("checkpoint-") and int(entry.name.removeprefix("checkpoint-")) > step:
            shutil.rmtree(entry)
    assert (stopped / f"checkpoint-{step}" / "optimizer.safetensors").exists()


def history_of(output_dir):
    """Everything but the times."""
    return [{key: value for key, value in entry.items() if "runtime" not in key and "per_second" not in key}
            for entry in state_of(output_dir)["log_history"]]


def require_equal_bits(resumed, straight):
    for name in FINAL:
        assert (resumed / name).read_bytes() == (straight / name).read_bytes(), name
    names = {path.name for path in (straight / "checkpoint-18").glob("*.safetensors")}
    assert len(names) in (2, 3)
    for name in names:
        assert (resumed / "checkpoint-18" / name).read_bytes() == (straight / "checkpoint-18" / name).read_bytes(), name
    assert history_of(resumed) == history_of(straight)


@pytest.fixture(scope="module", params=[(0, "none"), (2, "none"), (2, "base_except_pooler")], ids=str)
def straight(request, folder):
    ranks, freeze = request.param
    output_dir = folder / f"straight-{ranks}-{freeze}"
    train(folder / "model", output_dir, ranks=ranks, **options_of(folder, freeze=freeze))
    assert [int(path.name.split("-")[1]) for path in sorted(output_dir.glob("checkpoint-*"))] == [12, 18, 6]
    return output_dir, ranks, freeze


def test_bit_for_bit_at_the_same_number_of_ranks(folder, straight):
    output_dir, ranks, freeze = straight
    stopped = folder / f"stopped-{ranks}-{freeze}"
    cut_off_after(output_dir, stopped, 12)
    result = train(folder / "model", stopped, ranks=ranks, resume_from_checkpoint="latest",
                   **options_of(folder, freeze=freeze))
    assert f"resuming from '{stopped}/checkpoint-12' at step 12 of 18" in result.stdout + result.stderr
    require_equal_bits(stopped, output_dir)


def test_transformers_loads_a_checkpoint(straight):
    output_dir, _, freeze = straight
    checkpoint = output_dir / "checkpoint-18"
    assert (checkpoint / "model.safetensors.index.json").exists() == (freeze != "none")
    saved = AutoModelForSequenceClassification.from_pretrained(checkpoint).state_dict()
    last = AutoModelForSequenceClassification.from_pretrained(output_dir).state_dict()
    assert saved.keys() == last.keys() and all(torch.equal(saved[name], last[name]) for name in saved)


def test_to_rounding_at_another_number_of_ranks(folder, straight):
    output_dir, ranks, freeze = straight
    stopped = folder / f"elsewhere-{ranks}-{freeze}"
    cut_off_after(output_dir, stopped, 6)
    result = train(folder / "model", stopped, ranks=3, resume_from_checkpoint=stopped / "checkpoint-6",
                   **options_of(folder, freeze=freeze))
    assert "to rounding, not to the bit" in result.stdout + result.stderr
    assert len(losses_of(stopped)) == 18
    assert losses_of(stopped) == pytest.approx(losses_of(output_dir), abs=1e-5, rel=0)


def test_in_the_middle_of_an_epoch(folder):
    options = options_of(folder, save_strategy="steps", save_steps=4, eval_strategy="no", logging_steps=3)
    train(folder / "model", folder / "by-steps", **options)
    cut_off_after(folder / "by-steps", folder / "by-steps-stopped", 8)
    train(folder / "model", folder / "by-steps-stopped", resume_from_checkpoint="latest", **options)
    assert history_of(folder / "by-steps-stopped") == history_of(folder / "by-steps")
    assert ((folder / "by-steps-stopped" / "model.safetensors").read_bytes()
            == (folder / "by-steps" / "model.safetensors").read_bytes())


def test_after_a_kill(folder):
    straight, killed = folder / "not-killed", folder / "killed"
    options = options_of(folder, num_train_epochs=60, save_total_limit=2, save_strategy="epoch")
    train(folder / "model", straight, **options)
    job = subprocess.Popen(
        command("train", model_name_or_path=folder / "model", output_dir=killed, num_threads=1,
                token_cache_dir=folder / "cache", **options), env=ENVIRONMENT, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(killed.glob("checkpoint-*")) and time.monotonic() < deadline:
        time.sleep(0.005)
    job.send_signal(signal.SIGKILL)
    assert job.wait() == -signal.SIGKILL
    assert not (killed / "model.safetensors").exists()
    train(folder / "model", killed, resume_from_checkpoint="latest", **options)
    for name in (*FINAL, "checkpoint-360/optimizer.safetensors"):
        assert (killed / name).read_bytes() == (straight / name).read_bytes(), name
    assert history_of(killed) == history_of(straight)
    assert not [path for path in killed.iterdir() if path.name.endswith(".tmp")]


@pytest.fixture(scope="module", params=[0, 2])
def long_run(request, folder):
    ranks, output_dir = request.param, folder / f"long-{request.param}"
    options = options_of(folder, num_train_epochs=60, save_strategy="steps", save_steps=500, logging_steps=1,
                         eval_strategy="steps", eval_steps=50)
    train(folder / "model", output_dir, ranks=ranks, **options)
    return ranks, output_dir, options


def children_of(process):
    """mpirun's ranks, in their order."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            front, back = path.read_text().rsplit(")", 1)
            if int(back.split()[1]) == process:
                found.append(int(front.split()[0]))
    return sorted(found)


def signal_after(step, number, folder, output_dir, ranks, options):
    """Sends SIGUSR1 to the program, or to mpirun, and SIGTERM to a single rank, once so many steps have been logged."""
    job = subprocess.Popen(
        command("train", ranks=ranks, model_name_or_path=folder / "model", output_dir=output_dir, num_threads=1,
                token_cache_dir=folder / "cache", **options),
        env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    log = output_dir / "run_log.jsonl"
    while job.poll() is None and (not log.exists() or log.read_text().count('"loss"') < step):
        time.sleep(0.002)
    to = children_of(job.pid)[-1] if ranks and number == signal.SIGTERM else job.pid
    os.kill(to, number)
    _, stderr = job.communicate(timeout=60)
    return job.returncode, stderr


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM], ids=lambda number: number.name)
def test_after_a_signal_in_any_step(folder, long_run, number):
    ranks, straight, options = long_run
    stopped = folder / f"signalled-{ranks}-{number.name}"
    returncode, stderr = signal_after(random.randrange(20, 250), number, folder, stopped, ranks, options)
    (checkpoint,) = stopped.glob("checkpoint-*")
    step = int(checkpoint.name.removeprefix("checkpoint-"))
    assert 0 < step < 360 and not (stopped / "model.safetensors").exists()
    by = "a signal to another rank" if ranks and number == signal.SIGTERM else number.name
    assert f"[rank 0] error: stopped by {by} after step {step} of 360" in stderr and str(checkpoint) in stderr
    assert "hint: the same command with --resume_from_checkpoint latest" in stderr
    assert returncode == PREEMPTED
    assert json.loads((stopped / "run_log.jsonl").read_text().splitlines()[-1])["stopped_by"] == by
    result = train(folder / "model", stopped, ranks=ranks, resume_from_checkpoint="latest", **options)
    assert f"at step {step} of 360" in result.stderr
    for name in FINAL:
        assert (stopped / name).read_bytes() == (straight / name).read_bytes(), name
    assert history_of(stopped) == history_of(straight)


def test_the_best_checkpoint_is_still_known(folder):
    options = options_of(folder, load_best_model_at_end=True, learning_rate=3e-2, warmup_steps=0)
    train(folder / "model", folder / "best", **options)
    cut_off_after(folder / "best", folder / "best-stopped", 12)
    train(folder / "model", folder / "best-stopped", resume_from_checkpoint="latest", **options)
    expected, actual = state_of(folder / "best"), state_of(folder / "best-stopped")
    assert actual["best_global_step"] == expected["best_global_step"]
    assert actual["best_metric"] == expected["best_metric"]
    assert ((folder / "best-stopped" / "model.safetensors").read_bytes()
            == (folder / "best" / f"checkpoint-{expected['best_global_step']}" / "model.safetensors").read_bytes())


@pytest.mark.parametrize("load_best_model_at_end", [True, False])
def test_only_what_is_saved_can_be_the_best(folder, load_best_model_at_end):
    output_dir = folder / f"saved-is-best-{load_best_model_at_end}"
    result = train(folder / "model", output_dir, **options_of(
        folder, num_train_epochs=2, learning_rate=2e-2, warmup_steps=0, eval_strategy="steps", eval_steps=1,
        save_strategy="steps", save_steps=6, load_best_model_at_end=load_best_model_at_end))
    losses = {entry["step"]: entry["eval_loss"] for entry in state_of(output_dir)["log_history"] if "eval_loss" in entry}
    saved = {int(path.name.removeprefix("checkpoint-")) for path in output_dir.glob("checkpoint-*")}
    assert set(losses) == set(range(1, 13)) and saved == {6, 12}
    best = min(saved, key=losses.get)
    assert losses[best] > min(losses.values()), "an evaluation without a checkpoint must be better"
    state = state_of(output_dir)
    assert (state["best_global_step"], state["best_metric"]) == (best, losses[best])
    assert f"best checkpoint: {output_dir}/checkpoint-{best} (loss {losses[best]:.4f})" in result.stdout


def test_without_a_checkpoint_it_starts_and_says_so(folder):
    options = options_of(folder, num_train_epochs=1)
    result = train(folder / "model", folder / "fresh", resume_from_checkpoint="latest", **options)
    assert "no checkpoint in" in result.stdout + result.stderr
    assert len(losses_of(folder / "fresh")) == 6


def test_going_on_from_an_older_checkpoint_takes_the_newer_ones_away(folder, straight):
    output_dir, ranks, freeze = straight
    stopped = folder / f"older-{ranks}-{freeze}"
    cut_off_after(output_dir, stopped, 18)
    result = train(folder / "model", stopped, ranks=ranks, resume_from_checkpoint=f"{stopped}/checkpoint-6/",
                   **options_of(folder, freeze=freeze, num_train_epochs=2, save_total_limit=1))
    for step in (12, 18):
        assert f"'{stopped}/checkpoint-{step}' is removed: the run goes on from step 6, before it" in result.stderr
    assert {path.name for path in stopped.glob("checkpoint-*")} >= {"checkpoint-12"}
    assert not (stopped / "checkpoint-18").exists()
    state = state_of(stopped / "checkpoint-12")
    assert state["global_step"] == 12 and len(losses_of(stopped / "checkpoint-12")) == 12
    result = train(folder / "model", stopped, ranks=ranks, resume_from_checkpoint="latest",
                   **options_of(folder, freeze=freeze))
    assert "at step 12 of 18" in result.stderr and "is removed" not in result.stderr


def test_changed_options_are_told(folder):
    output_dir = folder / "changed"
    train(folder / "model", output_dir, **options_of(folder, num_train_epochs=1))
    result = train(folder / "model", output_dir, resume_from_checkpoint="latest",
                   **options_of(folder, num_train_epochs=2, learning_rate=2e-3))
    changes = [line for line in result.stderr.splitlines() if line.startswith("changed since the checkpoint: ")]
    assert [line.split(": ", 1)[1] for line in changes] == [
        "learning_rate: 0.001, now 0.002", "num_train_epochs: 1.0, now 2.0"]


def test_a_run_on_other_frozen_weights_is_refused(folder):
    output_dir = folder / "trunk"
    options = options_of(folder, num_train_epochs=1, freeze="base_except_pooler")
    train(folder / "model", output_dir, **options)
    save_bert(folder / "other_model", seed=1)
    result = train(folder / "other_model", output_dir, check=False, resume_from_checkpoint="latest",
                   **{**options, "num_train_epochs": 2})
    assert result.returncode == 2 and "other frozen weights" in result.stderr


def test_the_best_checkpoint_of_a_run_that_was_moved(folder):
    options = options_of(folder, load_best_model_at_end=True, learning_rate=3e-2, warmup_steps=0, save_total_limit=1)
    straight, before, moved = folder / "unmoved", folder / "before", folder / "after"
    train(folder / "model", straight, **options)
    train(folder / "model", before, **{**options, "max_steps": 12})
    before.rename(moved)
    train(folder / "model", f"{moved.parent}/./{moved.name}/", resume_from_checkpoint="latest", **{**options, "max_steps": 18})
    best = state_of(moved)["best_model_checkpoint"]
    assert best.startswith(str(moved.parent)) and "before" not in best
    kept = {path.name for path in moved.glob("checkpoint-*")}
    assert best.rstrip("/").rsplit("/", 1)[1] in kept


def test_leftovers_of_a_killed_writer_go_when_the_run_goes_on(folder):
    output_dir = folder / "leftovers"
    train(folder / "model", output_dir, **options_of(folder, num_train_epochs=1))
    (output_dir / ".checkpoint-7.1.tmp").mkdir()
    train(folder / "model", output_dir, resume_from_checkpoint="latest", **options_of(folder, num_train_epochs=2))
    assert not list(output_dir.glob(".checkpoint-*"))


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "run_identity.json"])
def test_a_damaged_newest_checkpoint_is_passed_over(folder, straight, name):
    output_dir, ranks, freeze = straight
    stopped = folder / f"damaged-newest-{ranks}-{freeze}-{name}"
    cut_off_after(output_dir, stopped, 12)
    damaged = stopped / "checkpoint-12" / name
    if name == "model.safetensors" and not damaged.exists():
        damaged = stopped / "checkpoint-12" / "model-00002-of-00002.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    result = train(folder / "model", stopped, ranks=ranks, resume_from_checkpoint="latest",
                   **options_of(folder, freeze=freeze))
    assert f"'{stopped}/checkpoint-12' is passed over: " in result.stderr and str(damaged) in result.stderr
    assert f"resuming from '{stopped}/checkpoint-6' at step 6 of 18" in result.stderr
    require_equal_bits(stopped, output_dir)


def test_a_full_disk_costs_nothing_that_was_saved(folder):
    straight, stopped = folder / "not-full", folder / "full"
    train(folder / "model", straight, **options_of(folder))
    cut_off_after(straight, stopped, 6)
    size = (stopped / "checkpoint-6" / "model.safetensors").stat().st_size
    # No file can grow beyond half of a model; writers are told, and not killed by a signal.
    limit = ["sh", "-c", 'trap "" XFSZ; ulimit -f "$0"; exec "$@"', str(size // 2 // 512)]
    result = train(folder / "model", stopped, launcher=limit, check=False, resume_from_checkpoint="latest",
                   **options_of(folder))
    assert result.returncode == OUTPUT and "error: cannot write " in result.stderr, result.stderr
    assert [path.name for path in stopped.glob("*checkpoint-*")] == ["checkpoint-6"]
    train(folder / "model", stopped, resume_from_checkpoint="latest", **options_of(folder))
    require_equal_bits(stopped, straight)


@pytest.mark.parametrize("content, code", [('"log_history": 3', 3), ('"global_step": -5', 3)], ids=str)
def test_a_damaged_state_is_no_defect(folder, content, code):
    output_dir = folder / f"damaged-{len(content)}"
    train(folder / "model", output_dir, **options_of(folder, num_train_epochs=1))
    path = output_dir / "checkpoint-6" / "trainer_state.json"
    key, value = content.replace('"', "").split(": ")
    path.write_text(json.dumps({**json.loads(path.read_text()), key: int(value)}))
    result = train(folder / "model", output_dir, check=False, resume_from_checkpoint="latest", **options_of(folder))
    assert result.returncode == code and "trainer_state.json" in result.stderr


@pytest.fixture(scope="module")
def two_epochs(folder):
    train(folder / "model", folder / "two-epochs", **options_of(folder, num_train_epochs=2, load_best_model_at_end=True))
    return folder / "two-epochs"


def best_after(step, output_dir, key, best):
    entries = [entry for entry in state_of(output_dir)["log_history"] if key in entry and entry["step"] > step]
    return best(entry[key] for entry in entries)


@pytest.mark.parametrize("change, key, best", [
    ({"metric_for_best_model": "accuracy"}, "eval_accuracy", max), ({"greater_is_better": True}, "eval_loss", max),
    ({"label_smoothing_factor": 0.1}, "eval_loss", min), ({"max_eval_samples": 7}, "eval_loss", min)], ids=str)
def test_the_best_of_another_measure_does_not_count(folder, two_epochs, tmp_path, change, key, best):
    output_dir = shutil.copytree(two_epochs, tmp_path / "out")
    options = options_of(folder, num_train_epochs=4, load_best_model_at_end=True, **change)
    before = state_of(output_dir)["best_metric"]
    result = train(folder / "model", output_dir, resume_from_checkpoint="latest", **options)
    rows = "other" if "max_eval_samples" in change else "the same"
    assert f"the best so far, the least loss on {rows} validation rows, does not count any more" in result.stderr
    state = state_of(output_dir)
    assert state["best_metric"] == best_after(12, output_dir, key, best) != before
    assert state["best_global_step"] > 12 and state["best_model_checkpoint"].startswith(str(output_dir))


def test_patience_starts_anew_with_other_validation_rows(folder, tmp_path):
    options = options_of(folder, num_train_epochs=6, learning_rate=0, load_best_model_at_end=True,
                         early_stopping_patience=3)
    train(folder / "model", tmp_path / "out", **options)
    assert state_of(tmp_path / "out")["global_step"] == 24
    result = train(folder / "model", tmp_path / "out", resume_from_checkpoint="latest", **options)
    assert "early_stopping_patience is used up: nothing is left to train" in result.stderr
    assert state_of(tmp_path / "out")["global_step"] == 24
    train(folder / "model", tmp_path / "out", resume_from_checkpoint="latest", **{**options, "max_eval_samples": 7})
    state = state_of(tmp_path / "out")
    assert (state["global_step"], state["best_global_step"]) == (36, 30)


@pytest.mark.parametrize("epochs", [2, 1])
def test_with_all_steps_done_only_the_end_is_left(folder, two_epochs, tmp_path, epochs):
    output_dir = shutil.copytree(two_epochs, tmp_path / "out")
    for name in ("model.safetensors", "eval_results.json"):
        (output_dir / name).unlink()
    result = train(folder / "model", output_dir, resume_from_checkpoint="latest", test_file=folder / "validation.csv",
                   **options_of(folder, num_train_epochs=epochs, load_best_model_at_end=True))
    assert f"at step 12 of {6 * epochs}" in result.stderr
    assert "all steps are done: nothing is left to train" in result.stderr
    state, before = state_of(output_dir), state_of(two_epochs)
    assert state["global_step"] == 12 and losses_of(output_dir) == losses_of(two_epochs)
    assert (output_dir / "model.safetensors").read_bytes() == (two_epochs / "model.safetensors").read_bytes()
    results = {name: json.loads((output_dir / f"{name}_results.json").read_text()) for name in ("eval", "test")}
    assert results["eval"]["eval_loss"] == results["test"]["test_loss"] == before["best_metric"]


def test_differences_are_told_before_anything_is_tokenised(folder, two_epochs, tmp_path):
    result = train(folder / "model", two_epochs, ranks=2, check=False, resume_from_checkpoint="latest",
                   text_column="nowhere", **options_of(folder, num_train_epochs=4))
    assert result.returncode == 3 and "nowhere" in result.stderr
    assert "changed since the checkpoint: num_train_epochs: 2.0, now 4.0" in result.stderr
    assert ("written by 1 rank of 1 thread, this run has 2 ranks of 1 thread: it will agree with the uninterrupted run "
            "to rounding, not to the bit") in result.stderr


def test_another_type_of_the_frozen_layers_is_told(folder, tmp_path):
    options = options_of(folder, freeze="base_except_pooler")
    train(folder / "model", tmp_path / "out", **{**options, "num_train_epochs": 1}, dtype="float32")
    result = train(folder / "model", tmp_path / "out", resume_from_checkpoint="latest", **options, dtype="bfloat16")
    assert ("with frozen layers in float32, this run has 1 rank of 1 thread with frozen layers in bfloat16: it will agree "
            "with the uninterrupted run to rounding, not to the bit") in result.stderr


def test_another_seed_is_found_before_anything_is_tokenised(folder, two_epochs, tmp_path):
    result = train(folder / "model", two_epochs, check=False, resume_from_checkpoint=two_epochs / "checkpoint-6",
                   token_cache_dir=tmp_path / "cache", **options_of(folder, seed=1))
    assert result.returncode == 2 and "the checkpoint's seed is 42, this run's 1" in result.stderr
    assert not (tmp_path / "cache").exists() and "trainable parameters" not in result.stdout


@pytest.mark.parametrize("change, message", [
    ({"seed": 1}, "seed"), ({"global_batch_size": 4}, "global batch is 8 rows, this run's 4"),
    ({"max_train_samples": 40}, "other rows"), ({"freeze": "embeddings"}, "choice of frozen parameters")], ids=str)
def test_a_run_that_cannot_go_on_is_refused(folder, change, message):
    base = folder / "refused"
    if not base.exists():
        train(folder / "model", base, **options_of(folder, num_train_epochs=1))
    before = (base / "config.toml").read_text()
    result = train(folder / "model", base, check=False, resume_from_checkpoint="latest",
                   **{**options_of(folder), **change})
    assert (base / "config.toml").read_text() == before
    assert result.returncode == 2, result.stderr
    assert message in result.stderr and "hint:" in result.stderr
