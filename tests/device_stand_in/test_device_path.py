"""What a program does that computes on a GPU, where the GPU is a stand-in: the CPU, used as any other device. Beside the same
program without it."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from reference.program import ENVIRONMENT, command, losses_of, make_rows, predictions_of, save_bert, state_of, write_csv
from reference.resuming import cut_off_after, history_of
from safetensors.torch import load_file, save_file

NUMERIC, PREEMPTED = 7, 9
BERTDIST = Path(os.environ["BERTDIST"])
STAND_IN = BERTDIST.with_name("bertdist_device_stand_in")
OVER_NCCL = BERTDIST.with_name("bertdist_nccl_stand_in")  # where NcclCommunicator moves the tensors


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("device")
    # The stand-in's attention drops nothing.
    save_bert(folder / "model", attention_probs_dropout_prob=0.0)
    write_csv(folder / "train.csv", make_rows(45))
    write_csv(folder / "validation.csv", make_rows(12, seed=1))
    return folder


def line_of(data, output, *, on_device=True, program=STAND_IN, ranks=0, **options):
    """45 rows in steps of 8: 6 steps an epoch."""
    return command("train", ranks=ranks, program=program, train_file=data / "train.csv",
                   validation_file=data / "validation.csv", output_dir=output, token_cache_dir=data / "cache",
                   num_threads=1, device="auto" if on_device else "cpu",
                   **{"global_batch_size": 8, "num_train_epochs": 2, "learning_rate": 1e-3, "warmup_steps": 2,
                      "weight_decay": 0.1, "logging_strategy": "steps", "logging_steps": 1, "save_strategy": "epoch",
                      "eval_strategy": "epoch", "model_name_or_path": data / "model", **options})


def train(data, output, *, check=True, **options):
    done = subprocess.run(line_of(data, output, **options), env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize("options", [
    {}, {"freeze.first_layers": 1}, {"freeze": "base_except_pooler"}, {"gradient_accumulation_steps": 2},
    {"freeze.first_layers": 1, "frozen_dropout": True}, {"feature_cache_max_gb": 0, "freeze.first_layers": 1}])
def test_losses_and_evaluations_are_those_of_the_cpu(data, tmp_path, options):
    done = train(data, tmp_path / "device", **options)
    assert "float32 on a stand-in" in done.stderr
    train(data, tmp_path / "cpu", on_device=False, **options)
    device, cpu = history_of(tmp_path / "device"), history_of(tmp_path / "cpu")
    assert [sorted(entry) for entry in device] == [sorted(entry) for entry in cpu]
    for name in ("loss", "grad_norm", "learning_rate", "eval_loss", "train_loss"):
        np.testing.assert_allclose([entry[name] for entry in device if name in entry],
                                   [entry[name] for entry in cpu if name in entry], rtol=2e-4, atol=1e-7, err_msg=name)
    for name in ("num_input_tokens_seen", "global_step", "epoch"):
        assert state_of(tmp_path / "device")[name] == state_of(tmp_path / "cpu")[name]


def test_losses_between_logs_are_counted_too(data, tmp_path):
    """With a log every fourth step the others' losses come late."""
    for name, on_device in (("device", True), ("cpu", False)):
        train(data, tmp_path / name, on_device=on_device, logging_steps=4, eval_strategy="no", save_strategy="no")
    np.testing.assert_allclose(losses_of(tmp_path / "device"), losses_of(tmp_path / "cpu"), rtol=2e-4)
    assert state_of(tmp_path / "device")["total_loss"] == pytest.approx(state_of(tmp_path / "cpu")["total_loss"], rel=2e-4)


def test_bfloat16_is_near_float32(data, tmp_path):
    done = train(data, tmp_path / "auto", dtype="auto")
    assert "bfloat16 on a stand-in" in done.stderr
    train(data, tmp_path / "cpu", on_device=False)
    np.testing.assert_allclose(losses_of(tmp_path / "auto"), losses_of(tmp_path / "cpu"), rtol=0.05)
    assert losses_of(tmp_path / "auto") != losses_of(tmp_path / "cpu")


