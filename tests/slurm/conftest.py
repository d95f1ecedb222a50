import os
import shutil
import tempfile
from pathlib import Path

import pytest
from reference.program import make_rows, save_bert, write_csv
from slurm.cluster import PROJECT, start_cluster


@pytest.fixture(scope="session")
def cluster():
    # Not pytest's folder: the daemons' sockets lie in it, whose paths may not be long.
    folder = Path(tempfile.mkdtemp(prefix="slurm."))
    with start_cluster(folder) as cluster:
        yield cluster
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder as a user has it after launcher/setup, with a small model in the place of the quick start's."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "bin").mkdir()
    (folder / "bin" / "bertdist").symlink_to(os.environ["BERTDIST"])
    for part in ("configs", "data", "slurm"):
        (folder / part).symlink_to(PROJECT / part)
    save_bert(folder / "model", dropout=0.1)
    (folder / "models").mkdir()
    (folder / "models" / "all-MiniLM-L6-v2").symlink_to(folder / "model")
    write_csv(folder / "train.csv", make_rows(45))
    return folder
