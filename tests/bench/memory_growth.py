#!/usr/bin/env python3
"""The largest memory of any process while MiniLM is prepared for and trained on the sample's rows, ten and a hundred times
as many (each text with a number of its own, so that no two are equal). Each command runs once to fill the caches and
once to be measured. Prints a table for docs/performance.md.

    .venv/bin/python tests/bench/memory_growth.py
"""

import argparse
import csv
import tempfile
from pathlib import Path

from process import run

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = {
    "prepare": ("prepare",),
    "pooler and classifier, one epoch": ("train", "--freeze", "base_except_pooler", "--num_train_epochs", 1),
    "full fine-tuning, 20 steps": ("train", "--freeze", "none", "--max_steps", 20),
}


def write_rows(path, times):
    with open(ROOT / "data/sample/train.csv", encoding="utf-8", newline="") as source:
        rows = list(csv.DictReader(source))
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows([f"{row['text']} {time}", row["label"]] for time in range(times) for row in rows)
    return len(rows) * times


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--model", type=Path, default=ROOT / "models/all-MiniLM-L6-v2")
    parser.add_argument("--program", type=Path, default=ROOT / "build/cpu/bin/bertdist")
    options = parser.parse_args()
    peaks = {name: [] for name in COMMANDS}
    counts = []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for times in options.times:
            counts.append(write_rows(folder / "rows.csv", times))
            for name, (command, *more) in COMMANDS.items():
                cache = folder / f"cache_{times}"
                line = [options.program, command, "--model_name_or_path", options.model, "--train_file", folder / "rows.csv",
                        *more]
                if command == "train":
                    line += ["--output_dir", folder / "out", "--overwrite_output_dir", "true", "--save_strategy", "no"]
                    run([*line, "--token_cache_dir", cache])
                else:
                    cache = folder / f"cache_of_prepare_{times}"  # what is measured is its making
                peaks[name].append(run([*line, "--token_cache_dir", cache])["mib"])
                print(f"{counts[-1]:,} rows, {name}: {peaks[name][-1]:.0f} MiB", flush=True)
    print("\n| peak memory, MiB | " + " | ".join(f"{count:,} rows" for count in counts) + " |")
    print("| --- |" + " ---: |" * len(counts))
    for name, found in peaks.items():
        print(f"| {name} | " + " | ".join(f"{mib:.0f}" for mib in found) + " |")


if __name__ == "__main__":
    main()
