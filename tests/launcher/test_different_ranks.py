"""Ranks on hosts that are not alike: each has a folder of its own here, with other files under the same names."""

import os
import shutil
import subprocess

import pytest
from reference.program import ENVIRONMENT, VOCABULARY, command, make_rows, save_bert, write_csv

COMMUNICATION = 6


@pytest.fixture
def hosts(tmp_path):
    """Two folders with the same model and the same rows."""
    save_bert(tmp_path / "here" / "model")
    write_csv(tmp_path / "here" / "train.csv", make_rows(40))
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    return tmp_path / "here", tmp_path / "there"


def run_on(hosts, name, **options):
    options = {"model_name_or_path": "model", "num_threads": 1, **options}
    if name != "predict":
        options["token_cache_dir"] = hosts[0].parent / "cache"
    if name == "train":
        options["output_dir"] = hosts[0].parent / "out"
    line = [os.environ["MPIRUN"]]
    for host in hosts:
        line += ["-np", "1", "-wdir", str(host), *command(name, **options), ":"]
    return subprocess.run(line[:-1], env=ENVIRONMENT, capture_output=True, text=True, timeout=120)


def assert_refused(done, fact):
    assert done.returncode == COMMUNICATION, done.stderr
    assert fact in done.stderr and "hint: " in done.stderr, done.stderr


def test_copies_are_as_good_as_one_file(hosts):
    for name, key in (("train", "train_file"), ("evaluate", "test_file"), ("predict", "test_file")):
        done = run_on(hosts, name, **{key: "train.csv"})
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("change", [lambda text: text[:-2] + ("1" if text[-2] == "0" else "0") + "\n",
                                    lambda text: "".join(text.splitlines(keepends=True)[:-1]),
                                    lambda text: text.replace("text,label", "label,text")],
                         ids=["one_label", "shorter", "header"])
def test_ranks_that_see_another_text(hosts, change):
    text = (hosts[1] / "train.csv").read_text().replace("\r\n", "\n")
    (hosts[0] / "train.csv").write_text(text)
    (hosts[1] / "train.csv").write_text(change(text))
    assert change(text) != text
    assert_refused(run_on(hosts, "prepare", train_file="train.csv"),
                   "rank 1 and rank 0 differ in the content of 'train.csv'")
    assert not list(hosts[0].parent.rglob("*.h5"))


@pytest.mark.parametrize("options", [{}, {"id2label": ["0", "1"]}], ids=["labels_of_the_file", "labels_given"])
def test_ranks_whose_texts_differ_far_behind_the_beginning(hosts, options):
    lines = [f"{'abc ' * 20}{index},{index % 2}\n" for index in range(20_000)]
    (hosts[0] / "train.csv").write_text("text,label\n" + "".join(lines))
    lines[15_000:] = [line.replace("abc", "abd") for line in lines[15_000:]]
    (hosts[1] / "train.csv").write_text("text,label\n" + "".join(lines))
    assert_refused(run_on(hosts, "prepare", train_file="train.csv", **options),
                   "ranks see different content in 'train.csv', at line 1")
    assert not list(hosts[0].parent.rglob("*.h5"))


def test_ranks_with_another_tokenizer(hosts):
    for host, words in zip(hosts, (VOCABULARY, [*VOCABULARY[:-2], *VOCABULARY[:-3:-1]])):
        for file in (host / "model").glob("*token*"):
            file.unlink()
        (host / "model" / "vocab.txt").write_text("".join(f"{word}\n" for word in words))
    assert_refused(run_on(hosts, "prepare", train_file="train.csv"), "rank 1 and rank 0 differ in the tokenizer")
    assert not list(hosts[0].parent.rglob("*.h5"))


@pytest.mark.parametrize("name", ["train", "evaluate", "predict"])
def test_ranks_with_other_weights(hosts, name):
    shutil.rmtree(hosts[1] / "model")
    save_bert(hosts[1] / "model", seed=1)
    options = {"train": {"train_file": "train.csv"}, "evaluate": {"test_file": "train.csv"},
               "predict": {"test_file": "train.csv", "output_file": hosts[0].parent / "out.jsonl"}}
    done = run_on(hosts, name, **options[name])
    assert_refused(done, "rank 1 and rank 0 differ in the model's weights")
    assert not (hosts[0].parent / "out.jsonl").exists()
