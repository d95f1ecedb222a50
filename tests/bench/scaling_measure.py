#!/usr/bin/env python3
"""Measures on this machine what tests/bench/scaling_model.py predicts: steps of 1, 2, 4 and 8 ranks of one thread, with
the same rows in each step, the all-reduce of 2, 4 and 8 ranks, and a head's update. Medians of rounds; a round measures
each once.

    .venv/bin/python tests/bench/scaling_measure.py --json docs/scaling.json [--rounds 3] && \\
        tests/bench/scaling_model.py docs/scaling.json --write
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
from pathlib import Path

from process import processor, run

ROOT = Path(__file__).resolve().parents[2]
RANKS = (1, 2, 4, 8)
ROWS = 64
# name: (title, freeze, steps of the shorter and of the longer run)
JOBS = {"full": ("full fine-tuning", "none", (2, 12)),
        "frozen": ("pooler and classifier", "base_except_pooler", (200, 2200))}


def steps(options, folder, freeze, max_steps, rows, ranks):
    """Seconds of training, tokens and trained elements of a run."""
    output = folder / "out"
    run([ROOT / "tests/mpirun", "-np", ranks, options.build / "bertdist", "--model_name_or_path", options.model,
         "--train_file", ROOT / "data/sample/train.csv", "--freeze", freeze, "--dtype", "float32", "--global_batch_size", rows,
         "--max_steps", max_steps, "--save_strategy", "no", "--eval_strategy", "no", "--num_threads", 1,
         "--overlap_grad_reduce", "false",
         "--output_dir", output, "--overwrite_output_dir", "true", "--token_cache_dir", folder / "cache"])
    return {"seconds": json.loads((output / "train_results.json").read_text())["train_runtime"],
            "tokens": json.loads((output / "trainer_state.json").read_text())["num_input_tokens_seen"]}


def one_step(options, folder, job, rows, ranks):
    """By the difference of two runs, so that what comes before the first step does not count."""
    _, freeze, (short, long) = JOBS[job]
    runs = [steps(options, folder, freeze, max_steps, rows, ranks) for max_steps in (short, long)]
    return {key: (runs[1][key] - runs[0][key]) / (long - short) for key in ("seconds", "tokens")}


def all_reduce(options, ranks):
    line = [ROOT / "tests/mpirun", "-np", ranks, options.build / "all_reduce_bench"]
    return json.loads(subprocess.run([str(part) for part in line], check=True, capture_output=True, text=True).stdout)


def separate_update(options):
    """Seconds that AdamW takes of a head's flat buffer, on one thread."""
    line = [options.build / "kernels_benchmark", "--benchmark_filter=adamw_of_a_flat_buffer/148610$", "--benchmark_format=json"]
    done = subprocess.run([str(part) for part in line], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)["benchmarks"][0]["cpu_time"] * 1e-3


def median_step(found):
    return {key: statistics.median(step[key] for step in found) for key in ("seconds", "tokens")}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", type=Path, default=ROOT / "models/all-MiniLM-L6-v2")
    parser.add_argument("--build", type=Path, default=ROOT / "build/cpu/bin")
    options = parser.parse_args()

    sums = {ranks: [] for ranks in RANKS if ranks > 1}
    updates = []
    found = {(job, rows, ranks): [] for job in JOBS for rows, ranks in ((8, 1), *((ROWS, n) for n in RANKS))}
    with tempfile.TemporaryDirectory() as folder:
        for _, freeze, _ in JOBS.values():
            steps(options, Path(folder), freeze, 1, ROWS, 1)  # fills the caches
        for _ in range(options.rounds):
            updates.append(separate_update(options))
            for ranks, tables in sums.items():
                tables.append(all_reduce(options, ranks))
            for (job, rows, ranks), measured in found.items():
                measured.append(one_step(options, Path(folder), job, rows, ranks))
                print(job, rows, "rows,", ranks, "ranks:", measured[-1], flush=True)

    def medians(tables):
        return [[rows[0][0], statistics.median(seconds for _, seconds in rows)] for rows in zip(*tables)]

    config = json.loads((options.model / "config.json").read_text())
    from scaling_model import Bert
    model = Bert(config["hidden_size"], config["num_hidden_layers"], config["intermediate_size"], config["vocab_size"],
                 config["max_position_embeddings"])
    elements = {"full": model.num_elements(), "frozen": model.head_elements()}
    separate = {"full": 0, "frozen": statistics.median(updates)}
    options.json.write_text(json.dumps({
        "processor": processor(), "cores": len(os.sched_getaffinity(0)), "model": options.model.name, "rows": ROWS,
        "all_reduce": {str(ranks): medians(tables) for ranks, tables in sums.items()},
        "jobs": {job: {"title": title, "reduced_bytes": 4 * (elements[job] + 2), "separate_update": separate[job],
                       "one_rank_small_batch": median_step(found[job, 8, 1]),
                       "ranks": {str(ranks): median_step(found[job, ROWS, ranks]) for ranks in RANKS}}
                 for job, (title, _, _) in JOBS.items()}}, indent=1) + "\n")


if __name__ == "__main__":
    main()
