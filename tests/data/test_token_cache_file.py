"""The token cache as other programs see it: its HDF5 layout, killed writers, concurrent jobs, changed options."""

import json
import os
import random
import signal
import subprocess
import time

import h5py
import numpy as np
import pytest
from tokenizers import BertWordPieceTokenizer

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "##a", "##b", "##c", ","]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return tmp_path


def write_rows(path, count):
    generator = random.Random(0)
    texts = [" ".join(generator.choices(["a", "ab", "bc", "cab", "x"], k=generator.randint(0, 20))) for _ in range(count)]
    path.write_text("text,label\n" + "".join(f'"{text}",{index % 2}\n' for index, text in enumerate(texts)))
    return texts


def command(folder, source, max_length=32, policy="fail", ranks=2):
    program = [os.environ["PREPARE_FILE"], source, folder / "tokenizer", folder / "cache", max_length, policy]
    launcher = [os.environ["MPIRUN"], "-np", ranks] if ranks > 0 else []
    return [str(part) for part in [*launcher, *program]]


def prepare(folder, source, **options):
    result = subprocess.run(command(folder, source, **options), capture_output=True, text=True, check=True)
    return result.stdout.splitlines()[0], result.stderr


def test_h5py_reads_the_ids_of_tokenizers(folder):
    texts = write_rows(folder / "a.csv", 500)
    path, _ = prepare(folder, folder / "a.csv")
    reference = BertWordPieceTokenizer(str(folder / "tokenizer" / "vocab.txt"))
    reference.enable_truncation(32)
    with h5py.File(path) as cache:
        assert cache.attrs["complete"] == 1
        assert cache["tokens"].fletcher32 and cache["tokens"].dtype == np.uint16
        assert json.loads(bytes(cache["label_names"][()])) == ["LABEL_0", "LABEL_1"]
        offsets, tokens = cache["offsets"][()], cache["tokens"][()]
        assert list(cache["labels"]) == [index % 2 for index in range(500)]
        assert list(cache["source_lines"]) == list(range(2, 502))
        for row, text in enumerate(texts):
            assert list(tokens[offsets[row] : offsets[row + 1]]) == reference.encode(text).ids


def test_a_changed_option_is_named(folder):
    write_rows(folder / "a.csv", 10)
    prepare(folder, folder / "a.csv")
    path, messages = prepare(folder, folder / "a.csv", max_length=16)
    assert "max_seq_length 32 -> 16" in messages
    write_rows(folder / "a.csv", 11)
    _, messages = prepare(folder, folder / "a.csv", max_length=16)
    assert "the file's content changed" in messages
    path, messages = prepare(folder, folder / "a.csv", max_length=16)
    assert messages == f"token cache of {folder / 'a.csv'} found: {path}, 11 rows\n"


def test_a_killed_writer_leaves_nothing_that_is_picked_up(folder):
    write_rows(folder / "a.csv", 200_000)
    job = subprocess.Popen(command(folder, folder / "a.csv", ranks=0))
    deadline = time.monotonic() + 60
    while not list(folder.glob("cache/.*.tmp")) and time.monotonic() < deadline:
        time.sleep(0.002)
    job.send_signal(signal.SIGKILL)
    assert job.wait() == -signal.SIGKILL
    assert list(folder.glob("cache/.*.tmp")) and not list(folder.glob("cache/*.h5"))
    path, _ = prepare(folder, folder / "a.csv")
    with h5py.File(path) as cache:
        assert len(cache["labels"]) == 200_000
    assert not list(folder.glob("cache/.*.tmp")) and not list(folder.glob("cache/*.lock"))


def test_two_jobs_at_once_make_one_cache(folder):
    write_rows(folder / "a.csv", 100_000)
    jobs = [subprocess.Popen(command(folder, folder / "a.csv"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(2)]
    outputs = [job.communicate() for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0]
    assert outputs[0][0] == outputs[1][0]
    assert sum("tokenised" in messages for _, messages in outputs) == 1
    assert len(list(folder.glob("cache/*.h5"))) == 1 and not list(folder.glob("cache/*.lock"))
