"""`bertdist prepare` and the caches it leaves, as h5py and the operating system see them."""

import json
import os
import resource
import signal
import subprocess

import h5py
import numpy as np
import pytest
from launcher.peak_memory import peak_of, start_measured
from tokenizers import BertWordPieceTokenizer

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "##a", "##b", "##c", ","]
DATA, OUTPUT = 3, 5


def save_tokenizer(folder, words=WORDS):
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "vocab_size": len(words)}))
    return folder


@pytest.fixture
def model(tmp_path):
    return save_tokenizer(tmp_path / "model")


def command(model, source, *options, ranks=0):
    launcher = [os.environ["MPIRUN"], "-np", ranks] if ranks else []
    return [str(part) for part in [*launcher, os.environ["BERTDIST"], "prepare", "--model_name_or_path", model, "--train_file",
                                   source, "--token_cache_dir", model.parent / "cache", "--num_threads", 1, *options]]


def prepare(model, source, *options, ranks=0):
    return subprocess.run(command(model, source, *options, ranks=ranks), capture_output=True, text=True, timeout=120)


def newest_cache(model):
    return max((model.parent / "cache").glob("*.h5"), key=lambda path: path.stat().st_mtime_ns)


def write_rows(path, texts, labels=("0", "1")):
    path.write_text("text,label\n" + "".join(f'"{text}",{labels[index % 2]}\n' for index, text in enumerate(texts)))
    return path


def test_a_cache_that_is_there_is_named_with_its_rows(model, tmp_path):
    source = write_rows(tmp_path / "a.csv", ["a", "b", "c"])
    assert prepare(model, source).returncode == 0
    found = prepare(model, source)
    assert found.returncode == 0
    assert f"token cache of {source} found: {newest_cache(model)}, 3 rows" in found.stderr


def test_a_cache_whose_writer_did_not_finish_is_refused(model, tmp_path):
    source = write_rows(tmp_path / "a.csv", ["a", "b", "c"])
    assert prepare(model, source).returncode == 0
    with h5py.File(newest_cache(model), "r+") as cache:
        del cache.attrs["complete"]
    for ranks in (0, 2):
        done = prepare(model, source, ranks=ranks)
        assert done.returncode == DATA, done.stderr
        assert f"token cache '{newest_cache(model)}' is damaged: its writer did not finish" in done.stderr
        assert "hint: delete it and run again" in done.stderr
    newest_cache(model).unlink()
    assert prepare(model, source).returncode == 0


@pytest.mark.parametrize("ranks", [0, 3])
def test_invalid_utf8_is_counted(model, tmp_path, ranks):
    rows = [b"a", b"b\xff\xfec", b"\xe2\x82", b"c\xf0\x9f\x98a", "b\u00e9".encode()] * 2000
    source = tmp_path / "a.csv"
    source.write_bytes(b"text,label\n" + b"".join(b"%s,%d\n" % (text, index % 2) for index, text in enumerate(rows)))
    count = sum(text.decode(errors="replace").count("\ufffd") for text in rows)
    assert count == 8000
    for _ in ("made", "found"):
        done = prepare(model, source, ranks=ranks)
        assert done.returncode == 0, done.stderr
        assert f"{source}: invalid UTF-8 sequences read as U+FFFD: {count}; is the encoding right?" in done.stderr
    done = prepare(model, source, "--encoding", "latin-1", ranks=ranks)
    assert done.returncode == 0 and "invalid UTF-8" not in done.stderr, done.stderr


def test_labels_are_part_of_a_cache_and_named_when_they_change(model, tmp_path):
    source = write_rows(tmp_path / "a.csv", ["a", "b"], ("ham", "spam"))
    assert prepare(model, source, "--id2label", '["ham", "spam"]').returncode == 0
    changed = prepare(model, source, "--id2label", '["spam", "ham"]')
    assert 'is made anew: labels ["ham","spam"] -> ["spam","ham"]' in changed.stderr, changed.stderr
    with h5py.File(newest_cache(model)) as cache:
        assert list(cache["labels"]) == [1, 0] and json.loads(bytes(cache["label_names"][()])) == ["spam", "ham"]


@pytest.mark.parametrize("ranks", [0, 3])
def test_more_tokens_than_16_bits_can_tell(tmp_path, ranks):
    words = [*WORDS, *(f"x{number}" for number in range(70_000))]
    model = save_tokenizer(tmp_path / "model", words)
    texts = [f"a x{number} x{number + 5} b" for number in range(0, 69_000, 23)]
    assert prepare(model, write_rows(tmp_path / "a.csv", texts), ranks=ranks).returncode == 0
    reference = BertWordPieceTokenizer(str(model / "vocab.txt"))
    with h5py.File(newest_cache(model)) as cache:
        assert cache["tokens"].dtype == np.uint32 and cache["tokens"].fletcher32
        assert list(cache["tokens"]) == [token for text in texts for token in reference.encode(text).ids]


def test_memory_does_not_grow_with_the_rows(model, tmp_path):
    def peak_and_size(rows):
        source = write_rows(tmp_path / f"{rows}.csv", ["a b c " * 20] * rows)
        peak = peak_of(start_measured(command(model, source), stderr=subprocess.DEVNULL))
        return peak, (source.stat().st_size + newest_cache(model).stat().st_size) / 2**20

    small, small_size = peak_and_size(20_000)
    large, large_size = peak_and_size(200_000)
    assert large_size - small_size > 35, "MiB of text and cache"
    assert large < small + 12, "MiB"


