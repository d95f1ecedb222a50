"""debug.check_gradients passes on what is right, and names the module whose derivative is wrong."""

import os

import pytest
from reference.program import make_rows, save_bert, train, write_csv

GRADIENT = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gradients")
    save_bert(folder / "model")
    write_csv(folder / "train.csv", make_rows(16))
    return folder


def check_gradients(folder, wrong="", check=True, **options):
    options = {"train_file": folder / "train.csv", "max_steps": 1, "save_strategy": "no", "overwrite_output_dir": True,
               "debug.check_gradients": True, **options}
    launcher = ["env", f"LD_PRELOAD={os.environ['WRONG_GRADIENTS_LIBRARY']}", f"WRONG_GRADIENT={wrong}"] if wrong else []
    return train(folder / "model", folder / "out", check=check, launcher=launcher, **options)


@pytest.mark.parametrize("freeze, facts", [
    ("none", ["41 parameters in 22 modules"]),
    ("{first_layers = 1}", ["20 parameters in 10 modules"]),
    ("base_except_pooler", ["4 parameters in 2 modules", "so do those of the step of a head alone, in float32"]),
    ("base", ["2 parameters in 1 module "]),
    ("['*.bias']", ["22 parameters in 22 modules"]),
])
def test_gradients_agree_with_finite_differences(folder, freeze, facts):
    result = check_gradients(folder, freeze=freeze, label_smoothing_factor=0.1)
    assert "agree with finite differences" in result.stderr
    assert "so do those that a training step computes on the CPU, in float32" in result.stderr
    for fact in facts:
        assert fact in result.stderr, result.stderr
    assert (folder / "out" / "model.safetensors").exists(), "the training follows"


@pytest.mark.parametrize("wrong, module, freeze", [
    ("gelu", "bert.encoder.layer.1.intermediate.dense", "none"),
    ("gelu", "bert.encoder.layer.1.intermediate.dense", "{first_layers = 1}"),
    ("tanh", "bert.pooler.dense", "none"),
    ("tanh", "bert.pooler.dense", "base_except_pooler"),
])
def test_a_wrong_derivative_is_found(folder, wrong, module, freeze):
    result = check_gradients(folder, wrong, check=False, freeze=freeze)
    assert result.returncode == GRADIENT, result.stderr
    assert f"the gradient of module {module} is wrong" in result.stderr
    assert f"{module}.weight" in result.stderr and "classifier" not in result.stderr
    assert "bert.pooler" not in result.stderr or wrong == "tanh"
