"""measure.py --gpus N --bench PROGRAM --json FILE: trains a model of bert-base's shape on 1 to N GPUs, with 64 rows of up
to 128 tokens on each in a step, and prints tokens a second, their share of the measured rate of bfloat16 products, and
all-reduce's bandwidth. Part of tests/gpu/run, which sets BERTDIST and MPIRUN."""

import argparse
import json
import os
import random
import subprocess
import tempfile
from pathlib import Path

from figures import Run, Shape, all_reduce_table, bus_bandwidth, table, tokens_per_second, training_flops
from reference.program import command, save_bert, write_csv

SHAPE = Shape(hidden_size=768, intermediate_size=3072, num_hidden_layers=12)
MAX_LENGTH, ROWS_PER_GPU, SHORT, LONG = 128, 64, 20, 120


def lengths_of(count: int) -> list[int]:
    generator = random.Random(1)
    return [generator.randint(16, MAX_LENGTH) for _ in range(count)]


def train(folder: Path, gpus: int, steps: int, dropout: float) -> Run:
    model = folder / f"model_{dropout}"
    if not model.exists():
        save_bert(model, dropout=dropout, vocab_size=30522, hidden_size=SHAPE.hidden_size, intermediate_size=SHAPE.intermediate_size,
                  num_hidden_layers=SHAPE.num_hidden_layers, num_attention_heads=12, max_position_embeddings=512,
                  initializer_range=0.02)
    output = folder / f"out_{gpus}_{steps}_{dropout}"
    line = command("train", ranks=gpus if gpus > 1 else 0, model_name_or_path=model, train_file=folder / "train.csv",
                   output_dir=output, token_cache_dir=folder / "cache", device="cuda", dtype="auto", max_steps=steps,
                   per_device_train_batch_size=ROWS_PER_GPU, max_seq_length=MAX_LENGTH, save_strategy="no",
                   eval_strategy="no", logging_strategy="no")
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
    results = json.loads((output / "train_results.json").read_text())
    state = json.loads((output / "trainer_state.json").read_text())
    return Run(results["global_step"], state["num_input_tokens_seen"], results["train_runtime"])


def bench(program: str, what: str, ranks: int = 0) -> dict:
    launcher = [os.environ["MPIRUN"], "-np", str(ranks)] if ranks else []
    done = subprocess.run([*launcher, program, what], check=True, capture_output=True, text=True)
    return json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpus", type=int, required=True)
    parser.add_argument("--bench", required=True)
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    matmul = bench(options.bench, "matmul")["matmul_flops_per_second"]
    print(f"bfloat16 matrix products: {matmul / 1e12:.0f} TFLOP/s", flush=True)

    training, all_reduce = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lengths = lengths_of(ROWS_PER_GPU * options.gpus * LONG)  # no row comes twice, and all come in the longest run
        letters = "abcdefghijklmnop"
        write_csv(folder / "train.csv", [(" ".join(letters[(row + word) % 16] for word in range(length - 2)), row % 2)
                                         for row, length in enumerate(lengths)])
        flops_per_token = training_flops(SHAPE, lengths) / sum(lengths)
        train(folder, 1, 1, 0.0)  # fills the token cache
        for dropout in (0.0, 0.1):
            for gpus in range(1, options.gpus + 1):
                rate = tokens_per_second(*(train(folder, gpus, steps, dropout) for steps in (SHORT, LONG)))
                one = next((e["tokens_per_second"] for e in training if e["dropout"] == dropout), rate)
                training.append({"gpus": gpus, "dropout": dropout, "tokens_per_second": rate,
                                 "matmul_share": rate * flops_per_token / (gpus * matmul), "efficiency": rate / (gpus * one)})
                print(table(training[-1:]).splitlines()[-1], flush=True)
    for ranks in range(2, options.gpus + 1):
        all_reduce += [{"ranks": ranks, **entry, "bus_bandwidth": bus_bandwidth(entry["bytes"], entry["seconds"], ranks)}
                       for entry in bench(options.bench, "all_reduce", ranks)["all_reduce"]]

    print(f"\n{table(training)}\n")
    if all_reduce:
        print(f"{all_reduce_table(all_reduce)}\n")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    names = subprocess.run(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"], check=True,
                           capture_output=True, text=True).stdout.splitlines()
    options.json.write_text(json.dumps({"gpus": names[:options.gpus], "matmul_flops_per_second": matmul,
                                        "training": training, "all_reduce": all_reduce}, indent=2) + "\n")
    print(f"written to {options.json}")


if __name__ == "__main__":
    main()
