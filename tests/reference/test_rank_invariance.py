"""The number of ranks decides how long a run takes, not what it computes."""

import json

import pytest
from program import losses_of, make_rows, predictions_of, run, save_bert, state_of, train, write_csv
from transformers import AutoTokenizer

TIMES = ("runtime", "samples_per_second")
POOL_ROWS = 397


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    save_bert(folder / "dropout", dropout=0.2)
    save_bert(folder / "no_dropout", dropout=0.0)
    save_bert(folder / "wide", hidden_size=640, num_hidden_layers=1)  # 16 rows of its head are too many for each rank
    write_csv(folder / "train.csv", make_rows(29))
    write_csv(folder / "validation.csv", make_rows(11, seed=1))
    write_csv(folder / "two_rows.csv", make_rows(2, seed=2))
    write_csv(folder / "pool.csv", make_rows(POOL_ROWS, seed=3))
    return folder


@pytest.fixture(scope="module")
def pool(folder):
    """Enough rows that each of four ranks computes some: evaluate and predict form batches of 512 tokens."""
    tokenizer = AutoTokenizer.from_pretrained(folder / "dropout")
    texts = [text for text, _ in make_rows(POOL_ROWS, seed=3)]
    tokens = sum(len(ids) for ids in tokenizer(texts, truncation=True, max_length=48)["input_ids"])
    assert tokens > 12 * 512 and tokens % 512 and POOL_ROWS % 2 and POOL_ROWS % 3
    return folder / "pool.csv"


def train_at(folder, ranks, name, model="dropout", data="train.csv", batch=6, **options):
    output_dir = folder / f"{name}-{ranks}"
    train(folder / model, output_dir, ranks=ranks, train_file=folder / data, validation_file=folder / "validation.csv",
          global_batch_size=batch, num_train_epochs=2, learning_rate=2e-3, logging_strategy="steps", logging_steps=1,
          save_strategy="no", eval_strategy="epoch", **options)
    return output_dir


def evaluations_of(output_dir):
    return [entry for entry in state_of(output_dir)["log_history"] if "eval_loss" in entry]


@pytest.mark.parametrize("name, options", [
    ("dropout", {}),
    ("no_dropout", {"model": "no_dropout"}),
    ("frozen_dropout_off", {"freeze": "base_except_pooler"}),
    ("wide_head", {"model": "wide", "batch": 16, "freeze": "base_except_pooler"}),
    ("frozen_without_dropout", {"model": "no_dropout", "freeze": "{first_layers = 1}", "weight_decay": 0.1}),
    ("frozen_dropout_on", {"freeze": "base_except_pooler", "frozen_dropout": True}),
    ("two_rows", {"data": "two_rows.csv", "gradient_accumulation_steps": 2}),
])
def test_the_same_losses_at_any_number_of_ranks(folder, name, options):
    one = train_at(folder, 0, name, **options)
    expected, evaluations = losses_of(one), evaluations_of(one)
    assert len(expected) == {"two_rows": 2, "wide_head": 4}.get(name, 10) and len(evaluations) == 2
    for ranks in (1, 2, 3, 4):
        output_dir = train_at(folder, ranks, name, **options)
        assert losses_of(output_dir) == pytest.approx(expected, abs=1e-5, rel=0), f"{ranks} ranks"
        for ours, theirs in zip(evaluations_of(output_dir), evaluations, strict=True):
            assert ours["eval_loss"] == pytest.approx(theirs["eval_loss"], abs=1e-5, rel=0)
            assert ours["eval_accuracy"] == theirs["eval_accuracy"]


def test_a_heads_small_steps_have_the_same_bits_at_any_number_of_ranks(folder):
    """Each rank takes all rows of such a step. Not so where gradients are to be exchanged as bfloat16 numbers."""
    def head_at(ranks, name, **options):
        output_dir = train_at(folder, ranks, name, freeze="base_except_pooler", weight_decay=0.1, **options)
        return (output_dir / "model.safetensors").read_bytes(), losses_of(output_dir)

    one = head_at(0, "bits")
    assert all(head_at(ranks, "bits") == one for ranks in (1, 2, 3, 4))
    rounded, losses = head_at(2, "rounded", grad_reduce_in_bf16=True)
    assert rounded != one[0] and losses == pytest.approx(one[1], abs=1e-3)


def test_samples_per_second_counts_the_rows_there_are(folder):
    summary = state_of(train_at(folder, 2, "speed", data="two_rows.csv", batch=16))["log_history"][-1]
    assert summary["train_samples_per_second"] * summary["train_runtime"] == pytest.approx(2 * 2)


def test_dropout_is_really_on_where_it_should_be(folder):
    def losses(name, **options):
        return losses_of(train_at(folder, 0, name, **options))

    frozen = {"freeze": "base_except_pooler"}
    without = losses("no_dropout_at_all", model="no_dropout", **frozen)
    assert losses("dropout_in_the_head", **frozen) != pytest.approx(without, abs=1e-3)
    assert (losses("dropout_everywhere", frozen_dropout=True, **frozen)
            != pytest.approx(losses("dropout_in_the_head_again", **frozen), abs=1e-3))
    assert losses("other_masks_and_order", seed=43, **frozen) != pytest.approx(losses("masks", **frozen), abs=1e-3)


@pytest.mark.parametrize("data", ["pool.csv", "two_rows.csv"])
def test_one_checkpoint_has_the_same_metrics_at_any_number_of_ranks(folder, pool, data):
    results = []
    for ranks in (0, 1, 2, 3, 4):
        output_dir = folder / f"metrics-{data}-{ranks}"
        printed = run("evaluate", ranks=ranks, model_name_or_path=folder / "dropout", test_file=folder / data,
                      output_dir=output_dir, num_threads=1, token_cache_dir=folder / "cache").stdout
        metrics = json.loads((output_dir / "eval_results.json").read_text())
        assert f"  eval_confusion_matrix        = {metrics['eval_confusion_matrix']}\n".replace(", ", ",") in printed
        results.append({key: value for key, value in metrics.items() if not key.endswith(TIMES)})
    assert {"eval_loss", "eval_accuracy", "eval_auc", "eval_confusion_matrix"} <= set(results[0])
    assert all(result == results[0] for result in results)


def test_the_predictions_of_several_ranks_are_the_same_bytes(folder, pool):
    outputs = []
    for ranks in (0, 2, 3, 4):
        output = folder / f"predictions-{ranks}.jsonl"
        run("predict", ranks=ranks, model_name_or_path=folder / "dropout", test_file=pool, output_file=output,
            num_threads=1)
        outputs.append(output.read_bytes())
    assert all(output == outputs[0] for output in outputs)
    assert [row["row"] for row in predictions_of(folder / "predictions-3.jsonl")] == list(range(POOL_ROWS))
