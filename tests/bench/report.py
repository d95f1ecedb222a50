#!/usr/bin/env python3
"""Writes tables of docs/performance.md, between the markers that name the JSON file which tests/bench/run left.

usage: tests/bench/report.py docs/performance.json
"""

import json
import re
import statistics
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs/performance.md"
END = "<!-- end -->\n"


def median(runs, key):
    return statistics.median(run[key] for run in runs)


def comparison_table(groups):
    lines = ["| work | against | seconds | peer's seconds | ratio | goal |", "| --- | --- | ---: | ---: | ---: | ---: |"]
    for group in groups.values():
        for row in group["comparisons"]:
            runs = group["runs"]
            rounds = len(row["ratios"])
            lines.append(f"| {group['title']}: {row['ours']} | {row['peer']} | {median(runs[row['ours']], 'seconds'):.3g} "
                         f"| {median(runs[row['peer']], 'seconds'):.3g} | {row['ratio']:.3g}"
                         f"{' (one round)' if rounds == 1 else ''} | {row['target']} |")
    return lines


def memory_table(groups):
    lines = ["| work | program | CPU seconds | peak memory, MiB |", "| --- | --- | ---: | ---: |"]
    for group in groups.values():
        for name, runs in group["runs"].items():
            if "mib" not in runs[0]:
                continue
            lines.append(f"| {group['title']} | {name} | {median(runs, 'cpu_seconds'):.1f} | {median(runs, 'mib'):.0f} |")
    return lines


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    path = Path(sys.argv[1])
    report = json.loads(path.read_text())
    if report["quick"]:
        sys.exit("error: these are the figures of --quick, which are not for publishing")
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    text = "\n".join([f"{report['processor']}, {report['cores']} cores; {versions}.", "", *comparison_table(report["groups"]),
                      "", *memory_table(report["groups"]), ""])
    page, begin = PAGE.read_text(), f"<!-- from {path.name} -->\n"
    if page.count(begin) != 1:
        sys.exit(f"error: {PAGE} does not have one place for '{path.name}'")
    PAGE.write_text(re.sub(re.escape(begin) + ".*?" + re.escape(END), lambda _: begin + text + END, page, flags=re.DOTALL))


if __name__ == "__main__":
    main()
