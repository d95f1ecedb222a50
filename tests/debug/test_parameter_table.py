"""Debug mode prints what the first step does to each parameter."""

import re

from debug.test_replay import table_of
from reference.program import make_rows, save_bert, train, write_csv
from safetensors.torch import load_file


def test_the_table_of_the_first_step_is_printed(tmp_path):
    model = save_bert(tmp_path / "model")
    options = {"train_file": write_csv(tmp_path / "train.csv", make_rows(40)), "global_batch_size": 8, "save_steps": 1,
               "num_train_epochs": 1}
    output = train(model, tmp_path / "out", freeze="{first_layers = 1}", debug=True, **options).stdout
    assert len(re.findall(r"^parameters at step", output, re.MULTILINE)) == 1
    table = table_of(output[output.index("parameters at step 1\n"):])
    before = load_file(model / "model.safetensors")
    after = {name: tensor for file in sorted((tmp_path / "out/checkpoint-1").glob("model*.safetensors"))
             for name, tensor in load_file(file).items()}
    assert table.keys() == before.keys()
    for name, (shape, trainable, norm, gradient_norm, ratio) in table.items():
        update = (after[name] - before[name]).norm().item()
        assert shape == str(list(before[name].shape)) and abs(float(norm) - before[name].norm().item()) < 1e-3 * float(norm) + 1e-9
        assert trainable == ("no" if "embeddings" in name or "layer.0" in name else "yes")
        if trainable == "no":
            assert (gradient_norm, ratio) == ("-", "-") and update == 0
        elif before[name].norm() > 0:
            assert float(gradient_norm) > 0 and abs(float(ratio) / (update / before[name].norm().item()) - 1) < 1e-2
        else:
            assert ratio == "-" and update > 0, "biases start at 0"


def test_a_resumed_run_shows_its_own_first_step(tmp_path):
    model = save_bert(tmp_path / "model")
    options = {"train_file": write_csv(tmp_path / "train.csv", make_rows(40)), "global_batch_size": 8, "save_steps": 2,
               "num_train_epochs": 1}
    train(model, tmp_path / "out", **options)
    output = train(model, tmp_path / "again", debug=True, resume_from_checkpoint=tmp_path / "out/checkpoint-2", **options).stdout
    assert "parameters at step 3\n" in output and "parameters at step 1\n" not in output
