#!/usr/bin/env python3
"""How the cost of training grows with rows, tokens a row, layers and ranks: measures the frozen layers' pass over all rows
and a step of full fine-tuning, for random models of MiniLM's width, writes JSON, and draws it.

    .venv/bin/python tests/bench/cost_growth.py --json docs/cost_growth.json --svg docs/cost_growth.svg [--rounds 3]

Each figure is of the training's own clock, without start-up: a step's by the difference of a longer run and a shorter one.
Beside the drawing it prints the table that docs/performance.md shows. --draw draws a JSON file that is there.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from process import processor, run

ROOT = Path(__file__).resolve().parents[2]
MINILM = ROOT / "models/all-MiniLM-L6-v2"
BASE = {"rows": 400, "tokens": 32, "layers": 6, "ranks": 1}
PANELS = {"rows": (200, 400, 800, 1600, 3200), "tokens": (16, 32, 64, 128, 256, 512), "layers": (2, 4, 6, 8, 12),
          "ranks": (1, 2, 4)}
LABELS = {"rows": "rows", "tokens": "tokens a row", "layers": "layers", "ranks": "ranks of one thread"}
SERIES = {"pass": ("frozen layers, all rows, s", "#577590"), "step": ("full fine-tuning, a step of 8 rows, s", "#f94144")}
BATCH, SHORT, LONG = 8, 1, 9

MAKE_MODEL = """
import shutil, sys
from pathlib import Path
from transformers import BertConfig, BertForSequenceClassification
source, folder, layers = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
BertForSequenceClassification(BertConfig(hidden_size=384, num_attention_heads=12, intermediate_size=1536,
                                         num_hidden_layers=layers, num_labels=2)).save_pretrained(folder)
for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
    shutil.copy(source / name, folder)
