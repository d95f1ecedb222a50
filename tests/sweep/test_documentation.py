"""docs/sweeps.md: its commands, in its order, do what it says."""

import os
import re
import subprocess
from pathlib import Path

from reference.program import ENVIRONMENT, save_bert

ROOT = Path(__file__).resolve().parents[2]


def test_each_command_of_the_documentation_runs(tmp_path):
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "data").symlink_to(ROOT / "data")
    (tmp_path / "models").mkdir()
    save_bert(tmp_path / "models/all-MiniLM-L6-v2", max_position_embeddings=128)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/bertdist").symlink_to(os.environ["BERTDIST"])
    (tmp_path / "bin/mpirun").symlink_to(os.environ["MPIRUN"])
    blocks = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "docs/sweeps.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 7
    # tests/mpirun calls the real mpirun, which must not be looked for in bin.
    script = "mpirun() { bin/mpirun \"$@\"; }\nset -e\n" + "".join(blocks).replace("PATH=$PWD/bin:$PATH", "PATH=$PATH:$PWD/bin")
    environment = {**ENVIRONMENT, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True,
                          timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 trials: 12 finished, 0 stopped early, 0 failed, 0 missing" in done.stdout
    assert "of 12 trials stopped early" in done.stdout
    for file in ("runs/sweep/leaderboard.csv", "results.csv", "predictions.csv", "runs/sweep/trial_003/run/model.safetensors"):
        assert (tmp_path / file).exists(), file
