#!/usr/bin/env python3
"""Seconds that `bertdist prepare` takes for a large CSV file with 2 ranks, and `datasets.map` with `tokenizers` in 2
processes to Arrow, each as whole processes, in pairs; and the largest memory of any one process. Prints JSON.

usage: tests/bench/prepare_speed.py [--megabytes N] [--pairs N] [--model FOLDER]
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
from pathlib import Path

from process import run

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared/data"

PEER = """
import sys
from datasets import load_dataset
from tokenizers import Tokenizer

source, model, cache = sys.argv[1:]
tokenizer = Tokenizer.from_file(model + "/tokenizer.json")
tokenizer.no_padding()
tokenizer.enable_truncation(512)

def tokenize(rows):
    encodings = tokenizer.encode_batch(rows["text"])
    return dict(input_ids=[encoding.ids for encoding in encodings], token_type_ids=[encoding.type_ids for encoding in encodings])

rows = load_dataset("csv", data_files=source, split="train", cache_dir=cache)
tokens = rows.map(tokenize, batched=True, num_proc=2, remove_columns=["text"])
print(len(tokens), len(tokens[len(tokens) - 1]["input_ids"]))
"""


def write_table(path, megabytes, sst2=DATA / "sst2/train.tsv"):
    """SST-2's sentences, a few a row, in quotes, with a label."""
    rng = random.Random(1)
    with open(sst2, encoding="utf-8") as file:
        sentences = [line.rstrip("\n").split("\t")[1] for line in file][1:]
    with open(path, "w", encoding="utf-8") as file:
        size = file.write("text,label\n")
        while size < megabytes * 1_000_000:
            text = " ".join(rng.choices(sentences, k=rng.randrange(1, 9))).replace('"', '""')
            size += file.write(f'"{text}",{rng.randrange(2)}\n')


def ours(options, source, folder):
    return run([ROOT / "tests/mpirun", "-np", 2, options.build / "bertdist", "prepare", "--model_name_or_path", options.model,
                "--train_file", source, "--token_cache_dir", folder, "--max_seq_length", 512, "--num_threads", 1])


def theirs(options, source, folder):
    return run([sys.executable, "-c", PEER, source, options.model, folder], TOKENIZERS_PARALLELISM="false",
               RAYON_NUM_THREADS="1", HF_DATASETS_OFFLINE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1")


def median(runs, key):
    return round(statistics.median(run[key] for run in runs), 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--pairs", type=int, default=1)
    parser.add_argument("--model", type=Path, default=DATA / "vocab/bert-base-uncased")
    parser.add_argument("--build", type=Path, default=ROOT / "build/cpu/bin")
    options = parser.parse_args()

    pairs = []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "rows.csv"
        write_table(source, options.megabytes)
        for _ in range(options.pairs):
            pair = []
            for measure in (ours, theirs):
                with tempfile.TemporaryDirectory(dir=folder) as caches:
                    pair.append(measure(options, source, caches))
            pairs.append(pair)
    bertdist, datasets = zip(*pairs)
    print(json.dumps(dict(
        megabytes=options.megabytes,
        bertdist={key: median(bertdist, key) for key in bertdist[0]},
        datasets={key: median(datasets, key) for key in datasets[0]},
        ratios=[round(b["seconds"] / a["seconds"], 1) for a, b in pairs],
        ratio=round(statistics.median(b["seconds"] / a["seconds"] for a, b in pairs), 1)), indent=2))


if __name__ == "__main__":
    main()