"""


class Workspace:
    def __init__(self, folder, build):
        self.folder, self.build = folder, build

    def model(self, layers):
        folder = self.folder / f"{layers}_layers"
        if not folder.exists():
            subprocess.run([sys.executable, "-c", MAKE_MODEL, MINILM, folder, str(layers)], check=True, capture_output=True)
        return folder

    def table(self, rows):
        """Rows that differ, all longer than max_seq_length cuts them to."""
        path = self.folder / f"{rows}.csv"
        if not path.exists():
            words = "one two three four five six seven eight nine ten".split()
            path.write_text("text,label\n" + "".join(
                " ".join(words[int(digit)] for digit in f"{row:04}") + " word" * 600 + f",{row % 2}\n" for row in range(rows)))
        return path

    def train(self, case, *options):
        """Seconds of training. Threads are as many as the cores, but for a case of several ranks."""
        output = self.folder / "out"
        launcher = [ROOT / "tests/mpirun", "-np", case["ranks"]] if "ranks" in case else []
        threads = 1 if launcher else len(os.sched_getaffinity(0))
        case = {**BASE, **case}
        with tempfile.TemporaryDirectory(dir=self.folder) as cache:
            run([*launcher, self.build / "bertdist", "--model_name_or_path", self.model(case["layers"]), "--train_file",
                 self.table(case["rows"]), "--max_seq_length", case["tokens"], "--global_batch_size", BATCH, "--dtype",
                 "float32", "--num_threads", threads, "--save_strategy", "no", "--eval_strategy", "no", "--output_dir", output,
                 "--overwrite_output_dir", "true", "--token_cache_dir", cache, *options])
        return json.loads((output / "train_results.json").read_text())["train_runtime"]

    def frozen_pass(self, case):
        return self.train(case, "--freeze", "base_except_pooler", "--max_steps", 1)

    def step(self, case):
        short, long = (self.train(case, "--freeze", "none", "--max_steps", steps) for steps in (SHORT, LONG))
        return (long - short) / (LONG - SHORT)


def measure(space, rounds):
    cases = [(name, value) for name, values in PANELS.items() for value in values]
    found = {case: {"pass": [], "step": []} for case in cases}
    for _ in range(rounds):
        for name, value in cases:
            case = {name: value}
            found[name, value]["pass"].append(space.frozen_pass(case))
            if name != "rows":  # a step has as many whatever there are
                found[name, value]["step"].append(space.step(case))
            print(name, value, {key: seconds[-1] for key, seconds in found[name, value].items() if seconds}, flush=True)
    return {name: [{"value": value, **{key: statistics.median(seconds)
                                       for key, seconds in found[name, value].items() if seconds}} for value in values]
            for name, values in PANELS.items()}


def table(panels):
    lines = ["| | " + " | ".join(title for title, _ in SERIES.values()) + " |", "| --- |" + " ---: |" * len(SERIES)]
    for name, points in panels.items():
        for point in points:
            cells = [f"{point[key]:.3f}" if key in point else "" for key in SERIES]
            lines.append(f"| {LABELS[name]}: {point['value']:,} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw_panel(name, points, x0, width, height):
    """Both axes are logarithmic: what grows in proportion is a straight line, and so steep in each panel that has as many
    doublings."""
    left, top, bottom = x0 + 44, 30, height - 58
    low, high = 1e-2, 1e2
    first, last = points[0]["value"], points[-1]["value"]

    def x(value):
        return left + (width - 64) * math.log(value / first) / math.log(last / first)

    def y(seconds):
        return bottom - (bottom - top) * math.log(seconds / low) / math.log(high / low)

    lines = []
    for exponent in range(-2, 3):
        at = y(10.0**exponent)
        lines.append(f'<line x1="{left}" x2="{left + width - 64}" y1="{at:.1f}" y2="{at:.1f}" stroke="#ddd"/>'
                     f'<text x="{left - 6}" y="{at + 4:.1f}" text-anchor="end">{10.0**exponent:g}</text>')
    for point in points:
        lines.append(f'<text x="{x(point["value"]):.1f}" y="{bottom + 16}" text-anchor="middle">{point["value"]}</text>')
    lines.append(f'<text x="{left + (width - 64) / 2}" y="{bottom + 34}" text-anchor="middle">{LABELS[name]}</text>')
    for key, (title, colour) in SERIES.items():
        marks = [(x(point["value"]), y(point[key]), point[key]) for point in points if key in point]
        lines.append(f'<polyline points="{" ".join(f"{a:.1f},{b:.1f}" for a, b, _ in marks)}" fill="none" stroke="{colour}"/>')
        lines += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"><title>{title}: {seconds:.3f}</title></circle>'
                  for a, b, seconds in marks]
    return lines


def draw(panels, path):
    width, height = 230, 300
    total = width * len(panels)
    lines = ["<title>Seconds by rows, tokens, layers and ranks</title>", '<rect width="100%" height="100%" fill="#fff"/>']
    for index, (name, points) in enumerate(panels.items()):
        lines += draw_panel(name, points, index * width, width, height)
    for index, (title, colour) in enumerate(SERIES.values()):
        lines.append(f'<rect x="{44 + 270 * index}" y="{height - 18}" width="12" height="12" fill="{colour}"/>'
                     f'<text x="{62 + 270 * index}" y="{height - 7}">{title}</text>')
    path.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {height}" width="{total}" height="{height}" '
                    'font-family="sans-serif" font-size="12" fill="#222">\n' + "\n".join(lines) + "\n</svg>\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--svg", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--draw", action="store_true")
    parser.add_argument("--build", type=Path, default=ROOT / "build/cpu/bin")
    options = parser.parse_args()
    if not options.draw:
        with tempfile.TemporaryDirectory() as folder:
            panels = measure(Workspace(Path(folder), options.build), options.rounds)
        options.json.write_text(json.dumps({"processor": processor(), "cores": len(os.sched_getaffinity(0)), "panels": panels},
                                           indent=1) + "\n")
    measured = json.loads(options.json.read_text())
    print(f"{measured['processor']}, {measured['cores']} cores.\n\n{table(measured['panels'])}")
    if options.svg:
        draw(measured["panels"], options.svg)


if __name__ == "__main__":
    main()
