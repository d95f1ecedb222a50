"""`bertdist replay RUN --step k` computes step k of a run under mpirun again, to the bit, in one process."""

import csv
import re
import shutil

import pytest
from reference.program import make_rows, run, save_bert, state_of, train, write_csv
from safetensors.torch import load_file

STEPS = 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replay")
    save_bert(folder / "model", dropout=0.2)
    write_csv(folder / "train.csv", make_rows(29))
    return folder


def train_run(folder, name, *, ranks, **options):
    options = {"global_batch_size": 6, "num_train_epochs": 2, "learning_rate": 2e-3, "logging_strategy": "steps",
               "logging_steps": 1, "save_strategy": "steps", "save_steps": 4, "train_file": folder / "train.csv",
               "num_threads": 1, **options}
    options = {key: value for key, value in options.items() if value is not None}
    train(folder / "model", folder / name, ranks=ranks, **options)
    return folder / name


def replay(run_folder, step, check=True, **options):
    return run("replay", str(run_folder), "--step", str(step), check=check, **options)


def numbers_of(output):
    return {name: float(re.search(rf"^{name} +(\S+)", output, re.MULTILINE)[1])
            for name in ("loss", "grad_norm", "learning_rate")}


def logged_step(run_folder, step):
    return next(entry for entry in state_of(run_folder)["log_history"] if entry["step"] == step and "loss" in entry)


def assert_is_step_of(run_folder, step, output):
    logged = logged_step(run_folder, step)
    assert numbers_of(output) == {name: logged[name] for name in ("loss", "grad_norm", "learning_rate")}, step
    assert output.count("as the run logged it") == 3


def rows_of(output, file):
    """[(rank, line, label, tokens, text)] as they are shown."""
    rows, rank = [], None
    for line in output.splitlines():
        if found := re.match(r"rank (\d+): ", line):
            rank = int(found[1])
        elif found := re.match(rf"{re.escape(str(file))}:(\d+) +(\d+) \S+ +(\d+)  (.*)$", line):
            rows.append((rank, int(found[1]), int(found[2]), int(found[3]), found[4]))
    return rows


def table_of(output):
    """{parameter: cells} of the table of parameters."""
    cells = [re.split(r" {2,}", line.strip()) for line in output.splitlines() if re.match(r"(bert|classifier)\.", line)]
    return {row[0]: row[1:] for row in cells}


