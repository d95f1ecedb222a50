"""Which data files a command needs, and what is told of one that is missing or no table."""

import gzip
import os
import subprocess
from pathlib import Path

import pytest
from reference.program import save_bert

DATA = 3


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_bert(tmp_path_factory.mktemp("model"))


@pytest.fixture()
def table(tmp_path) -> Path:
    path = tmp_path / "table.csv"
    path.write_text("text,label\na,0\nb,1\nc,0\nd,1\n")
    return path


def bertdist(command: str, tmp_path: Path, *options: object, **settings) -> subprocess.CompletedProcess:
    line = [os.environ["BERTDIST"], command, "--token_cache_dir", tmp_path / "cache", *options]
    return subprocess.run(list(map(str, line)), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
                          **settings)


def train(tmp_path: Path, *options: object, **settings) -> subprocess.CompletedProcess:
    return bertdist("train", tmp_path, "--output_dir", tmp_path / "out", *options, **settings)


def assert_told(done: subprocess.CompletedProcess, *facts: str) -> None:
    assert done.returncode == DATA, done.stderr
    for fact in facts:
        assert fact in done.stderr, done.stderr


def test_a_header_alone_is_no_table_whether_labels_are_named_or_not(tmp_path, model):
    table = tmp_path / "train.csv"
    table.write_text("text,label\n")
    done = train(tmp_path, "--model_name_or_path", model, "--train_file", table, "--id2label", '["a", "b"]')
    assert_told(done, f"'{table}' has no rows, only a header")


@pytest.mark.parametrize("name", ["train.csv", "train.csv.gz"])
def test_gzip_is_told_from_a_table(tmp_path, model, table, name):
    packed = tmp_path / "packed" / name
    packed.parent.mkdir()
    packed.write_bytes(gzip.compress(table.read_bytes()))
    done = train(tmp_path, "--model_name_or_path", model, "--train_file", packed)
    assert_told(done, f"'{packed}' is compressed with gzip", "gzip -dc")
    done = bertdist("predict", tmp_path, "--model_name_or_path", model, "--test_file", packed)
    assert_told(done, f"'{packed}' is compressed with gzip")


def test_a_missing_file_is_told_with_the_place_looked_at(tmp_path, model):
    options = [tmp_path, "--model_name_or_path", model]
    done = train(*options, "--train_file", "data/none.csv", cwd=tmp_path)
    assert_told(done, f"cannot read 'data/none.csv': No such file or directory (looked at {tmp_path}/data/none.csv)",
                "hint: check the path")
    done = train(*options, "--train_file", tmp_path / "none.csv", cwd=tmp_path)
    assert_told(done, f"cannot read '{tmp_path}/none.csv': No such file or directory\n")
    done = train(*options, "--train_file", "data/phishing-site-classification/train.csv", cwd=tmp_path)
    assert_told(done, f"(looked at {tmp_path}/data/phishing-site-classification/train.csv)",
                "hint: fetch it: launcher/fetch dataset shawhin/phishing-site-classification")


USED = {"train": {"train_file", "validation_file", "test_file"}, "prepare": {"train_file", "validation_file", "test_file"},
        "evaluate": {"validation_file", "test_file"}, "predict": {"test_file"}, "tokenize": set()}


@pytest.mark.parametrize("command", USED)
def test_a_command_needs_only_the_files_that_it_reads(tmp_path, model, table, command):
    options = ["--model_name_or_path", model, "--output_dir", tmp_path / "out"]
    for key in ("train_file", "validation_file", "test_file"):
        files = {name: table for name in USED[command]} | {key: tmp_path / "none.csv"}
        done = bertdist(command, tmp_path, *options, *(part for name, file in files.items() for part in (f"--{name}", file)))
        if key in USED[command]:
            assert_told(done, "none.csv")
        else:
            assert done.returncode == 0, done.stderr


def test_a_sweep_is_planned_without_its_files(tmp_path, model):
    (tmp_path / "sweep.toml").write_text(f'model_name_or_path = "{model}"\ntrain_file = "none.csv"\noutput_dir = "out"\n'
                                         'validation_split = 0.2\n[sweep]\nmethod = "grid"\n'
                                         "[sweep.parameters]\nseed = {values = [1, 2, 3]}\n")
    plan, run = (subprocess.run([os.environ["BERTDIST"], "sweep", action, "--config", "sweep.toml"], cwd=tmp_path,
                                capture_output=True, text=True, timeout=60) for action in ("plan", "run"))
    assert plan.returncode == 0, plan.stderr
    assert_told(run, "none.csv")


def test_evaluate_takes_a_validation_file_beside_a_trainings_split(tmp_path, model, table):
    (tmp_path / "run.toml").write_text(f'train_file = "{tmp_path}/none.csv"\nvalidation_split = 0.5\n')
    done = bertdist("evaluate", tmp_path, "--config", tmp_path / "run.toml", "--model_name_or_path", model,
                    "--validation_file", table)
    assert done.returncode == 0 and "eval_accuracy" in done.stdout, done.stderr


def test_evaluate_names_a_label_that_the_model_does_not_know(tmp_path, model, table):
    table.write_text("text,label\ngood,0\nbad,worse\n")
    done = bertdist("evaluate", tmp_path, "--model_name_or_path", model, "--test_file", table)
    assert_told(done, f"{table}:3", "'worse'", "'LABEL_0', 'LABEL_1'")
