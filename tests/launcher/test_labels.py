"""What a training says of its labels before it begins."""

import pytest
from reference.program import save_bert, train, write_csv


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Whose classifier is new."""
    return save_bert(tmp_path_factory.mktemp("model"), with_classifier=False)


def start(model, tmp_path, labels, ranks=0, **options):
    """What a training of one step says; `labels` of its rows."""
    source = write_csv(tmp_path / "train.csv", [(f"text {row}", label) for row, label in enumerate(labels)])
    done = train(model, tmp_path / "out", train_file=source, max_steps=1, save_strategy="no", overwrite_output_dir=True,
                 ranks=ranks, **options)
    return done.stderr.splitlines()


def test_labels_with_their_training_rows(model, tmp_path):
    lines = start(model, tmp_path, ["Safe"] * 1050 + ["Not Safe"], ranks=2, id2label=["Safe", "Not Safe"])
    assert lines.count("labels: 0 Safe 1,050 rows, 1 Not Safe 1 row") == 1
    assert not any("warning" in line for line in lines)


def test_only_the_rows_that_are_trained_on_count(model, tmp_path):
    lines = start(model, tmp_path, ["a", "b"] * 10, validation_split=0.2, eval_strategy="no")
    assert "labels: 0 a 8 rows, 1 b 8 rows" in lines


def test_many_labels_are_cut_short(model, tmp_path):
    (line,) = [line for line in start(model, tmp_path, range(25)) if line.startswith("labels: ")]
    assert line.startswith("labels: 0 LABEL_0 1 row, ") and line.endswith(", 19 LABEL_19 1 row and 5 more")


def test_labels_that_look_alike(model, tmp_path):
    lines = start(model, tmp_path, ["Safe", "Not Safe", "safe "], ranks=2)
    (warning,) = [line for line in lines if "warning: " in line]
    assert "the labels 'Safe' and 'safe ' differ in whitespace or letter case only: are they one label?" in warning


def test_names_that_the_checkpoint_was_not_trained_with(model, tmp_path):
    start(model, tmp_path, ["no", "yes"])
    (tmp_path / "out").rename(tmp_path / "tuned")
    assert not any("warning" in line for line in start(tmp_path / "tuned", tmp_path, ["no", "yes"]))
    lines = start(tmp_path / "tuned", tmp_path, ["no", "yes"], id2label=["yes", "no"])
    (warning,) = [line for line in lines if "warning: " in line]
    assert f"the classifier of '{tmp_path / 'tuned'}' was trained with the labels 0 no, 1 yes; this run" in warning
    assert "labels: 0 yes 1 row, 1 no 1 row" in lines
