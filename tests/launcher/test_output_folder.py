"""What a training does with an output_dir that is not empty: what it takes away, what it leaves, and when it refuses."""

import json
import shutil
import subprocess
import time

import pytest
from reference.program import ENVIRONMENT, command, make_rows, save_bert, state_of, train, write_csv

CONFIGURATION, MODEL, OUTPUT = 2, 4, 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("output_folder")
    save_bert(folder / "model")
    write_csv(folder / "rows.csv", make_rows(16))
    options = {"train_file": folder / "rows.csv", "global_batch_size": 8, "save_steps": 2, "num_train_epochs": 2}
    train(folder / "model", folder / "finished", **options)
    return folder, options


def copy_of_finished(folder, tmp_path):
    shutil.copytree(folder / "finished", tmp_path / "out")
    return tmp_path / "out"


def content_of(output_dir):
    return {path.relative_to(output_dir): path.read_bytes() for path in output_dir.rglob("*") if path.is_file()}


@pytest.mark.parametrize("starts_from", [".", "checkpoint-2", "linked", "rows"])
def test_what_the_run_starts_from_is_never_removed(folder, tmp_path, starts_from):
    folder, options = folder
    output_dir = copy_of_finished(folder, tmp_path)
    (tmp_path / "link").symlink_to(output_dir / "checkpoint-4")
    model = tmp_path / "link" if starts_from == "linked" else output_dir / starts_from
    if starts_from == "rows":
        model, options = folder / "model", {**options, "train_file": output_dir / "checkpoint-2" / "rows.csv"}
        shutil.copy(folder / "rows.csv", options["train_file"])
    before = content_of(output_dir)
    result = train(model, output_dir, check=False, overwrite_output_dir=True, **options)
    assert result.returncode == CONFIGURATION, result.stderr
    assert "error: overwrite_output_dir would remove what this run starts from: " in result.stderr
    assert "hint: choose another output_dir" in result.stderr
    assert content_of(output_dir) == before


def test_a_model_in_a_folder_of_its_own_inside_output_dir_stays(folder, tmp_path):
    folder, options = folder
    output_dir = copy_of_finished(folder, tmp_path)
    shutil.copytree(folder / "model", output_dir / "pretrained")
    before = content_of(output_dir / "pretrained")
    train(output_dir / "pretrained", output_dir, overwrite_output_dir=True, **options)
    assert content_of(output_dir / "pretrained") == before


def test_nothing_of_the_run_before_is_mixed_with_the_new_one(folder, tmp_path):
    folder, options = folder
    output_dir = copy_of_finished(folder, tmp_path)
    (output_dir / "my_results.json").write_text("mine")
    (output_dir / "test_results.json").write_text("{}")
    old_style = shutil.copytree(folder / "model", tmp_path / "old_style")
    (old_style / "tokenizer.json").unlink()
    result = train(old_style, output_dir, check=False, overwrite_output_dir=True, **{**options, "max_steps": 1,
                                                                                    "save_strategy": "no"})
    assert result.returncode == 0, result.stderr
    names = {path.name for path in output_dir.iterdir()}
    assert "my_results.json" in names and "model.safetensors" in names
    assert not names & {"tokenizer.json", "test_results.json", "checkpoint-2", "checkpoint-4", ".lock"}


def test_a_run_that_is_cut_short_leaves_no_old_model(folder, tmp_path):
    folder, options = folder
    output_dir = copy_of_finished(folder, tmp_path)
    train(folder / "model", output_dir, check=False, overwrite_output_dir=True, **{
        **options, "learning_rate": 1e38, "max_grad_norm": 0, "num_train_epochs": 20, "save_strategy": "no"})
    assert not {path.name for path in output_dir.iterdir()} & {"model.safetensors", "trainer_state.json", "checkpoint-4"}


def test_a_finished_model_is_not_written_over_by_latest(folder, tmp_path):
    folder, options = folder
    output_dir = copy_of_finished(folder, tmp_path)
    for checkpoint in output_dir.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    before = content_of(output_dir)
    result = train(folder / "model", output_dir, check=False, resume_from_checkpoint="latest", **options)
    assert result.returncode == OUTPUT, result.stderr
    assert "holds a finished model, but no checkpoint" in result.stderr and "--overwrite_output_dir" in result.stderr
    assert content_of(output_dir) == before
    result = train(folder / "model", output_dir, resume_from_checkpoint="latest", overwrite_output_dir=True, **options)
    assert "no checkpoint in" in result.stderr
    assert state_of(output_dir)["global_step"] == 4


def test_going_on_from_another_folder_does_not_mix_two_runs(folder, tmp_path):
    folder, options = folder
    output_dir = copy_of_finished(folder, tmp_path)
    options = {**options, "resume_from_checkpoint": folder / "finished" / "checkpoint-2"}
    result = train(folder / "model", output_dir, check=False, **options)
    assert result.returncode == OUTPUT and "is not empty" in result.stderr
    (output_dir / "test_results.json").write_text("{}")
    train(folder / "model", output_dir, overwrite_output_dir=True, **options)
    assert not (output_dir / "test_results.json").exists()
    assert {path.name for path in output_dir.glob("checkpoint-*")} == {"checkpoint-4"}


def test_a_second_run_at_the_same_time_is_refused(folder, tmp_path):
    folder, options = folder
    output_dir = tmp_path / "out"
    first = subprocess.Popen(
        command("train", model_name_or_path=folder / "model", output_dir=output_dir, num_threads=1,
                token_cache_dir=folder / "cache", **{**options, "num_train_epochs": 1_000_000, "save_strategy": "no"}),
        env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not (output_dir / "run_log.jsonl").exists():
            assert first.poll() is None
            time.sleep(0.01)
        second = train(folder / "model", output_dir, check=False, overwrite_output_dir=True, **options)
        assert second.returncode == OUTPUT, second.stderr
        assert f"error: another run is writing into output_dir '{output_dir}'" in second.stderr
        assert "hint: wait for its end" in second.stderr
        assert first.poll() is None and json.loads((output_dir / "run_log.jsonl").read_text().splitlines()[0])
    finally:
        first.kill()
        first.wait()
    train(folder / "model", output_dir, overwrite_output_dir=True, **options)
    assert not (output_dir / ".lock").exists()


def test_a_model_without_its_tokenizer_is_an_error(folder, tmp_path):
    folder, options = folder
    model = shutil.copytree(folder / "model", tmp_path / "model")
    for name in ("tokenizer.json", "vocab.txt"):
        (model / name).unlink(missing_ok=True)
    result = train(model, tmp_path / "out", check=False, **options)
    assert result.returncode == MODEL and "no tokenizer.json and no vocab.txt" in result.stderr
    assert "hint: model_name_or_path must be a model folder" in result.stderr
    assert not (tmp_path / "out").exists()
