#!/usr/bin/env python3
"""A model of the time of a training step on many ranks, made of parts, for GPUs from published figures and for CPUs from
those that tests/bench/scaling_measure.py measured. docs/scaling.md states its assumptions; this writes its tables.

usage: tests/bench/scaling_model.py docs/scaling.json [--write]     without --write, to the standard output
"""

import argparse
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs/scaling.md"
FLOAT = 4  # bytes
MIB = 2**20

# Published; docs/scaling.md names the sources by these numbers. Tables are of (bytes, microseconds).
A100_ONE_NODE = [  # [1] 8 GPUs
    (64, 31.8), (32768, 32.2), (65536, 34.2), (131072, 37.5), (262144, 44.0), (524288, 57.5), (1048576, 77.7),
    (2097152, 113.7), (4194304, 134.7), (8388608, 183.2), (16777216, 241.4), (33554432, 397.6), (67108864, 587.8),
    (134217728, 1182.6), (268435456, 2110.9), (536870912, 4208.0), (1073741824, 8165.2)]
A100_TWO_NODES = [  # [1] up to 8 MiB, [2] from 32 MiB
    (64, 38.6), (32768, 57.5), (65536, 70.1), (131072, 102.9), (262144, 115.0), (524288, 121.1), (1048576, 139.3),
    (2097152, 167.1), (4194304, 231.4), (8388608, 358.4), (33554432, 590.2), (67108864, 918.0), (134217728, 1654.3),
    (268435456, 3056.7), (536870912, 5639.2), (1073741824, 10985.0)]
A100_32_NODES_LATENCY = 64.0  # [3] microseconds for 64 bytes
A100_SEQUENCES_PER_SECOND = 102.26  # [4] BERT-large fine-tuned with mixed precision, 384 tokens each, on one GPU
A100_BYTES_PER_SECOND = 1.555e12  # [5]
GPUS_A_NODE = 8
# Assumed, not published: a head's step is some 20 kernels, each of which takes about 5 microseconds to start.
HEAD_STEP_SECONDS = 20 * 5e-6


@dataclass(frozen=True)
class Bert:
    hidden: int
    layers: int
    intermediate: int
    vocabulary: int = 30522
    positions: int = 512
    labels: int = 2

    def layer_matrices(self):
        """Elements of the weights of a layer, in the order of the model's parameters."""
        square, wide = self.hidden * self.hidden, self.hidden * self.intermediate
        return [square] * 4 + [wide] * 2

    def head_elements(self):
        return self.hidden * (self.hidden + 1) + self.labels * (self.hidden + 1)

    def small_elements(self):
        """Biases and LayerNorms, which have no weight decay."""
        layer = 4 * self.hidden + self.intermediate + self.hidden + 4 * self.hidden
        return 2 * self.hidden + self.layers * layer + self.hidden + self.labels

    def matrices(self):
        """(elements, share of backward that is done when its gradient is), from the end of the model to its beginning.
        A layer's are ready when the layer is; the head takes no time."""
        found = [(self.labels * self.hidden, 0.0), (self.hidden * self.hidden, 0.0)]
        for done in range(1, self.layers + 1):
            found += [(elements, done / self.layers) for elements in reversed(self.layer_matrices())]
        return found + [(rows * self.hidden, 1.0) for rows in (2, self.positions, self.vocabulary)]

    def num_elements(self):
        return sum(elements for elements, _ in self.matrices()) + self.small_elements()

    def forward_flops(self, length):
        """Of one token in a row of `length` tokens."""
        return self.layers * (2 * sum(self.layer_matrices()) + 4 * length * self.hidden)


BERT_BASE = Bert(hidden=768, layers=12, intermediate=3072)
BERT_LARGE = Bert(hidden=1024, layers=24, intermediate=4096)


def interpolate(table, size):
    """Straight between the points of a table on logarithmic scales; its first value below it, and beyond its end in
    proportion."""
    if size <= table[0][0]:
        return table[0][1]
    for (x0, y0), (x1, y1) in zip(table, table[1:]):
        if size <= x1:
            share = math.log(size / x0) / math.log(x1 / x0)
            return y0 * (y1 / y0) ** share
    return table[-1][1] * size / table[-1][0]


