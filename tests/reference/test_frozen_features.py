"""What frozen layers make of a row is computed once, kept in a file, and found there by whoever needs the same."""

import csv
import json
import signal
import subprocess
import time

import h5py
import numpy as np
import pytest
from program import ENVIRONMENT, WITH_PERMISSIONS, command, losses_of, make_rows, run, save_bert, state_of, write_csv
from transformers import AutoTokenizer

FREEZE = {"whole": "base_except_pooler", "part": "{first_layers = 1}"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    save_bert(folder / "model", dropout=0.2)
    save_bert(folder / "other_model", seed=1, dropout=0.2)
    rows = make_rows(300)
    write_csv(folder / "train.csv", rows + rows[:50])  # every seventh text comes twice
    write_csv(folder / "validation.csv", make_rows(40, seed=1))
    return folder


def options_for(folder, output_dir, **options):
    return {"model_name_or_path": folder / "model", "output_dir": output_dir, "num_threads": 1,
            "train_file": folder / "train.csv", "validation_file": folder / "validation.csv", "global_batch_size": 8,
            "num_train_epochs": 2, "learning_rate": 2e-3, "logging_strategy": "steps", "logging_steps": 1,
            "eval_strategy": "epoch", "save_strategy": "no", **options}


def train_with(folder, output_dir, ranks=0, check=True, **options):
    return run("train", ranks=ranks, check=check, **options_for(folder, output_dir, **options))


def feature_files(cache):
    found = []
    for path in sorted(cache.glob("*.h5")):
        with h5py.File(path) as file:
            kind = file.attrs["file_type"]
            if (kind if isinstance(kind, str) else kind.decode()) == "bertdist feature cache":
                found.append(path)
    return found


def everything_of(output_dir):
    history = state_of(output_dir)["log_history"]
    return [{key: value for key, value in entry.items() if "runtime" not in key and "per_second" not in key}
            for entry in history]


@pytest.mark.parametrize("freeze", FREEZE)
def test_a_second_run_finds_the_files_and_computes_nothing(folder, tmp_path, freeze):
    options = {"freeze": FREEZE[freeze], "token_cache_dir": tmp_path / "cache"}
    first = train_with(folder, tmp_path / "first", **options)
    with open(folder / "train.csv", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    rows = {tuple(ids) for ids in tokenizer(texts, truncation=True, max_length=48).input_ids}
    assert len(rows) <= 300
    assert f"{len(rows)} distinct rows of 350, {sum(map(len, rows))} tokens" in first.stderr
    assert "kept on disk" in first.stderr
    files = feature_files(tmp_path / "cache")
    assert len(files) == 2
    stamps = [(path.stat().st_mtime_ns, path.stat().st_ino) for path in files]

    second = train_with(folder, tmp_path / "second", **options)
    assert second.stderr.count("output of the frozen layers found") == 2
    assert [(path.stat().st_mtime_ns, path.stat().st_ino) for path in files] == stamps
    assert everything_of(tmp_path / "second") == everything_of(tmp_path / "first")

    train_with(folder, tmp_path / "memory", **{**options, "feature_cache_max_gb": 0, "token_cache_dir": tmp_path / "m"})
    assert feature_files(tmp_path / "m") == []
    assert everything_of(tmp_path / "memory") == everything_of(tmp_path / "first")


@pytest.mark.parametrize("freeze", FREEZE)
def test_the_file_does_not_depend_on_the_number_of_ranks(folder, tmp_path, freeze):
    contents = []
    for ranks in (0, 1, 2, 3):
        cache = tmp_path / f"cache{ranks}"
        train_with(folder, tmp_path / f"out{ranks}", ranks=ranks, freeze=FREEZE[freeze], token_cache_dir=cache)
        contents.append({path.name: path.read_bytes() for path in feature_files(cache)})
        assert losses_of(tmp_path / f"out{ranks}") == pytest.approx(losses_of(tmp_path / "out0"), abs=1e-5, rel=0)
    assert len(contents[0]) == 2
    assert all(content == contents[0] for content in contents)


def test_what_decides_the_features_decides_the_file(folder, tmp_path):
    cache = tmp_path / "cache"

    def new_files(**options):
        before = set(feature_files(cache)) if cache.exists() else set()
        result = train_with(folder, tmp_path / "out", token_cache_dir=cache, max_steps=1, eval_strategy="no",
                            overwrite_output_dir=True, **{"freeze": FREEZE["whole"], **options})
        return len(set(feature_files(cache)) - before), result.stderr

    assert new_files()[0] == 2
    assert new_files(learning_rate=1e-4, seed=7)[0] == 0
    count, log = new_files(dtype="bfloat16")
    assert count == 2 and "dtype float32 -> bfloat16" in log
    count, log = new_files(dtype="bfloat16", freeze=FREEZE["part"])
    assert count == 2 and "all tokens after layer 1" in log
    count, log = new_files(dtype="bfloat16", freeze=FREEZE["part"], model_name_or_path=folder / "other_model")
    assert count == 2 and "the weights changed" in log
    count, log = new_files(dtype="bfloat16", freeze=FREEZE["part"], model_name_or_path=folder / "other_model",
                           max_train_samples=100)
    assert count == 1 and "the tokens changed" in log


def test_a_cache_that_cannot_be_written_is_used_as_far_as_it_goes(folder, tmp_path):
    cache = tmp_path / "cache"
    options = {"freeze": FREEZE["whole"], "token_cache_dir": cache}
    wanted = options_for(folder, tmp_path / "out", **options)
    run("prepare", **{key: wanted[key] for key in ("model_name_or_path", "train_file", "validation_file", "token_cache_dir")})

    def train_read_only(name, ranks):
        for place in (cache, cache / "by_source"):
            place.chmod(0o555)
        done = train_with(folder, tmp_path / name, ranks=ranks, launcher=WITH_PERMISSIONS, **options)
        for place in (cache, cache / "by_source"):
            place.chmod(0o755)
        assert done.stderr.count("warning: ") == 1, done.stderr
        assert f"warning: '{cache}' cannot be written: the frozen layers' output" in done.stderr.replace("[rank 0] ", "")
        return done.stderr

    for ranks in (0, 2):
        assert train_read_only(f"memory{ranks}", ranks).count(": kept in memory\n") == 2
    assert feature_files(cache) == []
    train_with(folder, tmp_path / "disk", **options)
    assert len(feature_files(cache)) == 2
    assert everything_of(tmp_path / "disk") == everything_of(tmp_path / "memory0")
    assert train_read_only("found", 0).count("output of the frozen layers found") == 2


def test_damage_is_named(folder, tmp_path):
    cache = tmp_path / "cache"
    options = {"freeze": FREEZE["part"], "token_cache_dir": cache, "max_steps": 1, "eval_strategy": "no"}
    train_with(folder, tmp_path / "out", **options)
    path = max(feature_files(cache), key=lambda path: path.stat().st_size)
    good = path.read_bytes()
    with h5py.File(path) as file:
        begin, size = file["features"].id.get_offset(), file["features"].nbytes
        assert file["checksums"].shape == (-(-size // (256 << 10)),) and size > 2 * (256 << 10)

    def message():
        result = train_with(folder, tmp_path / "again", check=False, **options)
        assert result.returncode != 0 and "delete it and run again" in result.stderr
        assert str(path) in result.stderr
        return result.stderr

    for place in (begin, begin + (300 << 10), begin + size - 1):
        bad = bytearray(good)
        bad[place] ^= 1
        path.write_bytes(bad)
        assert f"checksum of block {(place - begin) // (256 << 10)} of" in message()
    path.write_bytes(good[: len(good) // 2])
    message()
    path.write_bytes(good)
    with h5py.File(path, "a") as file:
        file.attrs["weights"] = np.bytes_("0" * 32)
    assert f"its weights is {'0' * 32}, not " in message()
    path.write_bytes(good)
    train_with(folder, tmp_path / "good", **options)


def test_two_jobs_at_once_and_a_killed_one(folder, tmp_path):
    cache = tmp_path / "cache"
    options = {"freeze": FREEZE["whole"], "token_cache_dir": cache}
    run("prepare", **{key: value for key, value in options_for(folder, tmp_path / "none", **options).items()
                      if key in ("model_name_or_path", "train_file", "validation_file", "token_cache_dir")})

    def start(name):
        return subprocess.Popen(command("train", **options_for(folder, tmp_path / name, **options)), env=ENVIRONMENT,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    killed = start("killed")
    for _ in range(600):  # while it holds the lock, or as soon as it has a file
        if list(cache.glob(".*.tmp")) or feature_files(cache):
            break
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()

    jobs = [start("one"), start("two")]
    for job in jobs:
        _, log = job.communicate(timeout=120)
        assert job.returncode == 0, log.decode()
    assert len(feature_files(cache)) == 2 and not list(cache.glob(".*.tmp"))
    assert everything_of(tmp_path / "one") == everything_of(tmp_path / "two")


def test_bfloat16_is_near_float32(folder, tmp_path):
    for dtype in ("float32", "bfloat16"):
        train_with(folder, tmp_path / dtype, freeze=FREEZE["whole"], dtype=dtype, token_cache_dir=tmp_path / "cache")
    losses = [np.array(losses_of(tmp_path / dtype)) for dtype in ("float32", "bfloat16")]
    # This model's weights are ten times those of a trained one, and so are its roundings.
    np.testing.assert_allclose(losses[1], losses[0], atol=0.03, rtol=0)
    assert np.abs(losses[1] - losses[0]).max() > 1e-6, "was this computed in bfloat16?"


def test_evaluate_and_train_agree(folder, tmp_path):
    train_with(folder, tmp_path / "out", freeze=FREEZE["whole"], token_cache_dir=tmp_path / "cache")
    result = run("evaluate", model_name_or_path=tmp_path / "out", test_file=folder / "validation.csv",
                 token_cache_dir=tmp_path / "cache", output_dir=tmp_path / "evaluation")
    ours = json.loads((tmp_path / "evaluation" / "eval_results.json").read_text())
    expected = [entry for entry in state_of(tmp_path / "out")["log_history"] if "eval_loss" in entry][-1]
    assert ours["eval_loss"] == pytest.approx(expected["eval_loss"], abs=1e-6), result.stdout
    assert ours["eval_accuracy"] == expected["eval_accuracy"]
