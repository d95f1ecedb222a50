"""`bertdist tokenize` against transformers: one array for each line that only a newline ends."""

import json
import os
import shutil
import subprocess
from pathlib import Path

from transformers import AutoTokenizer

MODEL = os.environ["BERTDIST_MINILM"]


def tokenize(text: bytes, *options: str) -> list[list[int]]:
    command = [os.environ["BERTDIST"], "tokenize", "--model_name_or_path", MODEL, *options]
    done = subprocess.run(command, input=text, capture_output=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_equals_transformers_line_by_line():
    lines = ["Hello, world!", "", "caf\u00e9 \u4f60\u597d", "carriage\rreturn", "http://pay-pal.example/x?y=1", " "]
    reference = AutoTokenizer.from_pretrained(MODEL)
    reference.backend_tokenizer.no_padding()
    reference.backend_tokenizer.no_truncation()
    expected = [reference(line)["input_ids"] for line in lines]
    assert tokenize("\n".join(lines).encode()) == expected
    assert tokenize(("\n".join(lines) + "\n").encode()) == expected


def test_invalid_utf8_is_replaced_and_counted():
    lines = [b"caf\xc3\xa9", b"a\xff\xfeb", b"\xe2\x82", b"one \xf0\x9f\x98 two"]
    reference = AutoTokenizer.from_pretrained(MODEL)
    texts = [line.decode(errors="replace") for line in lines]
    assert "".join(texts).count("\ufffd") == 4
    for num_lines, count in ((4, 4), (1, 0)):
        done = subprocess.run([os.environ["BERTDIST"], "tokenize", "--model_name_or_path", MODEL],
                              input=b"\n".join(lines[:num_lines]), capture_output=True, check=True)
        assert [json.loads(line) for line in done.stdout.splitlines()] == [
            reference(text)["input_ids"] for text in texts[:num_lines]]
        warnings = [line for line in done.stderr.decode().splitlines() if "UTF-8" in line]
        assert warnings == ([f"warning: invalid UTF-8 sequences read as U+FFFD: {count}"] if count else [])


def test_truncates_to_max_seq_length():
    (ids,) = tokenize(b"one two three four five six seven", "--max_seq_length", "5")
    assert len(ids) == 5 and ids[0] == 101 and ids[-1] == 102


def test_a_tokenizer_without_a_model(tmp_path):
    shutil.copy(Path(MODEL) / "tokenizer.json", tmp_path)
    command = [os.environ["BERTDIST"], "tokenize", "--model_name_or_path", tmp_path]
    done = subprocess.run(command, input=b"one two\n", capture_output=True)
    assert done.returncode == 4 and b"has no config.json" in done.stderr and b"hint: give --max_seq_length" in done.stderr
    for length in (5, 600):
        done = subprocess.run([*command, "--max_seq_length", str(length)], input=b"one " * 1000, capture_output=True, check=True)
        assert len(json.loads(done.stdout)) == length


def test_no_input_is_no_output():
    assert tokenize(b"") == []
    assert tokenize(b"\n") == [[101, 102]]


def test_output_that_cannot_be_written():
    with open("/dev/full", "w") as full:
        done = subprocess.run([os.environ["BERTDIST"], "tokenize", "--model_name_or_path", MODEL], input=b"a\n" * 100_000,
                              stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 5 and b"error: " in done.stderr