def test_a_full_disk_leaves_no_cache(model, tmp_path):
    source = write_rows(tmp_path / "a.csv", ["a b c " * 20] * 20_000)

    def limit_file_size():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write fails instead, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    done = subprocess.run(command(model, source), preexec_fn=limit_file_size, capture_output=True, text=True, timeout=120)
    assert done.returncode == OUTPUT and "is the disk full" in done.stderr, done.stderr
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("ranks", [0, 2])
def test_max_train_samples_tokenises_the_first_rows_only(model, tmp_path, ranks):
    texts = [["a", "b", "c", "ab", "ca"][index % 5] for index in range(50_000)]
    lines = [f"{text},{index % 2}" for index, text in enumerate(texts)]
    lines[5] = "no label"
    lines[40_000:40_010] = ["no label"] * 10
    source = tmp_path / "a.csv"
    source.write_text("\n".join(["text,label", *lines]) + "\n")
    done = prepare(model, source, "--max_train_samples", 7, "--on_bad_row", "skip", ranks=ranks)
    assert done.returncode == 0 and "bad rows left out: 1;" in done.stderr, done.stderr
    with h5py.File(newest_cache(model)) as cache:
        assert list(cache["source_lines"]) == [2, 3, 4, 5, 6, 8, 9]
    done = prepare(model, source, "--max_train_samples", 30_000, "--on_bad_row", "skip", ranks=ranks)
    assert "rows the first 7 -> the first 30000" in done.stderr
    with h5py.File(newest_cache(model)) as cache:
        assert list(cache["source_lines"]) == [2, 3, 4, 5, 6, *range(8, 30_003)]
    assert prepare(model, source, "--max_train_samples", 5, ranks=ranks).returncode == 0, "no bad row among the first"
    assert "a.csv:7" in prepare(model, source, "--max_train_samples", 6, ranks=ranks).stderr


def test_labels_come_from_all_rows_whatever_max_train_samples_says(model, tmp_path):
    source = tmp_path / "a.csv"
    source.write_text("text,label\na,ham\nb,spam\nc,egg\n")
    assert prepare(model, source, "--max_train_samples", 2).returncode == 0
    with h5py.File(newest_cache(model)) as cache:
        assert json.loads(bytes(cache["label_names"][()])) == ["egg", "ham", "spam"]
        assert list(cache["labels"]) == [1, 2]


@pytest.mark.parametrize("policy", ["fail", "skip"])
def test_a_file_whose_only_row_is_bad_is_named_by_its_line(model, tmp_path, policy):
    source = tmp_path / "a.csv"
    source.write_text("text,label\n\na\n")
    done = prepare(model, source, "--on_bad_row", policy)
    assert done.returncode == DATA and f"{source}:3: number of fields: 1" in done.stderr, done.stderr


@pytest.mark.parametrize("policy", ["fail", "skip"])
def test_a_quote_that_is_never_closed_is_never_skipped(model, tmp_path, policy):
    source = tmp_path / "a.csv"
    source.write_text("text,label\na,0\n\"b,1\n" + "c,0\n" * 1000)
    done = prepare(model, source, "--on_bad_row", policy, ranks=2)
    assert done.returncode == DATA and f"{source}:3: a quote opens here that is never closed" in done.stderr, done.stderr


@pytest.mark.parametrize("label", ["true", "1.0", "[1]"])
def test_a_label_of_jsonl_is_a_string_or_an_integer(model, tmp_path, label):
    source = tmp_path / "a.jsonl"
    source.write_text('{"text": "a", "label": 0}\n{"text": "b", "label": %s}\n{"text": "c", "label": "1"}\n' % label)
    done = prepare(model, source)
    assert done.returncode == DATA
    assert f"{source}:2: the label in 'label' is {label}, neither a string nor an integer" in done.stderr, done.stderr
    assert prepare(model, source, "--on_bad_row", "skip").returncode == 0
    with h5py.File(newest_cache(model)) as cache:
        assert list(cache["labels"]) == [0, 1] and list(cache["source_lines"]) == [1, 3]


def test_another_delimiter_is_told(model, tmp_path):
    source = tmp_path / "a.csv"
    source.write_text("text;label\na;0\n")
    done = prepare(model, source)
    assert done.returncode == DATA and 'separated by \';\': set delimiter = ";"' in done.stderr, done.stderr


def test_a_changed_tokenizer_is_named(model, tmp_path):
    source = write_rows(tmp_path / "a.csv", ["a x", "b"])
    assert prepare(model, source).returncode == 0
    (model / "added_tokens.json").write_text(json.dumps({"x": len(WORDS)}))
    (model / "config.json").write_text(json.dumps({"model_type": "bert", "vocab_size": len(WORDS) + 1}))
    changed = prepare(model, source)
    assert "is made anew: the tokenizer changed" in changed.stderr, changed.stderr
    with h5py.File(newest_cache(model)) as cache:
        assert list(cache["tokens"]) == [2, 5, len(WORDS), 3, 2, 6, 3]


def test_columns_by_position_and_labels_by_a_map(model, tmp_path):
    source = tmp_path / "a.txt"
    source.write_text("7\ta\n3\tb\n7\tc\n")
    done = prepare(model, source, "--format", "tsv", "--header", "false", "--text_column", 1, "--label_column", 0,
                   "--label2id", '{"3" = 0, "7" = 1}')
    assert done.returncode == 0, done.stderr
    with h5py.File(newest_cache(model)) as cache:
        assert list(cache["labels"]) == [1, 0, 1] and json.loads(bytes(cache["label_names"][()])) == ["3", "7"]
