"""How gradients travel between the ranks decides no bit of a training."""

import numpy as np
import pytest
from program import losses_of, make_rows, save_bert, train, write_csv

SMALL = 0.01  # MiB; the first of the buckets closes at it too
WAYS = {
    "one_buffer": {"ddp_bucket_cap_mb": 0},
    "buckets": {"ddp_bucket_cap_mb": SMALL, "overlap_grad_reduce": False},
    "overlapped": {"ddp_bucket_cap_mb": SMALL},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("buckets")
    save_bert(folder / "model")
    write_csv(folder / "train.csv", make_rows(29))
    write_csv(folder / "validation.csv", make_rows(11, seed=1))
    write_csv(folder / "two_rows.csv", make_rows(2, seed=2))
    return folder


def run(folder, ranks, name, way, data="train.csv", **options):
    """Losses to the last bit, and the bytes of the last checkpoint."""
    output_dir = folder / f"{name}-{ranks}-{way}"
    result = train(folder / "model", output_dir, ranks=ranks, train_file=folder / data,
                   validation_file=folder / "validation.csv", global_batch_size=6, num_train_epochs=2, learning_rate=2e-3,
                   logging_strategy="steps", logging_steps=1, save_strategy="epoch", eval_strategy="epoch",
                   **WAYS[way], **options)
    printed = result.stdout + result.stderr
    in_bf16 = options.get("grad_reduce_in_bf16", False)
    matrices = ", those of matrices in bfloat16," if in_bf16 else ""
    says = {"one_buffer": "gradients are summed", "buckets": f"buckets{matrices}",
            "overlapped": f"buckets{matrices} while backward goes on"}
    assert (says[way] in printed) == (way != "one_buffer" or in_bf16), printed
    last = max(output_dir.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    return losses_of(output_dir), {file.name: file.read_bytes() for file in last.glob("*.safetensors")}


@pytest.mark.parametrize("name, options", [
    ("whole", {}),
    ("accumulated", {"gradient_accumulation_steps": 3}),
    ("partly_frozen", {"freeze": "{first_layers = 1}"}),
    ("by_patterns", {"freeze": ["*.attention.*", "*.word_embeddings.*"]}),
    ("ranks_without_rows", {"data": "two_rows.csv"}),
    ("bfloat16", {"dtype": "bfloat16"}),
    ("bf16_reduced", {"grad_reduce_in_bf16": True}),
])
@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_one_buffer_buckets_and_overlap_give_the_same_bits(folder, ranks, name, options):
    losses, checkpoint = run(folder, ranks, name, "one_buffer", **options)
    assert len(losses) == (2 if name == "ranks_without_rows" else 10) and "optimizer.safetensors" in checkpoint
    for way in ("buckets", "overlapped"):
        assert run(folder, ranks, name, way, **options) == (losses, checkpoint), way


def test_gradients_exchanged_in_bfloat16_are_near(folder):
    options = {"ranks": 3, "way": "buckets"}
    exact, _ = run(folder, name="exact", **options)
    rounded, _ = run(folder, name="rounded", grad_reduce_in_bf16=True, **options)
    np.testing.assert_allclose(rounded, exact, rtol=0.02)
    assert rounded[0] == exact[0] and rounded != exact