def gpu_all_reduce(size, gpus):
    """Seconds. More than two nodes take what two take, times the growth of 2 (n - 1) / n, which is what each GPU sends,
    and wait longer by what the published latencies grow with each doubling."""
    if gpus == 1:
        return 0.0
    if gpus <= GPUS_A_NODE:
        return interpolate(A100_ONE_NODE, size) * 1e-6
    two = 2 * GPUS_A_NODE
    sent = ((gpus - 1) / gpus) / ((two - 1) / two)
    doubling = (A100_32_NODES_LATENCY - A100_TWO_NODES[0][1]) / math.log2(32 / 2)
    return (interpolate(A100_TWO_NODES, size) * sent + doubling * math.log2(gpus / two)) * 1e-6


def buckets(model, cap=25 * MIB, first=MIB):
    """[(bytes, share of backward after which all its gradients are there)], as the trainer forms them: a bucket is closed
    when it holds `cap` bytes, the first when it holds `first`; the last one has what has no weight decay, the loss and the
    request to stop."""
    found, size = [], 0
    for elements, ready in model.matrices():
        size += elements * FLOAT
        if size >= (cap if found else first):
            found.append((size, ready))
            size = 0
    if size:
        found.append((size, 1.0))
    return found + [((model.small_elements() + 2) * FLOAT, 1.0)]


def reduce_end(ready_and_seconds):
    """When the last of several sums ends that are taken one after the other, each when it is ready at the earliest."""
    end = 0.0
    for ready, seconds in ready_and_seconds:
        end = max(end, ready) + seconds
    return end


def a100_flops():
    """Floating-point operations a second, from the published sequences a second."""
    return 3 * BERT_LARGE.forward_flops(384) * 384 * A100_SEQUENCES_PER_SECOND


def gpu_full_step(gpus, rows, length=128, model=BERT_BASE, flops=None, overlap=True):
    """Seconds of the parts of a step with `rows` on each GPU."""
    forward = rows * length * model.forward_flops(length) / (flops or a100_flops())
    backward = 2 * forward
    sums = [(ready * backward, gpu_all_reduce(size, gpus)) for size, ready in buckets(model)]
    if not overlap:
        sums = [(backward, gpu_all_reduce(FLOAT * (model.num_elements() + 2), gpus))]
    update = 8 * FLOAT * model.num_elements() / A100_BYTES_PER_SECOND
    exposed = max(0.0, reduce_end(sums) - backward)
    return {"compute": forward + backward, "reduce": sum(seconds for _, seconds in sums), "exposed": exposed,
            "update": update, "step": forward + backward + exposed + update}


def gpu_frozen_step(gpus, model=BERT_BASE):
    seconds = gpu_all_reduce(FLOAT * (model.head_elements() + 2), gpus)
    return {"compute": HEAD_STEP_SECONDS, "reduce": seconds, "step": HEAD_STEP_SECONDS + seconds}


def cpu_all_reduce(two_ranks, size, ranks, cores):
    """Seconds, from those of two ranks. Each rank sends its part of the sum to the others and gets theirs, adds them up,
    and gets the others' sums: of n ranks 2 (n - 1) + n times the buffer goes through the memory of one host, by as many
    cores as there are. A short one waits until each rank has had its turn on a core."""
    if ranks == 1:
        return 0.0
    cores_of_two, running = min(2, cores), min(ranks, cores)
    latency = interpolate(two_ranks, 0)
    moved = (3 * ranks - 2) / (3 * 2 - 2) * cores_of_two / running
    return latency * (ranks / running) + max(0.0, interpolate(two_ranks, size) - latency) * moved


def cpu_parts(small, large):
    """(seconds a token, seconds a step) from two steps of one rank, each {"tokens", "seconds"}."""
    token = (large["seconds"] - small["seconds"]) / (large["tokens"] - small["tokens"])
    return token, small["seconds"] - token * small["tokens"]


def cpu_step(job, two_ranks, ranks, cores):
    """Seconds of a step whose tokens the ranks share, while each of them updates all parameters, on `cores` cores. One rank
    updates a head with its gradient in one pass; several sum the gradient first, and the update is a pass of its own."""
    token, fixed = cpu_parts(job["one_rank_small_batch"], job["ranks"]["1"])
    running = min(ranks, cores)
    if ranks > 1:
        fixed += job["separate_update"]
    return (token * job["ranks"]["1"]["tokens"] / running + fixed * ranks / running
            + cpu_all_reduce(two_ranks, job["reduced_bytes"], ranks, cores))


