"""src/metrics against scikit-learn, on random cases with ties, missing classes and extreme logits."""

import json
import math
import os
import subprocess

import numpy as np
import pytest
from sklearn import metrics as sk

TOLERANCE = 1e-12


def softmax(row):
    # math.exp and this order of summing give the program's own bits; another exp could tie where it does not.
    exponentials = [math.exp(value - max(row)) for value in row]
    total = 0.0
    for value in exponentials:
        total += value
    return [value / total for value in exponentials]


def expected_metrics(num_labels, labels, logits):
    logits = np.array(logits).reshape(len(labels), num_labels)
    predictions = logits.argmax(axis=1)
    probabilities = np.array([softmax(row.tolist()) for row in logits])
    average = "binary" if num_labels == 2 else "macro"
    auc = None
    if len(set(labels)) == num_labels:
        one_vs_rest = [
            sk.roc_auc_score(np.array(labels) == c, probabilities[:, c]) for c in range(num_labels)
        ]
        auc = one_vs_rest[1] if num_labels == 2 else float(np.mean(one_vs_rest))
    losses = [
        math.log(math.fsum(math.exp(x - max(row)) for x in row)) - (row[label] - max(row))
        for row, label in zip(logits.tolist(), labels)
    ]
    return {
        "accuracy": sk.accuracy_score(labels, predictions),
        "auc": auc,
        "f1": sk.f1_score(labels, predictions, average=average, zero_division=0),
        "precision": sk.precision_score(labels, predictions, average=average, zero_division=0),
        "recall": sk.recall_score(labels, predictions, average=average, zero_division=0),
        "mcc": sk.matthews_corrcoef(labels, predictions),
        "loss": math.fsum(losses) / len(losses),
        "confusion_matrix": sk.confusion_matrix(labels, predictions, labels=range(num_labels)).tolist(),
    }


def random_case(generator):
    num_labels = int(generator.choice([2, 2, 3, 6, 20]))
    rows = int(generator.choice([1, 2, 7, 60, 1000]))
    scale = float(generator.choice([1e-3, 1.0, 5.0, 40.0, 1e4]))
    logits = generator.normal(scale=scale, size=(rows, num_labels))
    if generator.random() < 0.5:
        logits = np.round(logits / scale * 2) * scale / 2  # few distinct values: ties within and between rows
    if generator.random() < 0.3:
        logits = logits.astype(np.float32).astype(np.float64)
    labels = generator.integers(num_labels, size=rows)
    signal = generator.random(rows) < generator.random()
    labels = np.where(signal, logits.argmax(axis=1), labels)
    if generator.random() < 0.15:
        labels = np.full(rows, generator.integers(num_labels))
    return {"num_labels": num_labels, "labels": labels.tolist(), "logits": logits.ravel().tolist()}


# scikit-learn remarks on cases that hold one class only; those are wanted here.
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_random_cases():
    generator = np.random.default_rng(7)
    cases = [random_case(generator) for _ in range(300)]
    output = subprocess.run(
        [os.environ["PRINT_METRICS"]], input=json.dumps(cases), capture_output=True, text=True, check=True
    ).stdout
    results = json.loads(output)
    assert len(results) == len(cases)
    assert sum(result["auc"] is not None for result in results) > 100
    for number, (case, result) in enumerate(zip(cases, results)):
        expected = expected_metrics(**case)
        assert result.keys() == expected.keys()
        assert result.pop("confusion_matrix") == expected.pop("confusion_matrix"), number
        if expected["auc"] is None:
            assert result.pop("auc") is None, number
            del expected["auc"]
        assert result == pytest.approx(expected, rel=TOLERANCE, abs=TOLERANCE), number
