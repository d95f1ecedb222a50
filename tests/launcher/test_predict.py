"""`bertdist predict` as a filter: what it echoes, what it refuses, and input that comes slowly or does not end."""

import csv
import json
import resource
import shutil
import signal
import subprocess

import pytest
import torch
from launcher.peak_memory import peak_of, start_measured
from reference.program import ENVIRONMENT, command, make_rows, predictions_of, run, save_bert, write_csv
from safetensors.torch import load_file, save_file

CONFIGURATION, DATA, OUTPUT, NUMERIC = 2, 3, 5, 7


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_bert(tmp_path_factory.mktemp("model"))


def predict(model, source, output, **options):
    return run("predict", model_name_or_path=model, test_file=source, output_file=output, num_threads=1, **options)


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_values_of_jsonl_keep_their_type(model, tmp_path):
    values = ["1", 1, -2.5, 10**15, True, None, {"a": [1, "x"]}, [], "ü\n"]
    source = write_jsonl(tmp_path / "in.jsonl", [{"text": "a b", "value": value} for value in values] + [{"text": "c"}])
    predict(model, source, tmp_path / "out.jsonl", output_columns=["value"])
    rows = predictions_of(tmp_path / "out.jsonl")
    assert [(type(row["value"]), row["value"]) for row in rows] == [(type(value), value) for value in [*values, None]]
    predict(model, source, tmp_path / "out.csv", output_columns=["value"])
    with open(tmp_path / "out.csv", newline="") as file:
        table = [row["value"] for row in csv.DictReader(file)]
    assert table == ["1", "1", "-2.5", str(10**15), "true", "", '{"a":[1,"x"]}', "[]", "ü\n", ""]


@pytest.mark.parametrize("columns", [["label"], ["row"], ["logits"], ["probabilities"], ["text", "text"]])
def test_no_key_is_written_twice(model, tmp_path, columns):
    source = write_jsonl(tmp_path / "in.jsonl", [{column: "a" for column in ["text", *columns]}])
    done = run("predict", model_name_or_path=tmp_path / "no model yet", test_file=source, output_columns=columns, check=False)
    assert done.returncode == CONFIGURATION, "found before anything is loaded"
    assert f'"{columns[0]}"' in done.stderr and "hint: " in done.stderr
    if len(columns) == 1:
        done = run("predict", model_name_or_path=model, test_file=source, output_columns=["1"])
        assert json.loads(done.stdout)["1"] == "a", "the way out that the hint names"


def test_a_csv_column_of_the_same_name_is_refused(model, tmp_path):
    source = write_csv(tmp_path / "in.csv", [("a", "b")], header=("text", "logit_LABEL_0"))
    done = predict(model, source, tmp_path / "out.csv", output_columns=["logit_LABEL_0"], check=False)
    assert done.returncode == CONFIGURATION and "logit_LABEL_0" in done.stderr
    assert sorted(tmp_path.iterdir()) == [source]


def test_logits_that_are_not_finite_are_an_error_of_that_row(model, tmp_path):
    broken = shutil.copytree(model, tmp_path / "broken")
    tensors = load_file(broken / "model.safetensors")
    tensors["bert.embeddings.word_embeddings.weight"][5 + ord("q") - ord("a")] = torch.nan  # the word "q"
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    source = write_csv(tmp_path / "in.csv", [("a",), ("b\nc",), ("q",), ("d",)], header=("text",))
    done = predict(broken, source, tmp_path / "out.jsonl", check=False)
    assert done.returncode == NUMERIC and f"the logits of row 2 ({source}:5) are not finite" in done.stderr
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("ranks", [0, 2])
def test_invalid_utf8_is_counted(model, tmp_path, ranks):
    source = tmp_path / "in.csv"
    source.write_bytes(b"text\n" + b"a\n" + b"b\xff\xfec\n" * 700 + b"d\xe2\x82\n")
    done = predict(model, source, tmp_path / "out.jsonl", ranks=ranks)
    assert len(predictions_of(tmp_path / "out.jsonl")) == 702
    warnings = [line for line in done.stderr.splitlines() if "UTF-8" in line]
    assert len(warnings) == 1 and warnings[0].endswith("warning: invalid UTF-8 sequences read as U+FFFD: 1401")
    source.write_text("text\na\ncaf\u00e9\n")
    assert "UTF-8" not in predict(model, source, tmp_path / "out.jsonl", ranks=ranks).stderr


