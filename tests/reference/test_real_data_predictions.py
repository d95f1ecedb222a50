"""Logits of real texts with real weights, against transformers."""

import csv
import os
from pathlib import Path

import numpy as np
import torch
from program import predictions_of, run
from transformers import AutoTokenizer, BertForSequenceClassification

PHISHING = Path(os.environ["BERTDIST_REAL_DATA"]) / "phishing" / "validation_partial.csv"


def test_minilm_logits_of_phishing_urls(tmp_path):
    minilm = os.environ["BERTDIST_MINILM"]
    torch.manual_seed(1)
    model = BertForSequenceClassification.from_pretrained(minilm, num_labels=2).eval()
    tokenizer = AutoTokenizer.from_pretrained(minilm)
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    run("predict", model_name_or_path=tmp_path / "model", test_file=PHISHING, output_file=tmp_path / "out.jsonl",
        max_seq_length=96)
    with open(PHISHING, newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    rows = predictions_of(tmp_path / "out.jsonl")
    assert len(rows) == len(texts) > 100
    expected = []
    with torch.no_grad():
        for begin in range(0, len(texts), 16):
            batch = tokenizer(texts[begin : begin + 16], truncation=True, max_length=96, padding=True,
                              return_tensors="pt")
            expected.append(model(**batch).logits)
    np.testing.assert_allclose([row["logits"] for row in rows], torch.cat(expected).numpy(), atol=1e-5, rtol=0)
