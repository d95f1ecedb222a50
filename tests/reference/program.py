"""What the tests that run bertdist from outside share: the program itself, small models, and tables of rows."""

import csv
import json
import os
import random
import subprocess
from pathlib import Path

import torch
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]",
              *"abcdefghijklmnopqrstuvwxyz0123456789./-:?=", *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz0123456789")]
# One thread: what is compared bit for bit must not depend on how many cores the machine has.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}

# In front of a command: file permissions hold for it, whoever runs the tests.
WITH_PERMISSIONS = [] if os.geteuid() else ["setpriv", "--bounding-set=-dac_override,-dac_read_search",
                                            "--inh-caps=-dac_override,-dac_read_search"]


def command(*arguments, ranks=0, program=None, **options):
    """`bertdist ARGUMENTS --key value ...`, or another program's; ranks=0 is it without mpirun. What is compared with a
    reference is computed in float32 unless a test says otherwise."""
    if arguments and arguments[0] in ("train", "evaluate", "predict"):
        options = {"dtype": "float32", **options}
    line = [os.environ["MPIRUN"], "-np", ranks] if ranks else []
    line += [program or os.environ["BERTDIST"], *arguments]
    for key, value in options.items():
        line += [f"--{key}", json.dumps(value) if isinstance(value, (bool, list)) else value]
    return [str(part) for part in line]


def run(*arguments, stdin="", check=True, timeout=120, launcher=(), **options):
    result = subprocess.run([*launcher, *command(*arguments, **options)], input=stdin.encode(), env=ENVIRONMENT,
                            capture_output=True, timeout=timeout)
    result.stdout, result.stderr = result.stdout.decode(), result.stderr.decode()
    assert not check or result.returncode == 0, result.stdout + result.stderr
    return result


def train(model, output_dir, *, ranks=0, check=True, launcher=(), **options):
    options = {"token_cache_dir": Path(output_dir).parent / "cache", "num_threads": 1, **options}
    return run("train", ranks=ranks, check=check, launcher=launcher, model_name_or_path=model, output_dir=output_dir,
               **options)


def state_of(folder):
    return json.loads((Path(folder) / "trainer_state.json").read_text())


def losses_of(folder):
    return [entry["loss"] for entry in state_of(folder)["log_history"] if "loss" in entry]


def predictions_of(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def save_bert(folder, seed=0, dropout=0.1, with_classifier=True, **options):
    """A small random BERT and a tokenizer over letters, as transformers saves them."""
    torch.manual_seed(seed)
    config = BertConfig(**{"vocab_size": len(VOCABULARY), "hidden_size": 32, "num_hidden_layers": 2,
                           "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 48,
                           "num_labels": 2, "initializer_range": 0.2, "hidden_dropout_prob": dropout,
                           "attention_probs_dropout_prob": dropout, **options})
    model = BertForSequenceClassification(config)
    (model if with_classifier else model.bert).save_pretrained(folder)
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in VOCABULARY))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": True}))
    AutoTokenizer.from_pretrained(folder).save_pretrained(folder)
    return folder


def make_rows(count, num_labels=2, seed=0):
    """Texts of 1 to 45 tokens whose label one can learn, with commas and quotes that CSV must quote."""
    generator = random.Random(seed)
    rows = []
    for index in range(count):
        label = index % num_labels
        letters = "abcdefghijkl"[4 * label : 4 * label + 8]
        words = ["".join(generator.choices(letters, k=generator.randint(1, 6))) for _ in range(generator.randint(1, 8))]
        rows.append((generator.choice([" ", "/", ".", ', "']).join(words), label))
    generator.shuffle(rows)
    return rows


def write_csv(path, rows, header=("text", "label")):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path
