"""Tables compared with Python's csv and json modules, on random nasty input and for every size of block."""

import csv
import io
import json
import os
import random
import subprocess

import pytest


STREAM = 0  # instead of a block size: read once from front to back


def print_table(path, fmt="csv", delimiter=",", quote='"', header="false", encoding="utf-8", block_size=1 << 20):
    command = [os.environ["PRINT_TABLE"], str(path), fmt, delimiter, quote, header, encoding, str(block_size)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(result.stdout)


def write_field(generator, field):
    if generator.random() < 0.3 or any(character in field for character in ',"\r\n'):
        return '"' + field.replace('"', '""') + '"'
    return field


def random_csv(generator, line_end):
    pieces = ["a", "b c", ",", '"', "\n", "\r\n", "\r", "é", "漢字", " ", "\t", "''", "\\"]
    num_columns = generator.randint(2, 4)
    rows = []
    for _ in range(generator.randint(1, 40)):
        rows.append(["".join(generator.choices(pieces, k=generator.randint(0, 5))) for _ in range(num_columns)])
    lines = [",".join(write_field(generator, field) for field in row) for row in rows]
    return line_end.join(lines) + generator.choice(["", line_end]), rows


@pytest.mark.parametrize("seed", range(40))
def test_csv_is_read_as_python_reads_it(tmp_path, seed):
    generator = random.Random(seed)
    text, rows = random_csv(generator, generator.choice(["\n", "\r\n", "\r"]))
    path = tmp_path / "nasty.csv"
    path.write_bytes((b"\xef\xbb\xbf" if seed % 2 else b"") + text.encode())
    assert list(csv.reader(io.StringIO(text, newline=""))) == rows
    for block_size in (1, 7, 50, 1 << 20, STREAM):
        printed = print_table(path, block_size=block_size)
        assert [row["cells"] for row in printed["rows"]] == rows
        assert not any(row["problem"] for row in printed["rows"])


@pytest.mark.parametrize("seed", range(20))
def test_unquoted_fields_keep_their_quotes(tmp_path, seed):
    generator = random.Random(seed)
    pieces = ["a", '"', "b c", ",", "'", "é"]
    rows = [["x" + "".join(generator.choices(pieces, k=4)) for _ in range(3)] for _ in range(30)]
    path = tmp_path / "plain.tsv"
    path.write_text("\n".join("\t".join(row) for row in rows))
    printed = print_table(path, "tsv", "\t", "", block_size=13)
    assert print_table(path, "tsv", "\t", "", block_size=STREAM)["rows"] == printed["rows"]
    assert [row["cells"] for row in printed["rows"]] == rows
    reader = csv.reader(io.StringIO(path.read_text()), delimiter="\t", quoting=csv.QUOTE_NONE)
    assert rows == list(reader)


def test_blocks_cut_between_records_and_know_their_lines(tmp_path):
    generator = random.Random(5)
    lines_before = 1
    text, starts = "", []
    for index in range(300):
        field = "word\n" * generator.randint(0, 5) + str(index)
        starts.append(lines_before)
        text += f'"{field}",x\n'
        lines_before += field.count("\n") + 1
    path = tmp_path / "lines.csv"
    path.write_text(text)
    for block_size in (STREAM, 1, 100, 1000):
        printed = print_table(path, block_size=block_size)
        assert [row["line"] for row in printed["rows"]] == starts
    assert printed["blocks"] > 3


def test_latin_1(tmp_path):
    path = tmp_path / "latin.csv"
    path.write_bytes("text,label\ncafé ÿ,1\n".encode("latin-1"))
    printed = print_table(path, header="true", encoding="latin-1")
    assert printed["rows"][0]["cells"] == ["café ÿ", "1"]


def test_jsonl_is_read_as_python_reads_it(tmp_path):
    generator = random.Random(1)
    pieces = ["a", '"', "\\", "\n", "\r", "é", "😀", "{", "}", ","]
    objects = [{"text": "".join(generator.choices(pieces, k=6)), "label": index} for index in range(100)]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n\n".join(json.dumps(value, ensure_ascii=index % 2) for index, value in enumerate(objects)))
    printed = print_table(path, "jsonl", block_size=64)
    assert print_table(path, "jsonl", block_size=STREAM)["rows"] == printed["rows"]
    assert [row["cells"] for row in printed["rows"]] == [[value["text"], str(value["label"])] for value in objects]
    assert [row["line"] for row in printed["rows"]] == list(range(1, 200, 2))


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_a_stream_does_not_depend_on_how_its_bytes_come(tmp_path, size, line_end):
    text, _ = random_csv(random.Random(size), line_end)
    content = b"\xef\xbb\xbf\n" + b'"the\n""first""",b\n' + text.encode()
    path = tmp_path / "whole.csv"
    path.write_bytes(content)
    command = [os.environ["PRINT_TABLE"], "-", "csv", ",", '"', "true", "utf-8", str(STREAM)]
    job = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    for begin in range(0, len(content), size):
        job.stdin.write(content[begin : begin + size])
        job.stdin.flush()
    printed = json.loads(job.communicate()[0])
    expected = print_table(path, header="true")
    assert (printed["columns"], printed["rows"]) == (expected["columns"], expected["rows"])


def test_a_stream_gives_each_row_as_soon_as_it_is_there():
    command = [os.environ["PRINT_TABLE"], "-", "csv", ",", '"', "true", "utf-8", str(STREAM)]
    job = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    job.stdin.write(b"text,label\n")
    for number, row in enumerate((b"a,1\n", b'"two\nlines",2\r\n', b"\nc,3\n"), start=1):
        job.stdin.write(row)
        job.stdin.flush()
        assert job.stderr.readline() == b"row %d\n" % number
    assert [row["line"] for row in json.loads(job.communicate()[0])["rows"]] == [2, 3, 6]


@pytest.mark.parametrize("block_size", [STREAM, 1, 1 << 20])
def test_a_quote_that_is_never_closed_is_an_error_where_it_opens(tmp_path, block_size):
    path = tmp_path / "open.csv"
    path.write_text('text,label\n"a\nb",1\n"c\nd","open\n' + "e,1\n" * 1000)
    command = [os.environ["PRINT_TABLE"], str(path), "csv", ",", '"', "true", "utf-8", str(block_size)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 3
    assert f"{path}:5: a quote opens here that is never closed" in result.stderr


def test_a_stream_of_one_endless_record_is_not_kept(tmp_path):
    path = tmp_path / "endless.jsonl"
    path.write_bytes(b"x" * (17 << 20))
    command = [os.environ["PRINT_TABLE"], str(path), "jsonl", ",", '"', "true", "utf-8", str(STREAM)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 3 and f"{path}:1: a record of more than 16 MiB" in result.stderr


@pytest.mark.parametrize("header, delimiter, hint", [
    ("text;label", ",", 'separated by \';\': set delimiter = ";"'),
    ('"text";"label"', ",", 'separated by \';\': set delimiter = ";"'),
    ("text\tlabel", ",", 'separated by tabs: set delimiter = "\\t"'),
    ("text,label", ";", 'separated by \',\': set delimiter = ","'),
])
def test_another_delimiter_is_told(tmp_path, header, delimiter, hint):
    path = tmp_path / "other.csv"
    path.write_text(f"{header}\na,b\n")
    command = [os.environ["PRINT_TABLE"], str(path), "csv", delimiter, '"', "true", "utf-8", "1"]
    result = subprocess.run([*command, "text"], capture_output=True, text=True)
    assert result.returncode == 3 and hint in result.stderr
