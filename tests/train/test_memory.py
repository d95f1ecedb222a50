"""Training takes about as much memory for a hundred times as many rows, once what the frozen layers make of them is on
disk."""

import random
import subprocess

import pytest
from launcher.peak_memory import peak_of, start_measured
from reference.program import command, save_bert, write_csv

FREEZE = {"frozen": "base_except_pooler", "full": "none"}


def rows_of(count):
    generator = random.Random(count)
    return [(" ".join(generator.choices("abcdefghijklmnop", k=12)), row % 2) for row in range(count)]


@pytest.mark.parametrize("freeze", FREEZE)
def test_a_hundred_times_as_many_rows(tmp_path, freeze):
    model = save_bert(tmp_path / "model")

    def peak(rows):
        data = tmp_path / f"{rows}.csv"
        if not data.exists():
            write_csv(data, rows_of(rows))
        line = command("train", model_name_or_path=model, train_file=data, freeze=FREEZE[freeze], max_steps=20,
                       num_threads=1, token_cache_dir=tmp_path / "cache", output_dir=tmp_path / "out",
                       overwrite_output_dir=True)
        return peak_of(start_measured(line, stderr=subprocess.DEVNULL))

    for rows in (300, 30_000):
        peak(rows)  # fills the caches
    few, many = peak(300), peak(30_000)
    print(few, many)
    assert many < 1.1 * few
