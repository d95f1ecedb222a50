"""configs/tutorial.toml by the tutorial's own commands, on a stand-in for the Hugging Face hub: a small random BERT under
the name bert-base-uncased, and a table of the sample's shape."""

import csv
import json

from documentation.project import Project, blocks
from reference.program import make_rows, save_bert
from scripts.fake_hub import serve

SPLITS = {"train": 64, "validation": 20, "test": 20}


def table_of(count, seed):
    rows = [f'"{text.replace(chr(34), chr(34) * 2)}",{label}' for text, label in make_rows(count, seed=seed)]
    return "\n".join(["text,labels", *rows, ""]).encode()


def test_the_tutorials_last_commands(tmp_path):
    project = Project(tmp_path)
    model = save_bert(tmp_path / "small_bert", with_classifier=False)
    files = {name: (model / name).read_bytes() for name in ("config.json", "model.safetensors", "tokenizer.json", "vocab.txt")}
    repositories = {
        "models/bert-base-uncased": files,
        "datasets/shawhin/phishing-site-classification": {
            "README.md": b"# sites\n",
            **{f"{split}.csv": table_of(count, seed) for seed, (split, count) in enumerate(SPLITS.items())},
        },
    }
    (commands,) = [block for block in blocks("docs/tutorial.md", "sh") if "launcher/fetch dataset" in block]
    project.run("launcher/setup")
    with serve(repositories) as hub:
        output = project.shell(commands, HF_ENDPOINT=hub, HF_HUB_DISABLE_TELEMETRY="1")
    data = project.project / "data" / "phishing-site-classification"
    for split, count in SPLITS.items():
        with open(data / f"{split}.csv", newline="") as file:
            assert len(list(csv.DictReader(file))) == count
    assert "2 ranks on 1 host" in output and "labels: 0 Safe 32 rows, 1 Not Safe 32 rows" in output

    history = json.loads((project.project / "runs/tutorial/trainer_state.json").read_text())["log_history"]
    evaluations = [entry for entry in history if "eval_loss" in entry]
    assert [entry["epoch"] for entry in evaluations] == list(range(1, 11))
    results = {name: json.loads((project.project / f"runs/tutorial/{name}_results.json").read_text())
               for name in ("eval", "test")}
    assert results["eval"]["eval_samples"] == SPLITS["test"] and results["test"]["test_samples"] == SPLITS["validation"]
    assert results["eval"]["eval_loss"] == min(entry["eval_loss"] for entry in evaluations)
    config = json.loads((project.project / "runs/tutorial/config.json").read_text())
    assert config["id2label"] == {"0": "Safe", "1": "Not Safe"}
