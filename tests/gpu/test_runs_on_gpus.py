"""Whole runs on GPUs beside the CPU's. For a machine with NVIDIA GPUs: tests/gpu/run, which says in GPUS how many. Where there
are none, what does not need them is tried on a stand-in (DEVICE = "auto")."""

import os
import random
import shutil

import numpy as np
import pytest
import torch
from reference.program import make_rows, predictions_of, run, save_bert, state_of, train, write_csv
from safetensors.torch import load_file, save_file
from watchdog import faults

GPUS, DEVICE = int(os.environ["GPUS"]), os.environ.get("DEVICE", "cuda")
CONFIGURATION, NUMERIC, OUT_OF_MEMORY = 2, 7, 8
STEPS = 12
on_real_gpus = pytest.mark.skipif(DEVICE != "cuda", reason="this is a stand-in")


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpu")
    return {"model": save_bert(folder / "model", attention_probs_dropout_prob=0.0),
            "train_file": write_csv(folder / "train.csv", make_rows(200)),
            "validation_file": write_csv(folder / "validation.csv", make_rows(60, seed=1))}


def train_on(device, job, output, *, ranks=0, check=True, **options):
    options = {"global_batch_size": 16, "max_steps": STEPS, "logging_strategy": "steps", "logging_steps": 1,
               "eval_strategy": "steps", "eval_steps": 6, "save_strategy": "no", "learning_rate": 1e-3, **options}
    return train(job["model"], output, ranks=ranks, check=check, device=device, train_file=job["train_file"],
                 validation_file=job["validation_file"], **options)


def require_close(one, other, tolerance):
    """Every step's loss and gradient norm, and the evaluations'."""
    for name, count in (("loss", STEPS), ("grad_norm", STEPS), ("eval_loss", 2)):
        values = [[entry[name] for entry in state_of(folder)["log_history"] if name in entry] for folder in (one, other)]
        assert len(values[0]) == count
        np.testing.assert_allclose(values[0], values[1], rtol=tolerance, err_msg=name)


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-3), ("bfloat16", 0.05)])
@pytest.mark.parametrize("freezing", [{}, {"freeze.first_layers": 1}, {"freeze": "base_except_pooler"}])
def test_losses_are_those_of_the_cpu(tmp_path, job, dtype, tolerance, freezing):
    train_on("cpu", job, tmp_path / "cpu", **freezing)
    train_on(DEVICE, job, tmp_path / "gpu", dtype=dtype, **freezing)
    require_close(tmp_path / "gpu", tmp_path / "cpu", tolerance)
    assert state_of(tmp_path / "gpu")["num_input_tokens_seen"] == state_of(tmp_path / "cpu")["num_input_tokens_seen"]


def test_predictions_are_those_of_the_cpu(tmp_path, job):
    train_on(DEVICE, job, tmp_path / "out")
    logits = []
    for device in ("cpu", DEVICE):
        run("predict", model_name_or_path=tmp_path / "out", test_file=job["validation_file"], device=device,
            output_file=tmp_path / f"{device}.jsonl")
        logits.append([row["logits"] for row in predictions_of(tmp_path / f"{device}.jsonl")])
    np.testing.assert_allclose(logits[1], logits[0], atol=1e-3)


def test_debug_mode_repeats_its_bits_and_resumes_to_the_bit(tmp_path, job):
    options = {"debug": True, "dtype": "auto", "save_strategy": "steps", "save_steps": 6}
    for name in ("one", "two"):
        train_on(DEVICE, job, tmp_path / name, **options)
    assert weights(tmp_path / "one") == weights(tmp_path / "two")
    train_on(DEVICE, job, tmp_path / "three", **options, resume_from_checkpoint=tmp_path / "one" / "checkpoint-6")
    assert weights(tmp_path / "three") == weights(tmp_path / "one")


def test_a_step_is_replayed(tmp_path, job):
    train_on(DEVICE, job, tmp_path / "out", debug=True)
    done = run("replay", str(tmp_path / "out"), "--step", "5")
    assert "loss" in done.stdout and done.stdout.count("as the run logged it") == 3, done.stdout


def test_debug_mode_overfits(tmp_path, job):
    done = train_on(DEVICE, job, tmp_path / "overfit", max_steps=2000, learning_rate=3e-3,
                    **{"debug.overfit_batches": 1})
    assert "overfit_batches = 1: after" in done.stdout


