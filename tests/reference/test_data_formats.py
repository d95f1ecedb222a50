"""Files of each kind through the whole program: trained on, evaluated and predicted, beside transformers."""

import json

import numpy as np
import pytest
import torch
from program import make_rows, predictions_of, run, save_bert, train, write_csv
from transformers import AutoModelForSequenceClassification, AutoTokenizer

NAMES = ["früh", "spät"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_bert(tmp_path_factory.mktemp("model"))


def rows_of(count, seed):
    pairs = zip(make_rows(count, seed=seed), make_rows(count, seed=seed + 100))
    return [{"first": f"é {text}", "second": other, "kind": NAMES[label]} for (text, label), (other, _) in pairs]


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=index % 2 == 0) + "\n" for index, row in enumerate(rows)))


def write_latin_1(path, rows):
    lines = ["first\tsecond\tkind", *("\t".join(row.values()) for row in rows)]
    path.write_bytes("".join(f"{line}\r\n" for line in lines).encode("latin-1"))


KINDS = {
    "jsonl_pairs": ("jsonl", write_jsonl, {"text_pair_column": "second"}),
    "jsonl_pairs_only_first": ("jsonl", write_jsonl, {"text_pair_column": "second", "truncation_strategy": "only_first"}),
    "latin_1": ("tsv", write_latin_1, {"encoding": "latin-1"}),
}


def transformers_logits(folder, rows, pairs, truncation):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    texts = [[row["first"] for row in rows], *([[row["second"] for row in rows]] if pairs else [])]
    batch = tokenizer(*texts, truncation=truncation, max_length=48, padding=True, return_tensors="pt")
    with torch.no_grad():
        return model(**batch).logits.numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_train_evaluate_predict(model, tmp_path, kind):
    extension, write, options = KINDS[kind]
    options = {"text_column": "first", **options}
    labels = {"label_column": "kind", "token_cache_dir": tmp_path / "cache"}
    rows = {"train": rows_of(32, 0), "validation": rows_of(21, 1), "test": rows_of(13, 2)}
    if "only_first" in kind:
        for row in [row for split in rows.values() for row in split]:
            row["second"] = row["second"][:20]
    files = {split: tmp_path / f"{split}.{extension}" for split in rows}
    for split, content in rows.items():
        write(files[split], content)
    out = tmp_path / "out"
    train(model, out, train_file=files["train"], validation_file=files["validation"], num_train_epochs=1,
          learning_rate=1e-3, **options, **labels)
    assert json.loads((out / "config.json").read_text())["id2label"] == {"0": "früh", "1": "spät"}

    run("evaluate", model_name_or_path=out, validation_file=files["validation"], test_file=files["test"],
        output_dir=tmp_path / "results", num_threads=1, **options, **labels)
    for split, prefix in (("validation", "eval"), ("test", "test")):
        run("predict", model_name_or_path=out, test_file=files[split], output_file=tmp_path / f"{split}.predicted.jsonl",
            output_columns=["kind"], num_threads=1, **options)
        predicted = predictions_of(tmp_path / f"{split}.predicted.jsonl")
        logits = np.array([row["logits"] for row in predicted])
        expected = transformers_logits(out, rows[split], "text_pair_column" in options,
                                       options.get("truncation_strategy", "longest_first"))
        np.testing.assert_allclose(logits, expected, atol=1e-5, rtol=0)
        assert [row["kind"] for row in predicted] == [row["kind"] for row in rows[split]]
        results = json.loads((tmp_path / "results" / f"{prefix}_results.json").read_text())
        assert results[f"{prefix}_samples"] == len(rows[split])
        assert results[f"{prefix}_accuracy"] == np.mean([row["label"] == row["kind"] for row in predicted])
    together = json.loads((tmp_path / "results" / "all_results.json").read_text())
    assert {"eval_accuracy", "test_accuracy", "eval_loss", "test_loss"} <= together.keys()


def test_max_samples_take_the_first_rows(model, tmp_path):
    whole = {name: write_csv(tmp_path / f"{name}.csv", make_rows(20, seed=seed))
             for seed, name in enumerate(["train", "validation", "test"])}
    first = {name: write_csv(tmp_path / f"first_{name}.csv", make_rows(20, seed=seed)[:count])
             for seed, (name, count) in enumerate([("train", 12), ("validation", 7), ("test", 5)])}
    common = {"num_train_epochs": 1, "learning_rate": 1e-3, "global_batch_size": 4}
    for folder, files, limits in (
        ("limited", whole, {"max_train_samples": 12, "max_eval_samples": 7, "max_predict_samples": 5}), ("cut", first, {})):
        train(model, tmp_path / folder, **{f"{name}_file": path for name, path in files.items()}, **common, **limits)
    limited, cut = (json.loads((tmp_path / folder / "all_results.json").read_text()) for folder in ("limited", "cut"))
    timeless = {key: value for key, value in cut.items() if not key.endswith(("runtime", "per_second"))}
    assert {key: limited[key] for key in timeless} == timeless
    assert (limited["train_samples"], limited["eval_samples"], limited["test_samples"]) == (12, 7, 5)

    evaluated = run("evaluate", model_name_or_path=tmp_path / "cut", validation_file=whole["validation"],
                    max_eval_samples=7, token_cache_dir=tmp_path / "cache", output_dir=tmp_path / "results", num_threads=1)
    assert "eval_samples                 = 7" in evaluated.stdout
    assert json.loads((tmp_path / "results" / "eval_results.json").read_text())["eval_accuracy"] == cut["eval_accuracy"]


def test_a_sample_of_a_split_is_drawn_from_all_rows(model, tmp_path):
    rows = sorted(make_rows(40), key=lambda row: row[1])  # the first half has one label only
    out = tmp_path / "out"
    train(model, out, train_file=write_csv(tmp_path / "train.csv", rows), validation_split=0.25, max_train_samples=6,
          max_eval_samples=8, num_train_epochs=1)
    results = json.loads((out / "all_results.json").read_text())
    assert (results["train_samples"], results["eval_samples"]) == (6, 8)
    assert json.loads((out / "config.json").read_text())["id2label"] == {"0": "LABEL_0", "1": "LABEL_1"}
