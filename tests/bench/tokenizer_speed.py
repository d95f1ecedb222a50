#!/usr/bin/env python3
"""Tokens a second of bertdist's tokenizer and of PyPI's `tokenizers`, each on one thread, over the same rows, in pairs.
Compares all ids first. Prints JSON; times are user CPU seconds, since another program's load moves them least.

usage: tests/bench/tokenizer_speed.py [--model FOLDER] [--file TABLE] [--column NAME] [--pairs N]
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.update(TOKENIZERS_PARALLELISM="false", RAYON_NUM_THREADS="1")
from tokenizers import Tokenizer  # noqa: E402  (it reads them once)

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared/data"
MAX_SEQ_LENGTH = 512


def read_column(path, column):
    """One line a row: what a row holds between its line ends counts as one line."""
    tab = path.suffix == ".tsv"
    with open(path, encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t" if tab else ",", quoting=csv.QUOTE_NONE if tab else csv.QUOTE_MINIMAL)
        return [" ".join(row[column].splitlines()) for row in rows]


def load_reference(model):
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_SEQ_LENGTH)
    return tokenizer


def their_rate(tokenizer, rows):
    start = time.process_time()
    encodings = tokenizer.encode_batch(rows)
    seconds = time.process_time() - start
    return sum(len(encoding.ids) for encoding in encodings) / seconds


def our_rate(build, model, text):
    report = subprocess.run([build / "tokenizer_benchmark", model, text, "--benchmark_format=json"],
                            check=True, capture_output=True, text=True).stdout
    return json.loads(report)["benchmarks"][0]["tokens_per_second"]


def require_equal_ids(build, model, rows, tokenizer):
    command = [build / "tokenize_lines", model, str(MAX_SEQ_LENGTH), "longest_first"]
    lines = "".join(json.dumps(dict(text=row)) + "\n" for row in rows)
    ours = subprocess.run(command, check=True, capture_output=True, text=True, input=lines).stdout.splitlines()
    if [json.loads(line)["ids"] for line in ours] != [encoding.ids for encoding in tokenizer.encode_batch(rows)]:
        sys.exit("error: the ids differ from those of tokenizers")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=DATA / "vocab/bert-base-uncased")
    parser.add_argument("--file", type=Path, default=DATA / "sst2/train.tsv")
    parser.add_argument("--column", default="sentence")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--build", type=Path, default=ROOT / "build/cpu/bin")
    options = parser.parse_args()

    rows = read_column(options.file, options.column)
    tokenizer = load_reference(options.model)
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "rows.txt"
        text.write_text("".join(row + "\n" for row in rows), encoding="utf-8")
        require_equal_ids(options.build, options.model, rows, tokenizer)
        pairs = [(our_rate(options.build, options.model, text), their_rate(tokenizer, rows)) for _ in range(options.pairs)]
    print(json.dumps(dict(
        file=options.file.name, model=options.model.name, rows=len(rows), threads=1,
        bertdist_tokens_per_second=round(statistics.median(ours for ours, _ in pairs)),
        tokenizers_tokens_per_second=round(statistics.median(theirs for _, theirs in pairs)),
        ratios=[round(ours / theirs, 1) for ours, theirs in pairs],
        ratio=round(statistics.median(ours / theirs for ours, theirs in pairs), 1)), indent=2))


if __name__ == "__main__":
    main()
