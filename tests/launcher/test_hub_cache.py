"""A model by its name, found where huggingface_hub would find it whatever the environment says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

VARIABLES = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME")
VOCABULARY = "".join(f"{word}\n" for word in ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good"])


def tokenize(environment: dict, folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run([os.environ["BERTDIST"], "tokenize", "--model_name_or_path", "maker/tiny-bert"],
                          input="good", env=environment, cwd=folder, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("settings", [
    {},
    {"XDG_CACHE_HOME": "{folder}/xdg"},
    {"HF_HOME": "{folder}/hf", "XDG_CACHE_HOME": "{folder}/xdg"},
    {"HF_HOME": "~/hf"},
    {"HUGGINGFACE_HUB_CACHE": "~/old", "HF_HOME": "{folder}/hf"},
    {"HF_HUB_CACHE": "{folder}/new", "HUGGINGFACE_HUB_CACHE": "{folder}/old", "HF_HOME": "{folder}/hf"},
])
def test_the_hub_cache_is_hugging_faces(tmp_path, settings):
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    environment |= {name: value.format(folder=tmp_path) for name, value in settings.items()} | {"HOME": str(tmp_path)}
    program = "from huggingface_hub import constants; print(constants.HF_HUB_CACHE)"
    cache = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    entry = Path(cache.stdout.strip()) / "models--maker--tiny-bert"
    assert entry.is_relative_to(tmp_path)

    missing = tokenize(environment, tmp_path)
    assert missing.returncode == 4 and str(entry) in missing.stderr and "launcher/fetch model" in missing.stderr

    snapshot = entry / "snapshots" / "abc123"
    snapshot.mkdir(parents=True)
    (entry / "refs").mkdir()
    (entry / "refs" / "main").write_text("abc123")
    (snapshot / "vocab.txt").write_text(VOCABULARY)
    (snapshot / "config.json").write_text(json.dumps({"model_type": "bert", "vocab_size": 6}))
    found = tokenize(environment, tmp_path)
    assert (found.returncode, found.stdout) == (0, "[2, 5, 3]\n"), found.stderr
