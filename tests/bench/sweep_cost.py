#!/usr/bin/env python3
"""What 100 trials of the tutorial's job cost beside one of them, both from cold under mpirun.

    .venv/bin/python tests/bench/sweep_cost.py DATA/phishing [--pairs 3]

Each run has a token cache and an output folder of its own, so that nothing is found ready. Trials differ in learning rate,
weight decay and dropout; batch 8 and ten epochs are the tutorial's.
"""

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path

from process import run

ROOT = Path(__file__).resolve().parents[2]
SWEEP = """
[sweep]
method = "random"
run_cap = {trials}
metric = {{name = "eval_loss", goal = "minimize"}}
[sweep.parameters]
learning_rate = {{distribution = "log_uniform_values", min = 2e-5, max = 2e-3}}
weight_decay = {{values = [0.0, 0.01]}}
classifier_dropout = {{min = 0.0, max = 0.3}}
"""


def seconds(file, ranks):
    program = os.environ.get("BERTDIST", ROOT / "build/cpu/bin/bertdist")
    return run([ROOT / "tests/mpirun", "-np", ranks, program, "--config", file])["seconds"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with train.csv and test_partial.csv")
    parser.add_argument("--model", type=Path, default=ROOT / "models/all-MiniLM-L6-v2")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    ratios = []
    for pair in range(options.pairs):
        times = []
        for sweep in ("", SWEEP.format(trials=options.trials)):
            with tempfile.TemporaryDirectory() as folder:
                keys = {"model_name_or_path": str(options.model), "freeze": "base_except_pooler", "learning_rate": 2e-4,
                        "global_batch_size": 8, "num_train_epochs": 10, "label_column": "labels",
                        "train_file": f"{options.data}/train.csv", "validation_file": f"{options.data}/test_partial.csv",
                        "token_cache_dir": f"{folder}/cache", "output_dir": f"{folder}/out"}
                if sweep:
                    del keys["learning_rate"]
                file = Path(folder) / "run.toml"
                file.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items()) + sweep)
                times.append(seconds(file, options.ranks))
        ratios.append(times[1] / times[0])
        print(f"one trial {times[0]:.1f} s, {options.trials} trials {times[1]:.1f} s: {ratios[-1]:.2f} times", flush=True)
    print(f"median {statistics.median(ratios):.2f} times")


if __name__ == "__main__":
    main()
