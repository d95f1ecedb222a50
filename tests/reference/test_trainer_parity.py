"""Fifty optimiser steps of bertdist against Hugging Face Trainer's, on the same batches."""

import pytest
import torch
from program import make_rows, save_bert, state_of, train, write_csv
from transformers import AutoTokenizer, BertForSequenceClassification, DataCollatorWithPadding, Trainer, TrainingArguments

EPOCHS, BATCH, NUM_EVALUATED = 10, 8, 19


def philox(counter, key):
    """Philox4x32-10, after the paper of Salmon et al."""
    counter, key, mask = list(counter), list(key), 0xFFFFFFFF
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * counter[0], 1 << 32)
        high1, low1 = divmod(0xCD9E8D57 * counter[2], 1 << 32)
        counter = [high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0]
        key = [(key[0] + 0x9E3779B9) & mask, (key[1] + 0xBB67AE85) & mask]
    return counter


def epoch_order(size, seed, epoch):
    """The order in which bertdist documents that an epoch goes through its rows (src/data/batch_plan.h)."""
    order = list(range(size))
    for i in range(size, 1, -1):
        bits = philox([i, 0, epoch, 0x73687566], [seed, 0])
        draw = (bits[0] | bits[1] << 32) * i >> 64
        order[i - 1], order[draw] = order[draw], order[i - 1]
    return order


class EpochOrder(torch.utils.data.Sampler):
    def __init__(self, size, seed):
        self.size, self.seed, self.epoch = size, seed, 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __iter__(self):
        return iter(epoch_order(self.size, self.seed, self.epoch))

    def __len__(self):
        return self.size


class OrderedTrainer(Trainer):
    def _get_train_sampler(self, train_dataset=None):
        return EpochOrder(len(self.train_dataset), self.args.seed)


def reference(model_folder, output_dir, rows, freeze, accumulation, options, is_stock=False):
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = BertForSequenceClassification.from_pretrained(model_folder)
    if freeze:
        for name, parameter in model.bert.named_parameters():
            parameter.requires_grad_(name.startswith("pooler."))
    arguments = TrainingArguments(output_dir=output_dir, use_cpu=True, num_train_epochs=EPOCHS, seed=7,
                                  per_device_train_batch_size=BATCH // accumulation,
                                  gradient_accumulation_steps=accumulation, logging_steps=1, save_strategy="no",
                                  eval_strategy="epoch", per_device_eval_batch_size=BATCH, report_to=[], disable_tqdm=True, log_level="error", **options)
    dataset = [{**tokenizer(text, truncation=True, max_length=48), "labels": label} for text, label in rows]
    trainer = OrderedTrainer(model, arguments, train_dataset=dataset, eval_dataset=dataset[:NUM_EVALUATED],
                             data_collator=DataCollatorWithPadding(tokenizer))
    # BERT's classifier takes the count of labels but averages without it: Trainer would then sum the means of the
    # accumulated batches instead of averaging them, and report losses that grow with their number.
    if not is_stock:
        trainer.model_accepts_loss_kwargs = False
    trainer.train()
    return trainer.state.log_history


def entries_with(key, log_history):
    return [entry for entry in log_history if key in entry]


CASES = {
    "plain": (40, False, 1, {"learning_rate": 1e-3}),
    "frozen": (40, True, 1, {"learning_rate": 1e-2}),
    "rows_that_do_not_divide": (37, False, 1, {"learning_rate": 1e-3, "weight_decay": 0.1, "warmup_steps": 7}),
    "frozen_rows_that_do_not_divide": (35, True, 1, {"learning_rate": 1e-2, "weight_decay": 0.1,
                                                     "lr_scheduler_type": "cosine", "max_grad_norm": 0.3}),
    "cosine_with_accumulation": (40, False, 2, {"learning_rate": 1e-3, "lr_scheduler_type": "cosine",
                                                "warmup_steps": 5, "weight_decay": 0.3, "max_grad_norm": 0.5}),
    "label_smoothing": (40, False, 1, {"learning_rate": 1e-3, "label_smoothing_factor": 0.2, "adam_beta1": 0.8,
                                       "adam_beta2": 0.95, "adam_epsilon": 1e-6,
                                       "lr_scheduler_type": "constant_with_warmup", "warmup_steps": 10}),
    "frozen_label_smoothing_with_accumulation": (40, True, 4, {"learning_rate": 1e-2, "label_smoothing_factor": 0.1,
                                                        "lr_scheduler_type": "constant"}),
}


