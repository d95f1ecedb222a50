"""Bounds what encoding a token costs, in counts that do not depend on the machine's load."""

import json
import os
import random
import re
import subprocess

import pytest
from tokenizer_reference import WORDS, tokenizer_json, write_folder

TIMES = 4


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path, tokenizer_json())


def plain_rows():
    """Lower and upper case, punctuation, words of one piece and of several."""
    rng = random.Random(0)
    words = WORDS + [word.upper() for word in WORDS[:5]] + ["played", "unable", "tester", "comfree", ",", ".", "!"]
    return [" ".join(rng.choices(words, k=rng.randrange(1, 60))) for _ in range(400)]


def accented_rows():
    rng = random.Random(1)
    words = WORDS + ["français", "naïve", "ÜBER", "中文", "\u00a0"]
    return [" ".join(rng.choices(words, k=rng.randrange(1, 60))) for _ in range(400)]


def encode(folder, rows, launcher=()):
    command = [*launcher, os.environ["ENCODE_COST"], folder, str(TIMES)]
    done = subprocess.run(command, input="\n".join(rows), text=True, encoding="utf-8", capture_output=True, check=True)
    return json.loads(done.stdout), done.stderr


@pytest.mark.parametrize("rows", [plain_rows, accented_rows])
def test_no_allocations_for_rows_no_larger_than_those_before(folder, rows):
    cost, _ = encode(folder, rows())
    assert cost["tokens"] > 10_000 and cost["allocations"] == 0


# Measured: see docs/performance.md. The bounds leave room for other compilers, not for another way to do it.
@pytest.mark.parametrize("rows, most", [(plain_rows, 120), (accented_rows, 200)])
def test_instructions_a_token(folder, rows, most):
    valgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
                "--toggle-collect=bertdist::BertTokenizer::encode*"]
    cost, report = encode(folder, rows(), valgrind)
    instructions = int(re.search(r"Collected : (\d+)", report)[1])
    print(f"{instructions / cost['tokens']:.0f} instructions a token")
    assert 10 < instructions / cost["tokens"] < most
