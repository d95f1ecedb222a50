"""Failures as a user meets them: each class has its exit code, says what is wrong and what to do, and ends every rank."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from reference.program import WITH_PERMISSIONS
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForSequenceClassification

BERTDIST = os.environ["BERTDIST"]
CONFIGURATION, DATA, MODEL, OUTPUT, COMMUNICATION, DEVICE = 2, 3, 4, 5, 6, 8
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "text", "of", "words"]
ROWS = ["good text,0", "bad text,1", "good words,0", "bad words,1", "good,0", "bad,1"]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=32,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return folder


@pytest.fixture()
def table(tmp_path) -> Path:
    path = tmp_path / "train.csv"
    path.write_text("text,label\n" + "\n".join(ROWS) + "\n")
    return path


def train(tmp_path: Path, *options: object, ranks: int = 0, launcher=()) -> subprocess.CompletedProcess:
    if ranks:
        launcher = [os.environ["MPIRUN"], "-np", str(ranks)]
    command = [*launcher, BERTDIST, "--output_dir", tmp_path / "out", "--token_cache_dir", tmp_path / "cache",
               "--num_train_epochs", 1, *options]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)


def assert_fails(done: subprocess.CompletedProcess, exit_code: int, *facts: str) -> None:
    assert done.returncode == exit_code, done.stderr
    assert "error: " in done.stderr
    for fact in facts:
        assert fact in done.stderr, done.stderr


def test_good_input_trains(tmp_path, model, table):
    done = train(tmp_path, "--model_name_or_path", model, "--train_file", table)
    assert done.returncode == 0, done.stderr


def test_the_parameter_table_folds_layers_that_are_alike(tmp_path, table):
    config = BertConfig(vocab_size=len(WORDS), hidden_size=8, num_hidden_layers=4, num_attention_heads=2,
                        intermediate_size=16, max_position_embeddings=32)
    four_layers = BertForSequenceClassification(config)
    four_layers.save_pretrained(tmp_path / "four_layers")
    (tmp_path / "four_layers" / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    done = train(tmp_path, "--model_name_or_path", tmp_path / "four_layers", "--train_file", table,
                 "--freeze", "{first_layers = 3}")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith(("bert.", "classifier."))]
    trainable = {row[0]: row[-1] for row in rows}
    assert trainable["bert.encoder.layer.0-2.output.dense.weight"] == "no"
    assert trainable["bert.encoder.layer.3.output.dense.weight"] == "yes"
    assert len(rows) == len(trainable) == len(list(four_layers.named_parameters())) - 2 * 16
    frozen = ("bert.embeddings.", *(f"bert.encoder.layer.{layer}." for layer in range(3)))
    total = sum(parameter.numel() for parameter in four_layers.parameters())
    trained = sum(parameter.numel() for name, parameter in four_layers.named_parameters()
                  if not name.startswith(frozen))
    assert f"trainable parameters: {trained:,} of {total:,} " in done.stdout


@pytest.mark.parametrize(
    ("options", "exit_code", "facts"),
    [
        (["--lerning_rate", "1"], CONFIGURATION, ["learning_rate"]),
        (["--learning_rate", "fast"], CONFIGURATION, ["learning_rate"]),
        (["--max_seq_length", "33"], CONFIGURATION, ["33", "32 positions"]),
        (["--text_column", "txt"], DATA, ["txt", "text"]),
        (["--freeze", '["no.such.*"]'], CONFIGURATION, ["no.such.*"]),
        (["--freeze.first_layers", "2"], CONFIGURATION, ["first_layers = 2", "1 layers"]),
        (["--freeze", '["*"]'], CONFIGURATION, ["every parameter is frozen"]),
    ],
)
def test_wrong_options(tmp_path, model, table, options, exit_code, facts):
    assert_fails(train(tmp_path, "--model_name_or_path", model, "--train_file", table, *options), exit_code, *facts)
    assert not (tmp_path / "out").exists()
    assert not list((tmp_path / "cache").glob("*.h5")), "wrong options are found before anything is tokenised"


@pytest.mark.parametrize(
    ("content", "facts"), [(None, []), ("", []), ("text,label\n", ["has no rows, only a header"]), ("text,label\ngood,0,1\nbad,1\ngood,0\n", [":2"]),
                         ("text,label\ngood,0\n\nbad\n", [":4", "number of fields: 1"])]
)
def test_unusable_tables(tmp_path, model, content, facts):
    path = tmp_path / "broken.csv"
    if content is not None:
        path.write_text(content)
    assert_fails(train(tmp_path, "--model_name_or_path", model, "--train_file", path), DATA, "broken.csv", *facts)


def test_a_full_disk(tmp_path, model, table):
    if not Path("/dev/full").exists():
        pytest.fail("this test needs /dev/full")
    done = subprocess.run([BERTDIST, "predict", "--model_name_or_path", model, "--test_file", table],
                          stdout=open("/dev/full", "w"), stderr=subprocess.PIPE, text=True, timeout=120)
    assert_fails(done, OUTPUT, "the disk or the quota is full")


def test_standard_output_that_cannot_be_written(tmp_path, model, table):
    for arguments in (["--help"], ["evaluate", "--model_name_or_path", model, "--test_file", table,
                                   "--token_cache_dir", tmp_path / "cache"]):
        done = subprocess.run(list(map(str, [BERTDIST, *arguments])), stdout=open("/dev/full", "w"),
                              stderr=subprocess.PIPE, text=True, timeout=120)
        assert_fails(done, OUTPUT, "is full")


@pytest.mark.parametrize("options", [["--num_threads", 100_000], ["--num_train_epochs", "1e300"],
                                     ["--per_device_train_batch_size", 2**62]])
def test_numbers_beyond_all_use_are_refused(tmp_path, model, table, options):
    done = train(tmp_path, "--model_name_or_path", model, "--train_file", table, *options)
    assert_fails(done, CONFIGURATION, options[0].removeprefix("--"), "expected a")


def test_pairs_need_two_token_types(tmp_path, model, table):
    one_type = tmp_path / "one_type"
    shutil.copytree(model, one_type)
    config = json.loads((one_type / "config.json").read_text())
    (one_type / "config.json").write_text(json.dumps({**config, "type_vocab_size": 1}))
    done = train(tmp_path, "--model_name_or_path", one_type, "--train_file", table, "--text_pair_column", "text")
    assert_fails(done, MODEL, "token type", "text_pair_column")


def test_another_problem_type_is_refused_and_never_kept(tmp_path, model, table):
    other = tmp_path / "multi_label"
    shutil.copytree(model, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "problem_type": "multi_label_classification"}))
    done = subprocess.run([BERTDIST, "predict", "--model_name_or_path", other, "--test_file", table],
                          capture_output=True, text=True, timeout=120)
    assert_fails(done, MODEL, "multi_label_classification")
    assert train(tmp_path, "--model_name_or_path", other, "--train_file", table).returncode == 0
    assert json.loads((tmp_path / "out" / "config.json").read_text())["problem_type"] == "single_label_classification"


def test_a_fine_tuned_checkpoint_keeps_its_labels(tmp_path, model, table):
    named = tmp_path / "named.csv"
    named.write_text("text,label\ngood,Safe\nbad,Not Safe\ngood text,Safe\n")
    options = ["--train_file", named, "--id2label", '["Safe", "Not Safe"]']
    assert train(tmp_path, "--model_name_or_path", model, *options).returncode == 0
    (tmp_path / "out").rename(tmp_path / "first")
    done = train(tmp_path, "--model_name_or_path", tmp_path / "first", "--train_file", named)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out" / "config.json").read_text())["id2label"] == {"0": "Safe", "1": "Not Safe"}


def test_the_command_line_wins_over_a_key_of_the_file_that_excludes_it(tmp_path, model, table):
    config = tmp_path / "run.toml"
    config.write_text("per_device_train_batch_size = 4\n")
    options = ["--config", config, "--model_name_or_path", model, "--train_file", table]
    done = train(tmp_path, *options, "--global_batch_size", 2)
    assert done.returncode == 0 and "global batch 2:" in done.stderr, done.stderr
    config.write_text("per_device_train_batch_size = 4\nglobal_batch_size = 2\n")
    assert_fails(train(tmp_path, *options, "--overwrite_output_dir"), CONFIGURATION, "exclude each other")


def test_ranks_that_disagree_change_nothing(tmp_path, model, table):
    common = ["--model_name_or_path", model, "--train_file", table, "--output_dir", tmp_path / "out",
              "--token_cache_dir", tmp_path / "cache", "--num_train_epochs", 1]
    assert train(tmp_path, *common[:4]).returncode == 0
    before = {path.name for path in (tmp_path / "out").iterdir()}
    line = [os.environ["MPIRUN"], "-np", 1, BERTDIST, *common, "--overwrite_output_dir", "--seed", 1,
            ":", "-np", 1, BERTDIST, *common, "--overwrite_output_dir", "--seed", 2]
    done = subprocess.run(list(map(str, line)), capture_output=True, text=True, timeout=120)
    assert_fails(done, COMMUNICATION, "rank 1 differs from rank 0 in seed (2, rank 0: 1)\n")
    assert {path.name for path in (tmp_path / "out").iterdir()} == before


def test_ranks_with_other_commands_or_options_end_before_anything_is_read(tmp_path, table):
    options = ["--model_name_or_path", tmp_path / "no model", "--train_file", table, "--output_dir", tmp_path / "out",
               "--token_cache_dir", tmp_path / "cache"]
    parts = [["prepare", *options], ["train", *options], ["prepare", *options, "--learning_rate", "1e-3"], ["prepare", *options]]
    line = [os.environ["MPIRUN"]]
    for part in parts:
        line += ["-np", 1, BERTDIST, *part, ":"]
    done = subprocess.run(list(map(str, line[:-1])), capture_output=True, text=True, timeout=120)
    assert_fails(done, COMMUNICATION, "rank 1 differs from rank 0 in command (train, rank 0: prepare); rank 2 differs from "
                 "rank 0 in learning_rate (0.001, rank 0: 5e-5)", "start all ranks")
    assert not (tmp_path / "cache").exists()


def test_a_label_that_training_did_not_have(tmp_path, model, table):
    validation = tmp_path / "validation.csv"
    validation.write_text("text,label\ngood,0\nbad,7\n")
    done = train(tmp_path, "--model_name_or_path", model, "--train_file", table, "--validation_file", validation)
    assert_fails(done, DATA, "validation.csv", "7")


def test_one_class_has_no_auc_but_a_warning(tmp_path, model, table):
    validation = tmp_path / "validation.csv"
    validation.write_text("text,label\ngood,0\nbad,0\n")
    done = train(tmp_path, "--model_name_or_path", model, "--train_file", table, "--validation_file", validation)
    assert done.returncode == 0, done.stderr
    (warning,) = [line for line in done.stderr.splitlines() if "AUC" in line]
    assert warning.startswith("warning: ") and "validation.csv" in warning and "undefined" in warning
    assert json.loads((tmp_path / "out" / "eval_results.json").read_text())["eval_auc"] is None


def test_one_step_is_no_plural(tmp_path, model, table):
    done = train(tmp_path, "--model_name_or_path", model, "--train_file", table, "--global_batch_size", 6)
    assert "6 training rows, global batch 6: 1 step an epoch, 1 in all" in done.stderr


def test_more_ranks_than_rows(tmp_path, model, table):
    table.write_text("text,label\ngood,0\nbad,1\n")
    done = train(tmp_path, "--model_name_or_path", model, "--train_file", table, ranks=4)
    assert done.returncode == 0, done.stderr


def test_weights_that_do_not_fit(tmp_path, model, table):
    broken = Path(shutil.copytree(model, tmp_path / "broken"))
    config = json.loads((broken / "config.json").read_text())
    config["intermediate_size"] = 20
    (broken / "config.json").write_text(json.dumps(config))
    done = train(tmp_path, "--model_name_or_path", broken, "--train_file", table)
    assert_fails(done, MODEL, "intermediate", "16", "20", "model.safetensors")
    assert not (tmp_path / "cache").exists(), "weights are held against their config.json before anything is tokenised"


def test_tensors_that_are_not_used_are_listed(tmp_path, model, table):
    pretrained = Path(shutil.copytree(model, tmp_path / "pretrained"))
    tensors = load_file(pretrained / "model.safetensors")
    extra = {"cls.predictions.bias": torch.zeros(len(WORDS)), "cls.seq_relationship.weight": torch.zeros(2, 8)}
    save_file({**tensors, **extra}, pretrained / "model.safetensors", metadata={"format": "pt"})
    done = train(tmp_path, "--model_name_or_path", pretrained, "--train_file", table)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "not used" in line]
    assert line == f"not used from '{pretrained}': cls.predictions.bias, cls.seq_relationship.weight"
    done = train(tmp_path, "--model_name_or_path", model, "--train_file", table, "--overwrite_output_dir")
    assert done.returncode == 0 and "not used" not in done.stderr, done.stderr


def test_truncated_weights(tmp_path, model, table):
    broken = Path(shutil.copytree(model, tmp_path / "broken"))
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5])
    assert_fails(train(tmp_path, "--model_name_or_path", broken, "--train_file", table), MODEL, "model.safetensors")


@pytest.mark.parametrize("num_files", [1, 2])
def test_the_printed_command_converts_old_weights_as_they_are(tmp_path, model, table, num_files):
    old = Path(shutil.copytree(model, tmp_path / "old"))
    weights = load_file(old / "model.safetensors")
    (old / "model.safetensors").unlink()
    names = sorted(name for name in weights if not name.startswith("classifier."))
    for number in range(num_files):
        file = "pytorch_model.bin" if num_files == 1 else f"pytorch_model-{number + 1:05}-of-{num_files:05}.bin"
        torch.save({name: weights[name] for name in names[number::num_files]}, old / file)
    if num_files > 1:
        (old / "pytorch_model.bin.index.json").write_text("{}")
    options = ["--model_name_or_path", old, "--train_file", table]
    done = train(tmp_path, *options)
    assert_fails(done, MODEL, "pytorch_model.bin", "python3 -c")
    (hint,) = [line for line in done.stderr.splitlines() if "hint: " in line]
    subprocess.run(hint[hint.index("python3") :].replace("python3", sys.executable, 1), shell=True, check=True)
    converted = load_file(old / "model.safetensors")
    assert sorted(converted) == names and all(torch.equal(converted[name], weights[name]) for name in names)
    assert train(tmp_path, *options).returncode == 0


def test_a_flipped_byte_in_the_token_cache(tmp_path, model, table):
    options = ["--model_name_or_path", model, "--train_file", table]
    assert train(tmp_path, *options).returncode == 0
    (cache,) = (tmp_path / "cache").glob("*.h5")
    content = bytearray(cache.read_bytes())
    position = content.index(bytes([2, 0, 5, 0]))  # [CLS] good
    content[position] ^= 1
    cache.write_bytes(content)
    assert_fails(train(tmp_path, *options, "--overwrite_output_dir"), DATA, cache.name)


def test_output_folder_that_cannot_be(tmp_path, model, table):
    (tmp_path / "out").write_text("a file, not a folder")
    done = train(tmp_path, "--model_name_or_path", model, "--train_file", table, "--overwrite_output_dir")
    assert_fails(done, OUTPUT, "out")


def test_a_read_only_output_folder(tmp_path, model, table):
    (tmp_path / "out").mkdir()
    (tmp_path / "out").chmod(0o555)
    for output_dir in (tmp_path / "out", tmp_path / "out" / "below"):
        done = train(tmp_path, "--model_name_or_path", model, "--train_file", table, "--output_dir", output_dir,
                     launcher=WITH_PERMISSIONS)
        assert_fails(done, OUTPUT, f"cannot write into '{tmp_path / 'out'}': Permission denied", "choose another output_dir")
    assert not (tmp_path / "cache").exists(), "found before anything is tokenised"


def test_output_folder_in_use_is_left_alone(tmp_path, model, table):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    options = ["--model_name_or_path", model, "--train_file", table]
    assert_fails(train(tmp_path, *options), OUTPUT, "not empty", "overwrite_output_dir")
    (tmp_path / "out" / "eval_results.json").write_text("{}")
    assert_fails(train(tmp_path, "--model_name_or_path", model, "--train_file", tmp_path / "none.csv",
                       "--overwrite_output_dir"), DATA, "none.csv")
    assert (tmp_path / "out" / "eval_results.json").exists(), "a run that cannot start takes nothing away"
    assert train(tmp_path, *options, "--overwrite_output_dir").returncode == 0
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_too_little_memory(tmp_path, model, table):
    table.write_text("text,label\n" + "".join(f"{'good ' * 30},{row % 2}\n" for row in range(20_000)))
    wide = Path(shutil.copytree(model, tmp_path / "wide"))
    config = BertConfig.from_pretrained(model, hidden_size=128, intermediate_size=512)
    BertForSequenceClassification(config).save_pretrained(wide)
    options = ["--model_name_or_path", wide, "--train_file", table, "--global_batch_size", 20_000]
    done = train(tmp_path, *options, launcher=["prlimit", f"--as={2 << 30}"])
    assert_fails(done, DEVICE, "out of memory", "batch")


def test_a_failure_ends_all_ranks_and_is_told_once(tmp_path, model):
    done = train(tmp_path, "--model_name_or_path", model, "--train_file", tmp_path / "none.csv", ranks=3)
    assert_fails(done, DATA, "[rank 0] error: ", "hint: ")
    assert done.stderr.count("none.csv") <= 2
