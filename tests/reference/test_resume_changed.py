"""What a resumed run may change, what it is told and refused then, and which checkpoint is the best across the two."""

import json
import shutil

import pytest
from program import losses_of, save_bert, state_of, train
from resuming import cut_off_after, make_folder, options_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("resume"))


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
