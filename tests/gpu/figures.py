"""The arithmetic behind tests/gpu/measure.py's table."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """Of a BERT, by config.json's names."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int


def forward_flops(shape: Shape, lengths: list[int]) -> float:
    """Of the matrix products of one pass over rows of these lengths. Of the last layer only [CLS] is computed: all tokens'
    keys and values, and for one token of each row the rest."""
    hidden, tokens, rows = shape.hidden_size, sum(lengths), len(lengths)
    keys_and_values = 2 * 2 * hidden * hidden
    rest = 2 * (2 * hidden * hidden + 2 * hidden * shape.intermediate_size)
    attention = 4 * hidden  # of one query and one key
    full_layer = tokens * (keys_and_values + rest) + attention * sum(length * length for length in lengths)
    last_layer = tokens * keys_and_values + rows * rest + attention * tokens
    return float((shape.num_hidden_layers - 1) * full_layer + last_layer)


def training_flops(shape: Shape, lengths: list[int]) -> float:
    """Backward takes two products for each of forward's."""
    return 3 * forward_flops(shape, lengths)


def bus_bandwidth(num_bytes: int, seconds: float, ranks: int) -> float:
    """Bytes a second that each rank's link carries in an all-reduce, whatever the number of ranks: NCCL's busbw."""
    return 2 * (ranks - 1) / ranks * num_bytes / seconds


@dataclass(frozen=True)
class Run:
    """One training from start to end."""

    steps: int
    tokens: int
    seconds: float


def tokens_per_second(short: Run, long: Run) -> float:
    """By the difference of two runs, so that what is done once does not count."""
    return (long.tokens - short.tokens) / (long.seconds - short.seconds)


def table(entries: list[dict]) -> str:
    """Markdown; an entry has gpus, dropout, tokens_per_second, matmul_share and efficiency."""
    lines = ["| GPUs | dropout | tokens/s | share of the bf16 matmul rate | of n times one GPU |",
             "| ---: | ---: | ---: | ---: | ---: |"]
    for entry in entries:
        lines.append(f"| {entry['gpus']} | {entry['dropout']:g} | {entry['tokens_per_second']:,.0f} "
                     f"| {entry['matmul_share']:.1%} | {entry['efficiency']:.1%} |")
    return "\n".join(lines)


def all_reduce_table(entries: list[dict]) -> str:
    lines = ["| ranks | MiB | ms | bus bandwidth, GB/s |", "| ---: | ---: | ---: | ---: |"]
    for entry in entries:
        lines.append(f"| {entry['ranks']} | {entry['bytes'] / 2**20:,.0f} | {1e3 * entry['seconds']:.3f} "
                     f"| {entry['bus_bandwidth'] / 1e9:.1f} |")
    return "\n".join(lines)