def test_evaluations_checkpoints_and_logs_come_at_the_trainers_steps(tmp_path):
    rows = make_rows(40)
    model = save_bert(tmp_path / "model")
    schedule = {"max_steps": 7, "eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 4,
                "logging_strategy": "steps", "logging_steps": 3}
    tokenizer = AutoTokenizer.from_pretrained(model)
    dataset = [{**tokenizer(text, truncation=True, max_length=48), "labels": label} for text, label in rows]
    trainer = Trainer(BertForSequenceClassification.from_pretrained(model), TrainingArguments(
        output_dir=tmp_path / "trainer", use_cpu=True, report_to=[], disable_tqdm=True, log_level="error", **schedule),
        train_dataset=dataset, eval_dataset=dataset[:9], data_collator=DataCollatorWithPadding(tokenizer))
    trainer.train()
    file = write_csv(tmp_path / "rows.csv", rows)
    train(model, tmp_path / "out", train_file=file, validation_file=file, **schedule)
    ours, theirs = state_of(tmp_path / "out")["log_history"], trainer.state.log_history
    for key in ("loss", "eval_loss"):
        assert [entry["step"] for entry in entries_with(key, ours)] == [entry["step"] for entry in entries_with(key, theirs)]
    checkpoints = {path.name for path in (tmp_path / "out").glob("checkpoint-*")}
    assert checkpoints == {path.name for path in (tmp_path / "trainer").glob("checkpoint-*")} == {"checkpoint-4", "checkpoint-7"}


@pytest.mark.parametrize("case", CASES)
def test_fifty_steps(tmp_path, case):
    num_rows, freeze, accumulation, options = CASES[case]
    rows = make_rows(num_rows, num_labels=3)
    model = save_bert(tmp_path / "model", dropout=0.0, num_labels=3)
    expected = reference(model, tmp_path / "trainer", rows, freeze, accumulation, options)

    train(model, tmp_path / "out", train_file=write_csv(tmp_path / "train.csv", rows), global_batch_size=BATCH, seed=7,
          validation_file=write_csv(tmp_path / "validation.csv", rows[:NUM_EVALUATED]), load_best_model_at_end=False,
          gradient_accumulation_steps=accumulation, num_train_epochs=EPOCHS, logging_strategy="steps", logging_steps=1,
          save_strategy="no", freeze="base_except_pooler" if freeze else "none", **options)
    actual = state_of(tmp_path / "out")["log_history"]
    steps, expected_steps = entries_with("loss", actual), entries_with("loss", expected)
    assert len(steps) == len(expected_steps) == 50
    for ours, theirs in zip(steps, expected_steps):
        assert ours["step"] == theirs["step"]
        assert ours["epoch"] == pytest.approx(theirs["epoch"], abs=1e-9)
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-4, rel=0)
        assert ours["learning_rate"] == pytest.approx(theirs["learning_rate"], abs=1e-15, rel=1e-9)
        assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-3)
    evaluations, expected_evaluations = entries_with("eval_loss", actual), entries_with("eval_loss", expected)
    assert len(evaluations) == len(expected_evaluations) == EPOCHS
    for ours, theirs in zip(evaluations, expected_evaluations):
        assert ours["step"] == theirs["step"]
        assert ours["eval_loss"] == pytest.approx(theirs["eval_loss"], abs=1e-4, rel=0)
    trained = BertForSequenceClassification.from_pretrained(tmp_path / "out")
    assert expected_steps[0]["loss"] > 1.5 * expected_steps[-1]["loss"], "the run must learn, or the losses could hardly differ"
    assert trained.config.num_labels == 3


def test_the_stock_trainer_sums_what_is_accumulated(tmp_path):
    """What the help of gradient_accumulation_steps says of Trainer; without clipping AdamW takes the same steps."""
    accumulation, options = 4, {"learning_rate": 1e-3, "max_grad_norm": 1e9}
    rows = make_rows(40, num_labels=3)
    model = save_bert(tmp_path / "model", dropout=0.0, num_labels=3)
    expected = entries_with("loss", reference(model, tmp_path / "trainer", rows, False, accumulation, options, is_stock=True))
    train(model, tmp_path / "out", train_file=write_csv(tmp_path / "train.csv", rows), global_batch_size=BATCH, seed=7,
          gradient_accumulation_steps=accumulation, num_train_epochs=EPOCHS, logging_strategy="steps", logging_steps=1,
          save_strategy="no", **options)
    steps = entries_with("loss", state_of(tmp_path / "out")["log_history"])
    assert len(steps) == len(expected) == 50
    for ours, theirs in zip(steps, expected):
        assert theirs["loss"] == pytest.approx(accumulation * ours["loss"], rel=1e-3)
        assert theirs["grad_norm"] == pytest.approx(accumulation * ours["grad_norm"], rel=1e-3)


def test_products_in_bfloat16(tmp_path):
    """Trainer's bf16 keeps float32 weights too, but has attention in bfloat16, which is float32 here."""
    rows = make_rows(40, num_labels=3)
    model = save_bert(tmp_path / "model", dropout=0.0, num_labels=3)
    expected = [entry["loss"] for entry in reference(model, tmp_path / "trainer", rows, False, 1,
                                                     {"learning_rate": 1e-3, "bf16": True}) if "loss" in entry]
    found = {}
    for dtype in ("float32", "bfloat16"):
        train(model, tmp_path / dtype, train_file=write_csv(tmp_path / "train.csv", rows), global_batch_size=BATCH, seed=7,
              num_train_epochs=EPOCHS, logging_strategy="steps", logging_steps=1, save_strategy="no", dtype=dtype,
              learning_rate=1e-3)
        found[dtype] = [entry["loss"] for entry in entries_with("loss", state_of(tmp_path / dtype)["log_history"])]
    assert found["bfloat16"] != found["float32"]
    assert found["bfloat16"] == pytest.approx(expected, abs=0.02, rel=0)
