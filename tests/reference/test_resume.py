"""A run that was stopped and resumed ends as the one that was not."""

import json
import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from program import ENVIRONMENT, command, losses_of, state_of, train
from resuming import cut_off_after, history_of, make_folder, options_of
from transformers import AutoModelForSequenceClassification

OUTPUT, PREEMPTED = 5, 9
FINAL = ("model.safetensors", "config.json", "tokenizer.json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("resume"))


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