def content(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("name, ranks, options", [
    ("full", 2, {"gradient_accumulation_steps": 2, "weight_decay": 0.1}),
    ("full", 3, {}),
    ("two_threads", 2, {"num_threads": 2}),
    ("head", 3, {"freeze": "base_except_pooler"}),
    ("head_of_one", 0, {"freeze": "base_except_pooler"}),
    ("last_layer", 2, {"freeze": "{first_layers = 1}"}),
    ("batch_of_a_rank", 2, {"global_batch_size": None, "per_device_train_batch_size": 3}),
])
def test_a_replayed_step_is_the_runs_to_the_bit(folder, name, ranks, options):
    directory = train_run(folder, f"{name}-{ranks}", ranks=ranks, **options)
    assert state_of(directory)["global_step"] == STEPS
    before = content(directory)
    for step, first in ((1, 1), (4, 1), (5, 5), (7, 5), (STEPS, 9)):
        result = replay(directory, step)
        assert_is_step_of(directory, step, result.stdout)
        assert f"replaying steps {first} to {step}: {max(ranks, 1)} rank" in result.stderr
    assert content(directory) == before, "a replay writes nothing into the run"


def test_a_run_without_checkpoints_is_replayed_from_its_start(folder):
    directory = train_run(folder, "no-checkpoints", ranks=2, save_strategy="no")
    result = replay(directory, 6)
    assert "replaying steps 1 to 6" in result.stderr
    assert_is_step_of(directory, 6, result.stdout)


def test_the_rows_shown_are_those_of_the_file(folder):
    directory = train_run(folder, "rows", ranks=2, save_steps=1)
    file = folder / "train.csv"
    with open(file, newline="") as lines:
        reader = csv.reader(lines)
        next(reader)
        expected = {reader.line_num: row for row in reader}
    seen = []
    for step in range(1, 6):
        shown = rows_of(replay(directory, step).stdout, file)
        assert {rank for rank, *_ in shown} == {0, 1} and len(shown) == (6 if step < 5 else 5)
        for _, line, label, tokens, text in shown:
            assert int(expected[line][1]) == label and tokens > 2
            assert text == (expected[line][0] if len(expected[line][0]) <= 60 else expected[line][0][:59] + "…")
        seen += [line for _, line, *_ in shown]
    assert sorted(seen) == sorted(expected), "an epoch has each row once"


@pytest.mark.parametrize("freeze", ["none", "base_except_pooler"])
@pytest.mark.parametrize("ranks", [0, 2])
def test_the_table_of_parameters_is_what_the_checkpoints_say(folder, freeze, ranks):
    directory = train_run(folder, f"table-{freeze}-{ranks}", ranks=ranks, save_steps=1, freeze=freeze, max_grad_norm=0)
    result = replay(directory, 3)
    table = table_of(result.stdout)

    def weights(step):
        files = sorted((directory / f"checkpoint-{step}").glob("model*.safetensors"))
        return {name: tensor for file in files for name, tensor in load_file(file).items()}

    before, after = weights(2), weights(3)
    assert table.keys() == before.keys()
    squares = 0.0
    for name, (shape, trainable, norm, gradient_norm, ratio) in table.items():
        assert shape == str(list(before[name].shape)) and float(norm) == pytest.approx(before[name].norm().item(), rel=1e-3)
        is_trained = freeze == "none" or "bert.pooler" in name or "classifier" in name
        assert trainable == ("yes" if is_trained else "no")
        if not is_trained:
            assert (gradient_norm, ratio) == ("-", "-")
            continue
        squares += float(gradient_norm) ** 2
        update = (after[name] - before[name]).norm().item()
        assert float(ratio) == pytest.approx(update / before[name].norm().item(), rel=1e-2)
    assert squares ** 0.5 == pytest.approx(numbers_of(result.stdout)["grad_norm"], rel=1e-3)


def test_a_step_is_replayed_as_the_part_of_the_run_that_computed_it(folder):
    """One run of two ranks, resumed with three and another learning rate."""
    whole = train_run(folder, "first-part", ranks=2)
    resumed = folder / "second-part"
    shutil.copytree(whole, resumed)
    shutil.rmtree(resumed / "checkpoint-8")
    shutil.rmtree(resumed / "checkpoint-10")
    train_run(folder, "second-part", ranks=3, learning_rate=1e-3, resume_from_checkpoint="latest")
    for step, ranks in ((3, 2), (6, 3), (10, 3)):
        result = replay(resumed, step)
        assert_is_step_of(resumed, step, result.stdout)
        assert f"{ranks} ranks of 1 thread, simulated" in result.stderr


def test_keys_win_over_what_the_run_saved(folder):
    directory = train_run(folder, "keys", ranks=2)
    moved = folder / "moved.csv"
    shutil.copy(folder / "train.csv", moved)
    result = replay(directory, 2, train_file=moved, learning_rate=0.5)
    assert str(moved) in result.stdout
    assert numbers_of(result.stdout)["loss"] != logged_step(directory, 2)["loss"], "step 1 had that rate too"
    assert "the run logged" in result.stdout


def test_what_cannot_be_replayed_says_so(folder):
    directory = train_run(folder, "errors", ranks=2)

    def fails(code, *facts, step=2, run_folder=directory, **options):
        result = replay(run_folder, step, check=False, **options)
        assert result.returncode == code, result.stderr
        for fact in facts:
            assert fact in result.stderr, result.stderr

    fails(2, f"there is no run '{folder / 'none'}'", run_folder=folder / "none")
    fails(2, "is not the output_dir of a training: it has no config.toml", run_folder=folder / "model")
    fails(2, f"--step {STEPS + 1}: the run in '{directory}' has {STEPS} steps", f"from 1 to {STEPS}", step=STEPS + 1)
    fails(2, "--step: expected a whole number above 0, not 0", step=0)
    result = run("replay", str(directory), check=False)
    assert result.returncode == 2 and "--step is missing" in result.stderr
    result = run("replay", "--step", "1", check=False)
    assert result.returncode == 2 and "no run to replay is named" in result.stderr
    result = run("replay", str(directory), "--step", "1", ranks=2, check=False)
    assert result.returncode == 2 and "debug mode is one process, not 2" in result.stderr

    text = (folder / "train.csv").read_text()
    changed = folder / "changed.csv"
    changed.write_text(text + "another,1\n")
    fails(3, f"the training rows changed since the run in '{directory}'", str(changed), "bring back the file",
          train_file=changed)
    head = train_run(folder, "errors-head", ranks=2, freeze="base_except_pooler")
    other = save_bert(folder / "other", seed=1)
    fails(4, f"the frozen weights of '{other}' are not those of the run", run_folder=head, model_name_or_path=other)


def test_help_is_there():
    result = run("replay", "--help")
    assert "bertdist replay RUN --step K" in result.stdout
    assert run("help", "replay").stdout == result.stdout


def test_a_replay_is_debug_mode(folder, tmp_path):
    """Its times, a trace of the last steps, and the check of gradients."""
    out = train_run(folder, "looked_at", ranks=2)
    done = replay(out, 7, **{"debug.trace": tmp_path / "trace.json", "debug.check_gradients": True})
    assert_is_step_of(out, 7, done.stdout)
    assert "phase of a step" in done.stdout and "a trace of 3 steps is in" in done.stdout
    assert '"backward"' in (tmp_path / "trace.json").read_text()
    assert "agree with finite differences" in done.stderr
