"""How the cores of a machine are shared among its ranks, whatever mpirun's binding made of them."""

import os
import re
import subprocess

import pytest
from reference.program import ENVIRONMENT, command, make_rows, save_bert, write_csv

CORES = len(os.sched_getaffinity(0))
AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cores")
    save_bert(folder / "model")
    write_csv(folder / "train.csv", make_rows(8))
    return folder


@pytest.mark.parametrize("binding", ["core", "none"])
@pytest.mark.parametrize("ranks", [1, 2])
def test_the_ranks_share_all_cores(folder, ranks, binding):
    line = ["mpirun", "-np", str(ranks), "--oversubscribe", "--bind-to", f"{binding}:overload-allowed" if binding ==
            "core" else binding, *command("train", model_name_or_path=folder / "model", train_file=folder / "train.csv",
                                          output_dir=folder / f"{ranks}-{binding}", token_cache_dir=folder / "cache",
                                          num_train_epochs=1)]
    done = subprocess.run(line, env=ENVIRONMENT | AS_ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    threads = re.search(rf"{ranks} ranks? on 1 host .*, (\d+) threads? each", done.stderr)
    assert int(threads[1]) == max(1, CORES // ranks)


def test_a_number_of_threads_that_was_asked_for(folder):
    line = command("train", model_name_or_path=folder / "model", train_file=folder / "train.csv", num_threads=3,
                   output_dir=folder / "asked", token_cache_dir=folder / "cache", num_train_epochs=1)
    done = subprocess.run(line, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "3 threads each" in done.stderr, done.stderr
