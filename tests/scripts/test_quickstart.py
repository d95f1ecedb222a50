"""launcher/quickstart on a machine of stand-ins: which steps it takes, in which order and with which arguments."""

import re
import subprocess
import tomllib

import pytest

from scripts.machine import PROJECT, Machine


@pytest.fixture
def machine(tmp_path):
    machine = Machine(tmp_path)
    machine.add_program("ninja", 'mkdir -p build/cpu/bin; cp "$MACHINE/bin/bertdist" "$2/bin/bertdist"')
    machine.add_program("cmake", 'mkdir -p "$4/bin"; touch "$4/build.ninja"')
    machine.add_program("bertdist", "[[ $1 != predict ]] || cat >> $MACHINE/predicted")
    (machine.project / "models" / "all-MiniLM-L6-v2").mkdir(parents=True)
    return machine


def bertdist_calls(machine):
    return [call for call in machine.calls() if call.startswith(("bertdist", "mpirun"))]


def test_prepares_trains_and_predicts(machine):
    result = machine.run("launcher/quickstart", "--num_train_epochs", "1")
    assert result.returncode == 0, result.stderr
    prepare, train, predict = bertdist_calls(machine)
    assert prepare.startswith("bertdist prepare --config configs/quickstart.toml")
    assert train.startswith("mpirun -np 2 ") and "--bind-to none" in train
    assert train.endswith("bin/bertdist --config configs/quickstart.toml --num_train_epochs 1")
    assert "--model_name_or_path runs/quickstart" in predict
    lines = (machine.folder / "predicted").read_text().splitlines()
    assert lines[0] == "text" and len(lines) == 4


@pytest.mark.parametrize("processors", [1, 2, 64])
def test_two_ranks_have_slots_where_two_processors_are_one_core(machine, processors):
    machine.add_program("nproc", f"echo {processors}")
    # As OpenMPI does: hardware threads are no slots.
    machine.add_program("mpirun", '[[ " $* " == *" --oversubscribe "* ]] || { echo "not enough slots" >&2; exit 1; }')
    result = machine.run("launcher/quickstart")
    assert result.returncode == 0, result.stderr
    assert len(bertdist_calls(machine)) == 3


def test_the_users_own_file(machine, tmp_path):
    (tmp_path / "mine.csv").write_text("url,class\na,1\n")
    result = machine.run("launcher/quickstart", "--train_file", str(tmp_path / "mine.csv"), "--text_column", "url")
    assert result.returncode == 0, result.stderr
    train = bertdist_calls(machine)[1]
    assert f"--train_file {tmp_path / 'mine.csv'}" in train
    assert "--validation_split 0.2" in train and "--text_column url" in train
    assert "--output_dir runs/quickstart_own_file" in train, "the sample's model is not replaced"
    assert "--model_name_or_path runs/quickstart_own_file " in bertdist_calls(machine)[2]
    config = tomllib.loads((machine.project / train.split("--config ")[1].split()[0]).read_text())
    sample = tomllib.loads((machine.project / "configs" / "quickstart.toml").read_text())
    assert sample.keys() - config.keys() == {"train_file", "validation_file", "test_file", "id2label"}
    assert (machine.folder / "predicted").read_text().startswith("url\n")


@pytest.mark.parametrize("output_dir", [["--output_dir=runs/mine"], ["--output-dir", "runs/mine"]])
def test_keys_reach_bertdist_however_they_are_written(machine, output_dir):
    result = machine.run("launcher/quickstart", *output_dir, "--overwrite_output_dir", "--num_train_epochs=1", "--header")
    assert result.returncode == 0, result.stderr
    prepare, train, predict = bertdist_calls(machine)
    given = " ".join([*output_dir, "--overwrite_output_dir", "--num_train_epochs=1", "--header"])
    assert prepare.endswith(f" {given}") and train.endswith(f" {given}")
    assert "--model_name_or_path runs/mine " in predict


