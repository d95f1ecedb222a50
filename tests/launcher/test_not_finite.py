"""Trainings that diverge: which step, which rows, and which checkpoint can be gone back to."""

import re
import shutil

import pytest
import torch
from reference.program import run, save_bert, train, write_csv
from safetensors.torch import load_file, save_file

NUMERIC = 7
ROWS = [("good text", 0), ("bad text", 1), ("good words", 0), ("bad words", 1), ("good", 0), ("bad", 1)]
# The first step of this rate leaves weights that overflow.
DIVERGES = {"learning_rate": "1e38", "max_grad_norm": 0, "num_train_epochs": 20, "global_batch_size": 2}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_bert(tmp_path_factory.mktemp("model"), dropout=0.0)


@pytest.fixture
def table(tmp_path):
    return write_csv(tmp_path / "train.csv", ROWS)


def diverge(model, table, **options):
    done = train(model, table.parent / "out", train_file=table, check=False, **DIVERGES, **options)
    assert done.returncode == NUMERIC and "error: " in done.stderr, done.stderr
    (hint,) = {line.partition("hint: ")[2] for line in done.stderr.splitlines() if "hint: " in line}
    assert hint.startswith("lower learning_rate, add warmup_steps or set max_grad_norm")
    return done.stderr, hint


def evaluate(checkpoint, table):
    return run("evaluate", model_name_or_path=checkpoint, test_file=table, token_cache_dir=table.parent / "cache", check=False)


@pytest.mark.parametrize("ranks", [0, 2])
def test_the_step_and_its_rows_are_named(model, table, ranks):
    told, hint = diverge(model, table, ranks=ranks)
    (lines,) = re.findall(r"step 2: loss \S+, gradient norm \S+: not finite; rows at lines((?: [0-9]+)+)$", told, re.MULTILINE)
    assert {int(line) for line in lines.split()} <= set(range(2, 8))
    assert "checkpoint" not in hint, "there is none"


def test_a_checkpoint_of_the_weights_that_failed_is_called_that(model, table):
    told, hint = diverge(model, table, save_strategy="steps", save_steps=1)
    failed = table.parent / "out" / "checkpoint-1"
    assert "step 2: " in told and f"; '{failed}' holds the very weights that failed" in hint and "good" not in hint
    assert evaluate(failed, table).returncode == NUMERIC


def test_the_newest_checkpoint_that_passed_a_step_is_good(model, table):
    # The first step's rate is 0, and so the second one's weights are those of the model.
    told, hint = diverge(model, table, warmup_steps=2, save_strategy="steps", save_steps=1)
    good, failed = (table.parent / "out" / f"checkpoint-{step}" for step in (1, 2))
    assert "step 3: " in told and f"; '{failed}' holds the very weights that failed; '{good}' is still good" in hint
    assert evaluate(good, table).returncode == 0
    assert evaluate(failed, table).returncode == NUMERIC


@pytest.mark.parametrize("ranks", [0, 2])
def test_an_evaluation_names_its_step_and_the_line_of_the_row(model, table, ranks):
    validation = table.parent / "validation.csv"
    validation.write_text('text,label\n"good\ntext",0\nbad,1\n')
    told, hint = diverge(model, table, validation_file=validation, eval_strategy="steps", eval_steps=1,
                         save_strategy="steps", save_steps=1, ranks=ranks)
    assert f"evaluation after step 1: the logits of row 0 ({validation}:2) are not finite" in told
    assert "checkpoint" not in hint, "the evaluation comes before the checkpoint"
    assert not (table.parent / "out" / "eval_results.json").exists()


def test_evaluate_names_the_line_of_the_row(model, table):
    broken = shutil.copytree(model, table.parent / "broken")
    tensors = load_file(broken / "model.safetensors")
    tensors["bert.embeddings.word_embeddings.weight"][5 + ord("w") - ord("a")] = torch.nan  # the word "w"
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    table.write_text('text,label\n"a\nb",0\nw,1\nc,0\n')
    done = evaluate(broken, table)
    assert done.returncode == NUMERIC
    assert f"error: the logits of row 1 ({table}:4) are not finite" in done.stderr and "hint: the model's weights" in done.stderr
