"""evaluate and predict against transformers and scikit-learn, with a model that bertdist has trained."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from program import make_rows, predictions_of, run, save_bert, train, write_csv
from sklearn.metrics import (accuracy_score, confusion_matrix, f1_score, log_loss, matthews_corrcoef, precision_score,
                             recall_score, roc_auc_score)
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

SAMPLE = Path(__file__).parents[2] / "data" / "sample"
NAMES = {2: ["Safe", "Not Safe"], 3: ["red", "green, dark", 'the "blue"']}


@pytest.fixture(scope="module", params=[2, 3])
def trained(request, tmp_path_factory):
    """The folder of a training, its validation file, and the names of its labels."""
    folder, names = tmp_path_factory.mktemp("trained"), NAMES[request.param]
    save_bert(folder / "model", num_labels=len(names))

    def table(name, count, seed):
        return write_csv(folder / name, [(text, names[label]) for text, label in make_rows(count, len(names), seed)])

    table("train.csv", 60, 0)
    table("validation.csv", 50, 1)
    train(folder / "model", folder / "out", train_file=folder / "train.csv", validation_file=folder / "validation.csv",
          id2label=names, num_train_epochs=2, learning_rate=1e-3)
    return folder, names


def transformers_logits(model_folder, texts):
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForSequenceClassification.from_pretrained(model_folder).eval()
    length = model.config.max_position_embeddings
    logits = []
    with torch.no_grad():
        for begin in range(0, len(texts), 16):
            batch = tokenizer(texts[begin : begin + 16], truncation=True, max_length=length, padding=True,
                              return_tensors="pt")
            logits.append(model(**batch).logits)
    return torch.cat(logits).numpy()


def read_texts(path):
    with open(path, newline="") as file:
        return [row["text"] for row in csv.DictReader(file)]


def predict(model, source, output, **options):
    run("predict", model_name_or_path=model, test_file=source, output_file=output, num_threads=1, **options)
    return output


def test_logits_of_the_whole_sample(trained, tmp_path):
    folder, names = trained
    for split in ("train", "validation", "test"):
        rows = predictions_of(predict(folder / "out", SAMPLE / f"{split}.csv", tmp_path / f"{split}.jsonl"))
        texts = read_texts(SAMPLE / f"{split}.csv")
        assert len(rows) == len(texts) >= 150
        np.testing.assert_allclose([row["logits"] for row in rows], transformers_logits(folder / "out", texts),
                                   atol=1e-5, rtol=0)


def test_minilm_logits_of_the_whole_sample(tmp_path):
    minilm, count = os.environ["BERTDIST_MINILM"], 0
    torch.manual_seed(1)  # of the classifier
    AutoModelForSequenceClassification.from_pretrained(minilm, num_labels=2).save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(minilm).save_pretrained(tmp_path / "model")
    for split in ("train", "validation", "test"):
        rows = predictions_of(predict(tmp_path / "model", SAMPLE / f"{split}.csv", tmp_path / f"{split}.jsonl"))
        expected = transformers_logits(tmp_path / "model", read_texts(SAMPLE / f"{split}.csv"))
        np.testing.assert_allclose([row["logits"] for row in rows], expected, atol=1e-5, rtol=0)
        count += len(rows)
    assert count == 1020


def test_pipeline_gives_the_same_labels_and_scores(trained, tmp_path):
    folder, names = trained
    texts = read_texts(folder / "validation.csv")
    rows = predictions_of(predict(folder / "out", folder / "validation.csv", tmp_path / "out.jsonl"))
    classify = pipeline("text-classification", str(folder / "out"), device="cpu")
    for row, answer in zip(rows, classify(texts, top_k=None, truncation=True, max_length=48), strict=True):
        assert row["label"] == answer[0]["label"]
        assert list(row["probabilities"]) == names
        for score in answer:
            assert row["probabilities"][score["label"]] == pytest.approx(score["score"], abs=1e-5)


def test_transformers_truncates_with_what_was_saved(trained):
    folder, _ = trained
    for saved in (folder / "out", next((folder / "out").glob("checkpoint-*"))):
        classify = pipeline("text-classification", str(saved), device="cpu")
        assert classify("a " * 200, truncation=True)[0]["label"] in classify.model.config.label2id


def test_transformers_loads_every_checkpoint(trained, tmp_path):
    folder, _ = trained
    checkpoints = sorted((folder / "out").glob("checkpoint-*"))
    assert len(checkpoints) == 2
    texts = read_texts(folder / "validation.csv")
    for checkpoint in checkpoints:
        rows = predictions_of(predict(checkpoint, folder / "validation.csv", tmp_path / f"{checkpoint.name}.jsonl"))
        np.testing.assert_allclose([row["logits"] for row in rows], transformers_logits(checkpoint, texts), atol=1e-5,
                                   rtol=0)


def test_metrics_equal_scikit_learn(trained, tmp_path):
    folder, names = trained
    run("evaluate", model_name_or_path=folder / "out", validation_file=folder / "validation.csv", output_dir=tmp_path,
        token_cache_dir=folder / "cache", num_threads=1)
    metrics = json.loads((tmp_path / "eval_results.json").read_text())
    predict(folder / "out", folder / "validation.csv", tmp_path / "out.jsonl")

    rows = predictions_of(tmp_path / "out.jsonl")
    with open(folder / "validation.csv", newline="") as file:
        labels = np.array([names.index(row["label"]) for row in csv.DictReader(file)])
    # Nine digits name one float: these are the very logits that the metrics were computed from.
    logits = np.array([row["logits"] for row in rows], dtype=np.float32).astype(np.float64)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    predicted = logits.argmax(axis=1)
    average = {"average": "binary" if len(names) == 2 else "macro", "zero_division": 0}
    expected = {
        "accuracy": accuracy_score(labels, predicted),
        "auc": roc_auc_score(labels, probabilities[:, 1] if len(names) == 2 else probabilities, multi_class="ovr"),
        "f1": f1_score(labels, predicted, **average),
        "precision": precision_score(labels, predicted, **average),
        "recall": recall_score(labels, predicted, **average),
        "mcc": matthews_corrcoef(labels, predicted),
        "loss": log_loss(labels, probabilities),
    }
    for name, value in expected.items():
        assert metrics[f"eval_{name}"] == pytest.approx(value, abs=1e-12, rel=0), name
    assert metrics["eval_confusion_matrix"] == confusion_matrix(labels, predicted).tolist()
    assert metrics["eval_samples"] == 50
    at_the_end = json.loads((folder / "out" / "eval_results.json").read_text())
    assert at_the_end["eval_accuracy"] == metrics["eval_accuracy"]
    assert at_the_end["eval_loss"] == pytest.approx(metrics["eval_loss"], abs=1e-6)


def test_rows_come_in_input_order_with_the_columns_asked_for(trained, tmp_path):
    folder, names = trained
    source = write_csv(tmp_path / "in.csv", [("n1", "b a", "x,1"), ("n2", "a", 'say "hi"'), ("n3", "", "two\nlines"),
                                             ("n4", "k l j " * 30, "\u00fc")], header=("id", "text", "note"))
    predict(folder / "out", source, tmp_path / "out.jsonl", output_columns=["note", "id"])
    predict(folder / "out", source, tmp_path / "out.csv", output_columns=["note", "id"])
    rows = predictions_of(tmp_path / "out.jsonl")
    assert [list(row) for row in rows] == [["row", "label", "probabilities", "logits", "note", "id"]] * 4
    assert [row["row"] for row in rows] == [0, 1, 2, 3]
    assert [row["id"] for row in rows] == ["n1", "n2", "n3", "n4"]
    assert [row["note"] for row in rows] == ["x,1", 'say "hi"', "two\nlines", "\u00fc"]
    assert all(sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-8) for row in rows)
    assert all(names[int(np.argmax(row["logits"]))] == row["label"] for row in rows)

    with open(tmp_path / "out.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == ["row", "label", *(f"probability_{name}" for name in names),
                              *(f"logit_{name}" for name in names), "note", "id"]
    for line, row in zip(table, rows, strict=True):
        assert (int(line["row"]), line["label"], line["note"], line["id"]) == (
            row["row"], row["label"], row["note"], row["id"])
        assert [np.float32(line[f"logit_{name}"]) for name in names] == [np.float32(value) for value in row["logits"]]
        assert [float(line[f"probability_{name}"]) for name in names] == list(row["probabilities"].values())


def test_what_comes_through_a_pipe_is_read_once(trained, tmp_path):
    folder, _ = trained
    source = folder / "validation.csv"
    predict(folder / "out", source, tmp_path / "out.jsonl")
    piped = run("predict", stdin=source.read_text(), model_name_or_path=folder / "out", test_file="/dev/stdin",
                format="csv", num_threads=1)
    assert piped.stdout == (tmp_path / "out.jsonl").read_text()


def test_standard_input_and_output(trained, tmp_path):
    folder, _ = trained
    source = folder / "validation.csv"
    predict(folder / "out", source, tmp_path / "out.jsonl")
    for ranks in (0, 2):
        piped = run("predict", stdin=source.read_text(), ranks=ranks, model_name_or_path=folder / "out", test_file="-",
                    format="csv", num_threads=1)
        assert piped.stdout == (tmp_path / "out.jsonl").read_text()