def gpu_table(rows_of, flops=None):
    lines = ["| GPUs | rows a GPU | compute, ms | all-reduce, ms | of it not hidden, ms | update, ms | step, ms | rows/s | "
             "efficiency |", "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]
    one = gpu_full_step(1, rows_of(1), flops=flops)
    for gpus in (1, 8, 64, 512):
        step = gpu_full_step(gpus, rows_of(gpus), flops=flops)
        rate = gpus * rows_of(gpus) / step["step"]
        efficiency = rate / gpus / (rows_of(1) / one["step"])
        lines.append(f"| {gpus} | {rows_of(gpus):,} | " + " | ".join(
            f"{1e3 * step[part]:.2f}" for part in ("compute", "reduce", "exposed", "update", "step"))
            + f" | {rate:,.0f} | {efficiency:.0%} |")
    return lines


def frozen_table(rows=32, length=128):
    lines = ["| GPUs | head's step, ms | all-reduce, ms | step, ms | rows/s | frozen layers, once: rows/s |",
             "| ---: | ---: | ---: | ---: | ---: | ---: |"]
    for gpus in (1, 8, 64, 512):
        step = gpu_frozen_step(gpus)
        frozen = gpus * a100_flops() / (length * BERT_BASE.forward_flops(length))
        lines.append(f"| {gpus} | {1e3 * step['compute']:.2f} | {1e3 * step['reduce']:.2f} | {1e3 * step['step']:.2f} "
                     f"| {gpus * rows / step['step']:,.0f} | {frozen:,.0f} |")
    return lines


def cpu_all_reduce_table(measured):
    two = [tuple(row) for row in measured["all_reduce"]["2"]]
    others = [ranks for ranks in measured["all_reduce"] if ranks != "2"]
    lines = ["| bytes | 2 ranks, measured, ms | " + " | ".join(f"{n} ranks, model / measured, ms" for n in others) + " |",
             "| ---: |" + " ---: |" * (1 + len(others))]
    for index, (size, seconds) in enumerate(two):
        cells = [f"{1e3 * cpu_all_reduce(two, size, int(n), measured['cores']):.3f} / "
                 f"{1e3 * measured['all_reduce'][n][index][1]:.3f}" for n in others]
        lines.append(f"| {size:,} | {1e3 * seconds:.3f} | " + " | ".join(cells) + " |")
    return lines


def cpu_table(measured):
    two = [tuple(row) for row in measured["all_reduce"]["2"]]
    lines = ["| job | ranks | model, ms a step | measured, ms a step | model / measured |", "| --- | ---: | ---: | ---: | ---: |"]
    for job in measured["jobs"].values():
        for ranks, step in job["ranks"].items():
            predicted = cpu_step(job, two, int(ranks), measured["cores"])
            note = "; fitted" if ranks == "1" else ""
            lines.append(f"| {job['title']} | {ranks} | {1e3 * predicted:.2f}{note} | {1e3 * step['seconds']:.2f} "
                         f"| {predicted / step['seconds']:.2f} |")
    return lines


def tables(measured):
    """{name of a place in docs/scaling.md: its text}."""
    fast = 2 * a100_flops()
    text = {
        "weak": gpu_table(lambda gpus: 32),
        "strong": gpu_table(lambda gpus: 2048 // gpus),
        "fast": gpu_table(lambda gpus: 32, fast),
        "frozen": frozen_table(),
        "cpu_all_reduce": [f"{measured['processor']}, {measured['cores']} cores.", "", *cpu_all_reduce_table(measured)],
        "cpu": cpu_table(measured),
    }
    return {name: "\n".join(lines) + "\n" for name, lines in text.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measured", type=Path)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    page = PAGE.read_text() if options.write else ""
    for name, text in tables(json.loads(options.measured.read_text())).items():
        if not options.write:
            print(f"{name}\n\n{text}")
        page = re.sub(f"(<!-- {name} -->\n).*?(<!-- end -->\n)", lambda found: found[1] + text + found[2], page, flags=re.DOTALL)
    if options.write:
        PAGE.write_text(page)


if __name__ == "__main__":
    main()
