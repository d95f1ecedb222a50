#!/usr/bin/env python3
"""Where the tutorial's job spends its time, by the moments at which its lines come: prints a table and draws a stacked
bar for float32, for bfloat16, and for a second run that finds its caches. Each is the median run of several.

usage: tests/bench/where_time_goes.py DATA [--runs 5] [--svg docs/where_time_goes.svg]
"""

import argparse
import re
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# A phase ends with the last line that its pattern finds; the last one, with the program.
PHASES = [("start", r"bertdist \d"), ("tokens", r"tokenised |token cache of "), ("model", r"trainable parameters"),
          ("frozen layers", r"[\d,]+ training rows, global batch"), ("training, evaluations, checkpoints", r"\*+ eval metrics"),
          ("test rows", r"\*+ test metrics"), ("final model, end", None)]
COLOURS = ["#8d99ae", "#577590", "#43aa8b", "#f8961e", "#f94144", "#f9c74f", "#90be6d"]


def run(options, folder, cache, *arguments):
    """Seconds of each phase."""
    data = options.data / "phishing"
    line = [options.program, "--model_name_or_path", options.model, "--freeze", "base_except_pooler", "--learning_rate",
            "2e-4", "--global_batch_size", "8", "--num_train_epochs", "10", "--label_column", "labels", "--train_file",
            data / "train.csv", "--validation_file", data / "test_partial.csv", "--test_file",
            data / "validation_partial.csv", "--metric_for_best_model", "loss", "--output_dir", folder / "out",
            "--overwrite_output_dir", "true", "--token_cache_dir", cache, *arguments]
    ends = {}
    start = time.monotonic()
    process = subprocess.Popen([str(part) for part in line], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for text in process.stdout:
        for phase, pattern in PHASES:
            if pattern and re.match(pattern, text):
                ends[phase] = time.monotonic() - start
    if process.wait() != 0:
        raise SystemExit("error: bertdist failed")
    ends[PHASES[-1][0]] = time.monotonic() - start
    seconds, before = {}, 0
    for phase, _ in PHASES:
        seconds[phase] = ends[phase] - before
        before = ends[phase]
    return seconds


def median_run(runs):
    return sorted(runs, key=lambda seconds: sum(seconds.values()))[len(runs) // 2]


def draw(bars, path):
    left, width, height, scale = 150, 760, 34, 560 / max(sum(bar.values()) for bar in bars.values())
    lines = ["<title>Seconds of the tutorial's job by phase</title>", '<rect width="100%" height="100%" fill="#fff"/>']
    for row, (name, seconds) in enumerate(bars.items()):
        y, x = 20 + row * (height + 14), left
        lines.append(f'<text x="10" y="{y + 22}">{name}</text>')
        for (phase, value), colour in zip(seconds.items(), COLOURS):
            lines.append(f'<rect x="{x:.1f}" y="{y}" width="{value * scale:.1f}" height="{height}" fill="{colour}">'
                         f"<title>{phase}: {value:.2f} s</title></rect>")
            x += value * scale
        lines.append(f'<text x="{x + 6:.1f}" y="{y + 22}">{sum(seconds.values()):.1f} s</text>')
    x, y = 10, 20 + len(bars) * (height + 14)
    for (phase, _), colour in zip(PHASES, COLOURS):
        if x + 30 + 7 * len(phase) > width:
            x, y = 10, y + 22
        lines.append(f'<rect x="{x}" y="{y}" width="12" height="12" fill="{colour}"/>'
                     f'<text x="{x + 18}" y="{y + 11}">{phase}</text>')
        x += 40 + 7 * len(phase)
    total = y + 26
    path.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {total}" width="{width}" height="{total}" '
                    'font-family="sans-serif" font-size="13" fill="#222">\n' + "\n".join(lines) + "\n</svg>\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", type=Path, default=ROOT / "models/all-MiniLM-L6-v2")
    parser.add_argument("--program", type=Path, default=ROOT / "build/cpu/bin/bertdist")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--svg", type=Path)
    options = parser.parse_args()
    bars = {}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        cold = iter(range(1000))

        def measure(*arguments, cache=None):
            return median_run([run(options, folder, cache or folder / f"cache-{next(cold)}", *arguments)
                               for _ in range(options.runs)])
        bars["float32"] = measure("--dtype", "float32")
        bars["bfloat16"] = measure("--dtype", "bfloat16")
        run(options, folder, folder / "kept")
        bars["again"] = measure("--learning_rate", "3e-4", cache=folder / "kept")
    print("| phase | " + " | ".join(bars) + " |\n| --- |" + " ---: |" * len(bars))
    for phase, _ in PHASES:
        print(f"| {phase} | " + " | ".join(f"{seconds[phase]:.2f}" for seconds in bars.values()) + " |")
    print("| all | " + " | ".join(f"{sum(seconds.values()):.2f}" for seconds in bars.values()) + " |")
    if options.svg:
        draw(bars, options.svg)


if __name__ == "__main__":
    main()
