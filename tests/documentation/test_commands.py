"""The commands of README.md and docs/tutorial.md, as they stand there, and what they print."""

import contextlib
import csv
import io
import itertools
import json
import re

import pytest
import transformers
from documentation.project import PROJECT, Project, blocks, missing_lines, sessions

# The documents show one machine's digits; another processor's roundings grow a little in some hundred steps.
TOLERANCE = 0.01


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """After ./launcher/quickstart, the README's first command, whose steps are all real but for the installation."""
    project = Project(tmp_path_factory.mktemp("project"))
    done = project.run("launcher/quickstart")
    assert done.returncode == 0, done.stdout + done.stderr
    project.quickstart_output = done.stdout + done.stderr
    return project


def results(project, run, split="test"):
    return json.loads((project.project / "runs" / run / f"{split}_results.json").read_text())


def test_quickstart_trains_on_two_ranks_and_predicts_three_urls(project):
    output = project.quickstart_output
    assert "2 ranks on 1 host" in output and "best checkpoint: runs/quickstart/checkpoint-" in output
    rows = [json.loads(line) for line in output.splitlines() if line.startswith('{"row"')]
    assert [row["row"] for row in rows] == [0, 1, 2] and len({row["text"] for row in rows}) == 3
    assert results(project, "quickstart")["test_accuracy"] > 0.8


def test_quickstart_trains_on_a_file_of_ones_own(project):
    with open(PROJECT / "data" / "sample" / "train.csv", newline="") as sample:
        rows = [(row["text"], row["label"].replace("Safe", "good").replace("Not good", "bad"))
                for row in itertools.islice(csv.DictReader(sample), 100)]
    with open(project.folder / "mine.tsv", "w", newline="") as mine:
        mine.writelines("\t".join(row) + "\n" for row in [("url", "class"), *rows])
    done = project.run("launcher/quickstart", "--train_file", "mine.tsv", "--text_column", "url", "--label_column=class",
                       "--num_train_epochs", "1", cwd=project.folder)
    assert done.returncode == 0, done.stdout + done.stderr
    predictions = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"row"')]
    assert len(predictions) == 3
    assert all(row["probabilities"].keys() == {"good", "bad"} and row["url"] for row in predictions)
    assert results(project, "quickstart_own_file", "eval")["eval_samples"] == 20


def test_the_readmes_commands(project):
    (train,) = [block for block in blocks("README.md", "sh") if "mpirun" in block]
    output = project.shell(train)
    assert output.count("2 ranks on 1 host") == output.count("the model is in runs/") == 2
    for run in ("quickstart", "slower"):
        assert results(project, run)["test_accuracy"] > 0.8

    (install,) = [block for block in blocks("README.md", "sh") if "pip install" in block]
    assert f"transformers=={transformers.__version__}" in install
    ((command, expected),) = [session for session in sessions("README.md") if "bertdist predict" in session[0]]
    printed = project.shell(f"export PATH=$PWD/bin:$PATH\n{command}")
    assert not missing_lines(expected, printed, TOLERANCE), printed


def test_the_readmes_python(project, monkeypatch):
    monkeypatch.chdir(project.project)
    (program,) = blocks("README.md", "python")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(program, {})
    (expected,) = [block for block in blocks("README.md", "") if "'score'" in block]
    assert not missing_lines(expected.splitlines(), printed.getvalue(), TOLERANCE), printed.getvalue()
    logits = {row["label"]: row["score"] for row in eval(printed.getvalue().splitlines()[1])}
    (command,) = [command for command, _ in sessions("README.md") if "bertdist predict" in command]
    ours = json.loads(project.shell(f"export PATH=$PWD/bin:$PATH\n{command}").splitlines()[-1])
    assert ours["logits"] == pytest.approx([logits["Safe"], logits["Not Safe"]], abs=1e-5)


def test_the_tutorials_commands_print_what_it_says(project):
    (configuration,) = blocks("docs/tutorial.md", "toml")
    (project.project / "runs" / "urls.toml").write_text(configuration)
    commands = sessions("docs/tutorial.md")
    assert len(commands) >= 8
    for command, expected in commands:
        printed = project.shell(command)
        assert not missing_lines(expected, printed, TOLERANCE), f"{command}\n{printed}"


@pytest.mark.parametrize("file, codes", [("docs/errors.md", [2, 3, 4, 5]), ("docs/data.md", [0, 3, 0])])
def test_what_goes_wrong_is_told_as_documented(project, file, codes):
    runs = project.project / "runs"
    (runs / "urls.toml").write_text(blocks("docs/tutorial.md", "toml")[0])
    (runs / "urls").mkdir(exist_ok=True)
    (runs / "urls" / "of_an_earlier_run").touch()
    seen = []
    for command, expected in sessions(file):
        if "--comm_timeout_s" in command:  # its rank is stopped by hand
            continue
        if command == "echo $?":
            assert expected == [str(seen[-1])]
            continue
        *printed, code = project.shell(f"code=0; ({command}\n) || code=$?; echo $code").splitlines()
        assert not missing_lines(expected, "\n".join(printed), TOLERANCE), f"{command}\n{printed}"
        seen.append(int(code))
    assert seen == codes


def test_what_dtype_is_by_default_changes_the_last_digits_only(project):
    text = (PROJECT / "docs" / "performance.md").read_text()
    stated = float(re.search(r"a test holds them\s+within (0\.\d+)", text)[1])
    project.shell("sed '/^dtype/d' configs/quickstart.toml > runs/default_dtype.toml; "
                  "mpirun -np 2 bin/bertdist --config runs/default_dtype.toml --output_dir runs/default_dtype")
    histories = [json.loads((project.project / "runs" / run / "trainer_state.json").read_text())["log_history"]
                 for run in ("quickstart", "default_dtype")]
    pairs = [(a, b) for a, b in zip(*histories, strict=True) if "eval_loss" in a]
    assert len(pairs) == 5
    for a, b in pairs:
        assert (a["eval_loss"], a["eval_auc"]) == pytest.approx((b["eval_loss"], b["eval_auc"]), abs=stated)
