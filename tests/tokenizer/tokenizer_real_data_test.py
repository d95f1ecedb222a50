"""Ids against PyPI's tokenizers with real vocabularies, on every text of the real data sets."""

import csv
import math

import pytest
from tokenizer_reference import LONG_TESTS, MINILM, REAL_DATA, assert_same, code_point_rows, random_rows

FOLDERS = [REAL_DATA / "vocab/bert-base-uncased", REAL_DATA / "vocab/bert-base-cased"] + ([MINILM] if MINILM.exists() else [])


def texts(path):
    with open(path, encoding="utf-8", newline="") as file:
        if path.suffix == ".csv":
            yield from (row["text"] for row in csv.DictReader(file))
        else:
            yield from (field for line in file for field in line.rstrip("\n").split("\t"))


def all_texts():
    for path in sorted(p for folder in ("phishing", "sms_spam", "sst2", "trec") for p in (REAL_DATA / folder).iterdir()):
        yield from texts(path)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_all_texts(folder):
    rows = [dict(text=text) for text in all_texts()]
    assert len(rows) > 80_000
    assert_same(folder, rows)
    pairs = [dict(text=a["text"], pair=b["text"]) for a, b in zip(rows[::5], rows[2::5])]
    assert_same(folder, pairs, max_seq_length=40)


@pytest.mark.parametrize("folder", FOLDERS[:2], ids=lambda folder: folder.name)
def test_every_code_point(folder):
    assert_same(folder, code_point_rows(), max_seq_length=100_000)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_random_strings(folder):
    count = math.ceil((1_000_000 if LONG_TESTS else 30_000) / len(FOLDERS))
    assert_same(folder, random_rows(folder.name, count), max_seq_length=64)