@on_real_gpus
def test_debug_mode_traces_and_tells_times(tmp_path, job):
    done = train_on(DEVICE, job, tmp_path / "traced", **{"debug.trace": tmp_path / "trace.json"})
    assert "phase of a step" in done.stdout and '"kernel"' in (tmp_path / "trace.json").read_text()


def test_the_module_that_is_not_finite_is_named(tmp_path, job):
    model = shutil.copytree(job["model"], tmp_path / "model")
    weights = load_file(model / "model.safetensors")
    weights["bert.encoder.layer.1.output.dense.bias"][3] = torch.nan
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    done = train_on(DEVICE, {**job, "model": model}, tmp_path / "out", check=False, debug=True)
    assert done.returncode == NUMERIC and "forward: bert.encoder.layer.1.output.dense is the first module" in done.stderr


def test_a_loss_that_is_not_finite_is_told(tmp_path, job):
    done = train_on(DEVICE, job, tmp_path / "out", check=False, learning_rate=1e30, max_grad_norm=0, logging_steps=5)
    assert done.returncode == NUMERIC and "not finite" in done.stderr, done.stderr


@on_real_gpus
def test_a_sweep_says_that_it_computes_on_cpus(tmp_path, job):
    (tmp_path / "sweep.toml").write_text(
        f'model_name_or_path = "{job["model"]}"\ntrain_file = "{job["train_file"]}"\noutput_dir = "{tmp_path / "sweep"}"\n'
        f'validation_file = "{job["validation_file"]}"\ndevice = "cuda"\n[sweep]\nmethod = "grid"\n'
        'metric = {name = "eval_loss", goal = "minimize"}\n[sweep.parameters]\nlearning_rate = {values = [1e-3, 1e-2]}\n')
    done = run("sweep", "run", check=False, config=tmp_path / "sweep.toml")
    assert done.returncode == CONFIGURATION and "a sweep's trials are trained on the CPU" in done.stderr, done.stderr


# One set for each number of GPUs that the machine has.
@pytest.mark.parametrize("ranks", range(2, GPUS + 1))
def test_several_ranks_do_what_one_does(tmp_path, job, ranks):
    train_on(DEVICE, job, tmp_path / "one")
    in_buckets = {"ddp_bucket_cap_mb": 0.01}
    for name, options, tolerance in (("at_once", {}, 1e-3), ("overlapped", in_buckets, 1e-3),
                                     ("one_by_one", {**in_buckets, "overlap_grad_reduce": False}, 1e-3),
                                     ("in_bf16", {**in_buckets, "grad_reduce_in_bf16": True}, 0.05)):
        train_on(DEVICE, job, tmp_path / name, ranks=ranks, **options)
        require_close(tmp_path / name, tmp_path / "one", tolerance)
    train_on(DEVICE, job, tmp_path / "simulated", **{"debug.world_size": ranks})
    require_close(tmp_path / "simulated", tmp_path / "at_once", 1e-3)


@on_real_gpus
def test_a_batch_that_does_not_fit_is_told(tmp_path, job):
    """A step of 20,000 rows, whose activations take more than any GPU has."""
    model = save_bert(tmp_path / "model", hidden_size=2048, intermediate_size=8192, num_attention_heads=16,
                      num_hidden_layers=4, attention_probs_dropout_prob=0.0)
    rows = write_csv(tmp_path / "train.csv", make_rows(20_000))
    done = train_on(DEVICE, {**job, "model": model, "train_file": rows}, tmp_path / "out", check=False,
                    global_batch_size=20_000)
    assert done.returncode == OUT_OF_MEMORY, done.stderr
    assert "out of memory on CUDA device 0" in done.stderr and "lower per_device_train_batch_size" in done.stderr


@on_real_gpus
@pytest.mark.parametrize("ranks", range(2, GPUS + 1))
@pytest.mark.parametrize("program", ["nccl_rounds", "overlap"])
def test_ranks_that_are_stopped_killed_or_led_astray(tmp_path, ranks, program):
    generator = random.Random(ranks)
    kinds = ("stop", "kill", "wrong") if program == "nccl_rounds" else ("stop", "kill")
    planned = [faults.draw(generator, kind, program, ranks) for kind in kinds]
    # CUDA's and NCCL's first calls take their time.
    bench = faults.Bench(tmp_path, timeout=10)
    faults.require_answered(faults.run_all(planned, bench, jobs=1, report=lambda *_: None))