@pytest.mark.parametrize("program", [STAND_IN, OVER_NCCL], ids=["mpi", "nccl"])
@pytest.mark.parametrize("ranks", [2, 3])
def test_several_ranks_do_what_one_does(data, tmp_path, ranks, program):
    train(data, tmp_path / "one")
    for name, options in (("overlap", {"ddp_bucket_cap_mb": 0.01}), ("at_once", {"overlap_grad_reduce": False})):
        done = train(data, tmp_path / name, ranks=ranks, program=program, **options)
        assert ("NCCL 2." in done.stderr) == (program == OVER_NCCL)
        np.testing.assert_allclose(losses_of(tmp_path / name), losses_of(tmp_path / "one"), rtol=2e-4)
    train(data, tmp_path / "simulated", **{"debug.world_size": ranks})
    np.testing.assert_allclose(losses_of(tmp_path / "simulated"), losses_of(tmp_path / "one"), rtol=2e-4)


def test_gradients_as_bfloat16_over_nccl(data, tmp_path):
    options = {"ranks": 2, "ddp_bucket_cap_mb": 0.01}
    for name, more in (("mpi", {"program": STAND_IN}), ("nccl", {"program": OVER_NCCL})):
        train(data, tmp_path / name, **options, **more, grad_reduce_in_bf16=True)
    train(data, tmp_path / "float32", **options)
    # Two numbers have one sum, which both round once.
    assert losses_of(tmp_path / "nccl") == losses_of(tmp_path / "mpi")
    assert losses_of(tmp_path / "nccl") != losses_of(tmp_path / "float32")
    np.testing.assert_allclose(losses_of(tmp_path / "nccl"), losses_of(tmp_path / "float32"), rtol=0.01)


@pytest.mark.parametrize("ranks, program", [(0, STAND_IN), (2, STAND_IN), (2, OVER_NCCL)])
def test_resuming_gives_the_bits_of_a_run_that_was_not_cut_off(data, tmp_path, ranks, program):
    options = {"ranks": ranks, "program": program}
    train(data, tmp_path / "straight", **options)
    cut_off_after(tmp_path / "straight", tmp_path / "resumed", 6)
    train(data, tmp_path / "resumed", **options, resume_from_checkpoint="latest")
    assert weights(tmp_path / "resumed") == weights(tmp_path / "straight")
    without_end = [[entry for entry in history_of(tmp_path / name) if "train_loss" not in entry]
                   for name in ("resumed", "straight")]
    assert without_end[0] == without_end[1]


@pytest.mark.parametrize("ranks, program", [(0, STAND_IN), (2, STAND_IN), (2, OVER_NCCL)])
def test_a_signal_ends_a_step_and_saves_it(data, tmp_path, ranks, program):
    options = {"num_train_epochs": 200, "save_strategy": "no", "eval_strategy": "no", "ranks": ranks, "program": program,
               "logging_steps": 50, "lr_scheduler_type": "constant", "warmup_steps": 0}
    job = subprocess.Popen(line_of(data, tmp_path / "stopped", **options), env=ENVIRONMENT, stdout=subprocess.DEVNULL,
                           stderr=subprocess.PIPE, text=True)
    log = tmp_path / "stopped" / "run_log.jsonl"
    while job.poll() is None and not (log.exists() and '"loss"' in log.read_text()):
        time.sleep(0.05)
    job.send_signal(signal.SIGUSR1)
    assert job.wait(timeout=120) == PREEMPTED, job.stderr.read()
    [checkpoint] = (tmp_path / "stopped").glob("checkpoint-*")
    step = int(checkpoint.name.removeprefix("checkpoint-"))
    state = json.loads((checkpoint / "trainer_state.json").read_text())
    assert state["global_step"] == step and 0 < step < 1200 and state["steps_since_log"] == step % 50
    options["num_train_epochs"] = step // 6 + 2
    train(data, tmp_path / "stopped", **options, resume_from_checkpoint="latest")
    train(data, tmp_path / "straight", **options)
    assert weights(tmp_path / "stopped") == weights(tmp_path / "straight")


