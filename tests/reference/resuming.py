"""What the tests of resuming share: one small job, and what its runs leave."""

import shutil

from reference.program import make_rows, save_bert, state_of, write_csv


def make_folder(folder):
    save_bert(folder / "model", dropout=0.1)
    write_csv(folder / "train.csv", make_rows(45))
    write_csv(folder / "validation.csv", make_rows(10, seed=1))
    return folder


def options_of(folder, **options):
    return {"train_file": folder / "train.csv", "validation_file": folder / "validation.csv", "global_batch_size": 8,
            "num_train_epochs": 3, "learning_rate": 1e-3, "warmup_steps": 4, "weight_decay": 0.1,
            "lr_scheduler_type": "cosine", "logging_strategy": "steps", "logging_steps": 1, "eval_strategy": "epoch",
            "save_strategy": "epoch", "load_best_model_at_end": False, **options}


def cut_off_after(straight, stopped, step):
    """What a run that was ended after this checkpoint leaves in its folder."""
    shutil.copytree(straight, stopped)
    for entry in stopped.iterdir():
        if entry.is_file():
            entry.unlink()
        elif entry.name.startswith("checkpoint-") and int(entry.name.removeprefix("checkpoint-")) > step:
            shutil.rmtree(entry)
    assert (stopped / f"checkpoint-{step}" / "optimizer.safetensors").exists()


def history_of(output_dir):
    """Everything but the times."""
    return [{key: value for key, value in entry.items() if "runtime" not in key and "per_second" not in key}
            for entry in state_of(output_dir)["log_history"]]
