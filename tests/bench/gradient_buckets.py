#!/usr/bin/env python3
"""Full fine-tuning of MiniLM on 2 ranks of 1 thread: gradients in one buffer, in buckets, and in buckets that are summed
while backward goes on. In rounds: one round runs each once, and ratios are taken within a round.

    .venv/bin/python tests/bench/gradient_buckets.py DATA [--rounds N] [--rows N] [--ranks N]

DATA is a folder with phishing/train.csv.
"""

import argparse
import csv
import json
import statistics
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WAYS = {"one buffer": ["--ddp_bucket_cap_mb", "0"], "buckets": ["--overlap_grad_reduce", "false"], "overlapped": []}


def train(folder, way, ranks):
    """Seconds of the steps, and the loss, which is the same to the last bit."""
    command = [ROOT / "tests/mpirun", "-np", ranks, ROOT / "build/cpu/bin/bertdist", "--model_name_or_path",
               ROOT / "models/all-MiniLM-L6-v2", "--train_file", folder / "train.csv", "--label_column", "labels",
               "--global_batch_size", 64, "--num_train_epochs", 1, "--num_threads", 1, "--save_strategy", "no",
               "--learning_rate", "2e-4", "--dtype", "float32", "--output_dir", folder / "out", "--overwrite_output_dir",
               "--token_cache_dir", folder / "cache", *WAYS[way]]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    results = json.loads((folder / "out/train_results.json").read_text())
    return results["train_runtime"], results["train_loss"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=320)
    parser.add_argument("--ranks", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with open(arguments.data / "phishing/train.csv", newline="") as source, open(folder / "train.csv", "w", newline="") as f:
            csv.writer(f).writerows(row for index, row in enumerate(csv.reader(source)) if index <= arguments.rows)
        train(folder, "one buffer", arguments.ranks)  # fills the caches
        rounds = [{way: train(folder, way, arguments.ranks) for way in WAYS} for _ in range(arguments.rounds)]
    assert len({loss for each in rounds for _, loss in each.values()}) == 1, rounds
    for way in WAYS:
        seconds = statistics.median(each[way][0] for each in rounds)
        ratios = sorted(each[way][0] / each["one buffer"][0] for each in rounds)
        print(f"{way:10}  {seconds:6.2f} s  {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) of one buffer")


if __name__ == "__main__":
    main()