@pytest.mark.parametrize("ranks", [0, 2])
def test_a_loss_that_is_not_finite_is_told_and_never_saved(data, tmp_path, ranks):
    options = {"learning_rate": 1e30, "warmup_steps": 0, "max_grad_norm": 0, "save_strategy": "steps", "save_steps": 1,
               "eval_strategy": "no", "ranks": ranks}
    done = train(data, tmp_path / "saved", check=False, **options)
    assert done.returncode == NUMERIC and "step 2: loss" in done.stderr and "not finite" in done.stderr, done.stderr
    assert [path.name for path in (tmp_path / "saved").glob("checkpoint-*")] == ["checkpoint-1"]
    # Where nobody asks for a step's numbers they come one step later, and name the same step.
    done = train(data, tmp_path / "late", check=False, **{**options, "save_strategy": "no", "logging_steps": 1000})
    assert done.returncode == NUMERIC and "step 2: loss" in done.stderr, done.stderr


def test_a_step_is_replayed(data, tmp_path):
    train(data, tmp_path / "out", ranks=2)
    for device, program in (("GPU", STAND_IN), ("CPU", BERTDIST)):
        options = [] if device == "GPU" else ["--device", "cpu"]
        done = subprocess.run([program, "replay", tmp_path / "out", "--step", "5", *options], env=ENVIRONMENT,
                              capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        same = done.stdout.count("as the run logged it")
        assert same == 3 if device == "GPU" else same < 3, done.stdout
        assert ("the run computed on a GPU, this replay does on a CPU" in done.stderr) == (device == "CPU")
        assert "phase of a step" in done.stdout


def test_debug_mode_overfits(data, tmp_path):
    done = train(data, tmp_path / "out", max_steps=2000, warmup_steps=0, learning_rate=3e-3,
                 **{"debug.overfit_batches": 1})
    assert "overfit_batches = 1: after" in done.stdout and "optimizer" in done.stdout


@pytest.mark.parametrize("freeze", ["none", "base_except_pooler"])
def test_debug_mode_names_the_module_that_is_not_finite(data, tmp_path, freeze):
    model = shutil.copytree(data / "model", tmp_path / "model")
    weights = load_file(model / "model.safetensors")
    weights["bert.pooler.dense.bias"][3] = torch.nan
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    done = train(data, tmp_path / "out", check=False, model_name_or_path=model, debug=True, freeze=freeze)
    assert done.returncode == NUMERIC, done.stderr
    assert "step 1, forward: bert.pooler.dense is the first module whose output is not finite" in done.stderr


def test_the_best_model_is_loaded_at_the_end(data, tmp_path):
    options = {"load_best_model_at_end": True, "num_train_epochs": 3, "learning_rate": 1e-2}
    for name, on_device in (("device", True), ("cpu", False)):
        train(data, tmp_path / name, on_device=on_device, **options)
    best = [state_of(tmp_path / name)["best_global_step"] for name in ("device", "cpu")]
    assert best[0] == best[1]
    assert weights(tmp_path / "device") == weights(tmp_path / f"device/checkpoint-{best[0]}")


def test_evaluate_and_predict(data, tmp_path):
    train(data, tmp_path / "model")
    logits, metrics = [], []
    for name, program in (("device", STAND_IN), ("cpu", BERTDIST)):
        for verb, options in (("predict", {"test_file": data / "validation.csv", "output_file": tmp_path / f"{name}.jsonl"}),
                              ("evaluate", {"validation_file": data / "validation.csv", "output_dir": tmp_path / name})):
            line = command(verb, program=program, model_name_or_path=tmp_path / "model", token_cache_dir=data / "cache", num_threads=1,
                           **options)
            subprocess.run(line, check=True, capture_output=True, env=ENVIRONMENT, timeout=120)
        logits.append([row["logits"] for row in predictions_of(tmp_path / f"{name}.jsonl")])
        metrics.append(json.loads((tmp_path / name / "eval_results.json").read_text())["eval_loss"])
    np.testing.assert_allclose(logits[0], logits[1], atol=1e-5)
    assert metrics[0] == pytest.approx(metrics[1], rel=1e-5)