def test_a_pair_that_cannot_be_truncated_is_a_bad_row(model, tmp_path):
    source = write_csv(tmp_path / "in.csv", [("a", "b"), ("a", "b " * 60), ("c", "d")], header=("text", "other"))
    options = {"text_pair_column": "other", "truncation_strategy": "only_first"}
    done = predict(model, source, tmp_path / "out.jsonl", **options, check=False)
    assert done.returncode == DATA and "in.csv:3" in done.stderr and "on_bad_row" in done.stderr
    done = predict(model, source, tmp_path / "out.jsonl", **options, on_bad_row="skip")
    assert [row["row"] for row in predictions_of(tmp_path / "out.jsonl")] == [0, 2]
    assert "bad rows left out: 1" in done.stderr


def test_rows_that_are_left_out_are_listed(model, tmp_path):
    source = tmp_path / "in.csv"
    source.write_text("text,id\na,1\nb\nc,3\n\nd,4,5\n")
    listed = [f"{source}:3: number of fields: 1, but 2 in the first record",
              f"{source}:6: number of fields: 3, but 2 in the first record"]
    for name in ("out.jsonl", "out.csv"):
        done = predict(model, source, tmp_path / name, on_bad_row="skip")
        assert (tmp_path / f"{name}.skipped.txt").read_text().splitlines() == listed
        assert f"bad rows left out: 2; listed in {tmp_path / name}.skipped.txt" in done.stderr
    done = run("predict", model_name_or_path=model, test_file=source, on_bad_row="skip")
    assert [line.partition("left out: ")[2] for line in done.stderr.splitlines()] == [*listed, "2"]
    write_csv(source, [("a", 1)], header=("text", "id"))
    predict(model, source, tmp_path / "out.jsonl", on_bad_row="skip")
    assert not (tmp_path / "out.jsonl.skipped.txt").exists(), "an earlier run's list is not this one's"


def test_a_header_alone_has_no_predictions(model, tmp_path):
    source = tmp_path / "in.csv"
    source.write_text("text,label\n")
    predict(model, source, tmp_path / "out.jsonl", ranks=2)
    predict(model, source, tmp_path / "out.csv")
    assert (tmp_path / "out.jsonl").read_bytes() == b""
    assert (tmp_path / "out.csv").read_text() == "row,label,probability_LABEL_0,probability_LABEL_1,logit_LABEL_0,logit_LABEL_1\n"


@pytest.mark.parametrize("ranks", [0, 2])
def test_a_slow_writer_gets_its_answers(model, ranks):
    line = command("predict", ranks=ranks, model_name_or_path=model, test_file="-", format="csv", num_threads=1,
                   output_columns=["text"], comm_timeout_s=3)
    job = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT)
    job.stdin.write(b"text\n")
    for number, text in enumerate(["a b", "c\nd", "e"]):
        job.stdin.write(f'"{text}"\n'.encode())
        job.stdin.flush()
        answer = json.loads(job.stdout.readline())
        assert (answer["row"], answer["text"]) == (number, text)
    with pytest.raises(subprocess.TimeoutExpired):  # the other ranks wait for longer than comm_timeout_s
        job.wait(timeout=4)
    out, messages = job.communicate(b"f\n")
    assert job.returncode == 0, messages.decode()
    assert json.loads(out)["row"] == 3


def test_memory_does_not_grow_with_the_input(model):
    def peak(megabytes):
        line = command("predict", model_name_or_path=model, test_file="-", format="csv", num_threads=1, max_seq_length=8)
        job = start_measured(line, stdin=subprocess.PIPE, env=ENVIRONMENT)
        return peak_of(job, "text\n" + ("a b c " * 8192 + "\n") * 20 * megabytes)

    assert peak(44) < peak(4) + 20, "MiB"


def test_a_full_disk_leaves_no_predictions(model, tmp_path):
    source = write_csv(tmp_path / "in.csv", make_rows(2000))

    def limit_file_size():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write fails instead, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    line = command("predict", model_name_or_path=model, test_file=source, output_file=tmp_path / "out.jsonl", num_threads=1)
    done = subprocess.run(line, env=ENVIRONMENT, capture_output=True, text=True, preexec_fn=limit_file_size, timeout=120)
    assert done.returncode == OUTPUT and "out.jsonl" in done.stderr and "hint: " in done.stderr, done.stderr
    assert sorted(tmp_path.iterdir()) == [source]
