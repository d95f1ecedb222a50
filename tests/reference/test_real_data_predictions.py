"""Logits of real texts with real weights, against transformers."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from program import predictions_of, run, save_bert
from transformers import AutoTokenizer, BertForSequenceClassification

PHISHING = Path(os.environ["BERTDIST_REAL_DATA"]) / "phishing" / "validation_partial.csv"


@pytest.fixture(params=["minilm", "small random BERT"])
def folder(request, tmp_path):
    if request.param != "minilm":
        return save_bert(tmp_path / "model", seed=1)
    minilm = os.environ["BERTDIST_MINILM"]
    torch.manual_seed(1)
    BertForSequenceClassification.from_pretrained(minilm, num_labels=2).save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(minilm).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_logits_of_phishing_urls(folder, tmp_path):
    model = BertForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    max_length = min(96, model.config.max_position_embeddings)
    run("predict", model_name_or_path=folder, test_file=PHISHING, output_file=tmp_path / "out.jsonl",
        max_seq_length=max_length)
    with open(PHISHING, newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    rows = predictions_of(tmp_path / "out.jsonl")
    assert len(rows) == len(texts) > 100
    expected = []
    with torch.no_grad():
        for begin in range(0, len(texts), 16):
            batch = tokenizer(texts[begin : begin + 16], truncation=True, max_length=max_length, padding=True,
                              return_tensors="pt")
            expected.append(model(**batch).logits)
    np.testing.assert_allclose([row["logits"] for row in rows], torch.cat(expected).numpy(), atol=1e-5, rtol=0)