@pytest.mark.parametrize("options, device", [
    (["--cpu"], "cpu"), (["--cpu", "--device=auto"], "auto"), (["--device", "cpu"], "cpu"), ([], None)], ids=str)
def test_the_device_reaches_training_and_prediction(machine, options, device):
    machine.add_program("nvidia-smi", "exit 1" if device is None else "")
    result = machine.run("launcher/quickstart", *options, *(["--cuda"] if options == ["--device", "cpu"] else []),
                         "--dry-run")
    assert result.returncode == 0, result.stderr
    calls = [line for line in result.stdout.splitlines() if "bin/bertdist" in line and "would run" in line]
    _, train, predict = [re.findall(r"--device[ =](\S+)", line) for line in calls[-3:]]
    assert train == predict == ([device] if device else [])


def test_the_users_own_file_behind_an_equals_sign(machine, tmp_path):
    (tmp_path / "mine.csv").write_text("url,class\na,1\n")
    result = machine.run("launcher/quickstart", f"--train_file={tmp_path / 'mine.csv'}", "--text_column=url")
    assert result.returncode == 0, result.stderr
    assert f"--train_file {tmp_path / 'mine.csv'} --validation_split 0.2 --text_column=url" in bertdist_calls(machine)[1]
    assert (machine.folder / "predicted").read_text().startswith("url\n")


def test_a_validation_file_of_ones_own_leaves_no_split(machine, tmp_path):
    for name in ("train.csv", "validation.csv", "test.csv"):
        (tmp_path / name).write_text("text,label\na,1\n")
    result = machine.run("launcher/quickstart", "--train_file", "train.csv", "--validation_file=validation.csv",
                         "--test-file", "test.csv", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    prepare, train, _ = bertdist_calls(machine)
    files = " ".join(f"--{name}_file {tmp_path / name}.csv" for name in ("train", "validation", "test"))
    assert prepare.endswith(files) and train.endswith(files)
    assert "validation_split" not in "".join(machine.calls())


@pytest.mark.parametrize("key", ["--output_dir", "--text_column", "--train_file", "--validation_file", "--device", "--jobs"])
def test_a_key_without_its_value_is_named_before_anything_is_done(machine, key):
    result = machine.run("launcher/quickstart", key)
    assert result.returncode == 1 and f"option {key} needs a value" in result.stderr
    assert machine.calls() == []


def test_a_dry_run_prints_what_a_run_does(machine):
    dry = machine.run("launcher/quickstart", "--dry-run", "--seed", "3")
    printed = [line.removeprefix("would run: ").replace("\\", "") for line in dry.stdout.splitlines()]
    machine.run("launcher/quickstart", "--seed", "3")
    # The log has a program's name without its folder.
    assert bertdist_calls(machine) == [line.removeprefix("bin/") for line in printed
                                       if line.startswith(("bin/bertdist", "mpirun"))]
    assert len(bertdist_calls(machine)) == 3


def test_a_dry_run_runs_nothing(machine):
    result = machine.run("launcher/quickstart", "--dry-run")
    assert result.returncode == 0, result.stderr
    assert machine.calls() == []
    for step in ("pip install", "ninja", "bertdist prepare", "mpirun", "bertdist predict"):
        assert step in result.stdout
    assert result.stdout.count("with this input: ") == 4 and "with this input: http://secure-" in result.stdout


def test_a_file_that_cannot_be_read_is_named_before_anything_is_done(machine):
    result = machine.run("launcher/quickstart", "--train_file", "/nowhere.csv")
    assert result.returncode == 1 and "cannot read the file '/nowhere.csv'" in result.stderr
    assert machine.calls() == []


@pytest.mark.parametrize("script", ["launcher/setup", "launcher/fetch", "launcher/quickstart", "tests/run"])
def test_help_is_the_comment_at_the_top(script):
    result = subprocess.run([PROJECT / script, "--help"], capture_output=True, text=True, check=True)
    assert result.stdout.startswith(f"Usage: {script} ")
    assert "set -euo" not in result.stdout and "shellcheck" not in result.stdout
