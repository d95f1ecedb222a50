#!/usr/bin/env python3
"""The tutorial's job as Hugging Face Trainer does it, to stand beside bertdist's: pooler and classifier of a BERT are
trained on a CSV file, evaluated each epoch on a second and at the end on a third one.

usage: tests/bench/hf_trainer.py MODEL TRAIN.csv EVAL.csv FINAL.csv [--tuned]
           [--freeze none|base_except_pooler|K] [--epochs 10] [--max_steps N] [--train_only] [--label_column labels]

--freeze K freezes the embeddings and the first K layers; --train_only neither evaluates nor saves.

--tuned is what an expert sets: length grouping, bf16 where the processor multiplies it, evaluation batches of 64, one
checkpoint kept.
"""

import argparse
import csv
import re
import resource
import tempfile
import time

START = time.monotonic()

import numpy as np  # noqa: E402  (the clock starts before the imports, which are part of the price)
from datasets import Dataset  # noqa: E402
from process import multiplies_bfloat16  # noqa: E402
from sklearn.metrics import accuracy_score, roc_auc_score  # noqa: E402
from transformers import (  # noqa: E402
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)


def read(path: str, label_column: str) -> Dataset:
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return Dataset.from_dict(
        {"text": [row["text"] for row in rows], "labels": [int(row[label_column]) for row in rows]}
    )


def metrics(prediction) -> dict[str, float]:
    logits, labels = prediction
    scores = np.exp(logits - logits.max(-1, keepdims=True))
    scores /= scores.sum(-1, keepdims=True)
    return {"accuracy": accuracy_score(labels, logits.argmax(-1)), "auc": roc_auc_score(labels, scores[:, 1])}


def is_frozen(name: str, freeze: str) -> bool:
    if not freeze.isdigit():
        return freeze != "none" and "pooler" not in name
    layer = re.match(r"encoder\.layer\.(\d+)\.", name)
    return name.startswith("embeddings.") or (layer is not None and int(layer[1]) < int(freeze))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("train")
    parser.add_argument("eval")
    parser.add_argument("final")
    parser.add_argument("--label_column", default="labels")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--tuned", action="store_true")
    parser.add_argument("--freeze", default="base_except_pooler")
    parser.add_argument("--max_steps", type=int, default=-1)
    parser.add_argument("--train_only", action="store_true")
    parser.add_argument("--seed", type=int, default=42)
    options = parser.parse_args()
    tuned = {}
    if options.tuned:
        tuned = {"train_sampling_strategy": "group_by_length", "bf16": multiplies_bfloat16(), "save_total_limit": 1}
    each_epoch = "no" if options.train_only else "epoch"

    tokenizer = AutoTokenizer.from_pretrained(options.model)
    tokenizer.backend_tokenizer.no_padding()

    def tokenized(path: str) -> Dataset:
        data = read(path, options.label_column)
        return data.map(lambda rows: tokenizer(rows["text"], truncation=True), batched=True)

    train, evaluation, final = map(tokenized, (options.train, options.eval, options.final))
    model = AutoModelForSequenceClassification.from_pretrained(options.model, num_labels=2)
    for name, parameter in model.base_model.named_parameters():
        parameter.requires_grad = not is_frozen(name, options.freeze)

    with tempfile.TemporaryDirectory() as output_dir:
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=output_dir,
                learning_rate=2e-4,
                per_device_train_batch_size=8,
                per_device_eval_batch_size=64 if options.tuned else 8,
                num_train_epochs=options.epochs,
                max_steps=options.max_steps,
                logging_strategy="epoch",
                eval_strategy=each_epoch,
                save_strategy=each_epoch,
                load_best_model_at_end=not options.train_only,
                seed=options.seed,
                report_to=[],
                disable_tqdm=True,
                use_cpu=True,
                **tuned,
            ),
            train_dataset=train,
            eval_dataset=evaluation,
            processing_class=tokenizer,
            data_collator=DataCollatorWithPadding(tokenizer=tokenizer),
            compute_metrics=metrics,
        )
        trainer.train()
        if not options.train_only:
            print("best on the second file:", trainer.evaluate())
            print("on the third file:", trainer.evaluate(final, metric_key_prefix="final"))

    train_losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    evaluations = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
    for loss, entry in zip(train_losses, evaluations):
        print(
            f"| {entry['epoch']:.0f} | {loss:.4f} | {entry['eval_loss']:.4f} | {entry['eval_accuracy']:.4f} "
            f"| {entry['eval_auc']:.4f} |"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"seconds: {time.monotonic() - START:.1f}, peak memory: {peak:.0f} MiB")


if __name__ == "__main__":
    main()
