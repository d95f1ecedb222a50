"""debug.overfit_batches = n drives the loss of the first n batches to 0, or says that it cannot."""

import re

import pytest
from debug.test_replay import replay, rows_of
from reference.program import make_rows, save_bert, train, write_csv

OVERFIT = 11


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("overfit")
    save_bert(folder / "model", dropout=0.3)
    write_csv(folder / "train.csv", make_rows(40))
    write_csv(folder / "validation.csv", make_rows(8, seed=1))
    return folder


def overfit(folder, num_batches, check=True, **options):
    options = {"train_file": folder / "train.csv", "global_batch_size": 8, "learning_rate": 2e-3,
               "debug.overfit_batches": num_batches, **options}
    return train(folder / "model", folder / "never-written", check=check, **options)


@pytest.mark.parametrize("num_batches, options", [
    (1, {}),
    (2, {"debug.world_size": 2, "gradient_accumulation_steps": 2}),
    (2, {"freeze": "{first_layers = 1}", "frozen_dropout": True}),
    (1, {"freeze": "base_except_pooler", "learning_rate": 5e-2, "max_steps": 2000}),
    (2, {"label_smoothing_factor": 0.2, "validation_file": "validation.csv", "eval_strategy": "steps", "eval_steps": 1}),
])
def test_it_learns_the_batches_by_heart(folder, num_batches, options):
    if "validation_file" in options:
        options = options | {"validation_file": folder / options["validation_file"]}
    result = overfit(folder, num_batches, **options)
    found = re.search(rf"overfit_batches = {num_batches}: after (\d+) steps the mean loss is (\S+)\n", result.stdout)
    assert float(found[2]) < 0.01 and int(found[1]) % num_batches == 0
    assert not (folder / "never-written").exists()


def test_steps_that_are_too_few_end_with_a_code_of_their_own(folder):
    result = overfit(folder, 2, check=False, max_steps=6)
    assert result.returncode == OVERFIT, result.stderr
    assert re.search(r"overfit_batches = 2: after 6 steps the mean loss is 0\.\d+, not below 0.01", result.stderr)
    assert "hint: " in result.stderr and not (folder / "never-written").exists()


def test_it_is_the_first_batches_of_the_run(folder):
    """Rows of other batches may contradict each other, those of the first two may not."""
    train(folder / "model", folder / "run", train_file=folder / "train.csv", global_batch_size=8, num_train_epochs=1)
    first = {line for step in (1, 2) for _, line, *_ in rows_of(replay(folder / "run", step).stdout, folder / "train.csv")}
    assert len(first) == 16
    rows = make_rows(40)
    same_text = [(text if line in first else "abc", label) for line, (text, label) in enumerate(rows, start=2)]
    result = overfit(folder, 2, train_file=write_csv(folder / "good.csv", same_text))
    assert "the mean loss is" in result.stdout
    other_text = [("abc" if line in first else text, label) for line, (text, label) in enumerate(rows, start=2)]
    result = overfit(folder, 2, train_file=write_csv(folder / "bad.csv", other_text), check=False)
    assert result.returncode == OVERFIT, result.stderr
