"""The model against transformers: logits, gradients, and files in both directions."""

import json
import os
import subprocess

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification, BertModel

MINILM = os.environ["BERTDIST_MINILM"]


def run(tmp_path, folder, rows, types, **request):
    """Runs the C++ model; returns the tensors and the loading report of its answer."""
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    request = {"rows": rows, "types": types, "batch_size": 16, **request}
    (tmp_path / "request.json").write_text(json.dumps(request))
    subprocess.run([os.environ["MODEL_DRIVER"], str(folder), str(tmp_path / "request.json"), str(out)], check=True)
    return load_file(out / "out.safetensors"), json.loads((out / "report.json").read_text())


def random_rows(lengths, vocab_size, seed=0):
    """Token ids and token types; every other row is a pair."""
    random = np.random.default_rng(seed)
    rows = [random.integers(0, vocab_size, n).tolist() for n in lengths]
    types = [[int(i % 2 == 1 and j > n // 2) for j in range(n)] for i, n in enumerate(lengths)]
    return rows, types


def reference_logits(model, rows, types):
    """Each row alone, so that no padding and no mask is involved."""
    model.eval()
    with torch.no_grad():
        return torch.cat([model(input_ids=torch.tensor([row]), token_type_ids=torch.tensor([row_types]),
                                attention_mask=torch.ones(1, len(row), dtype=torch.long)).logits
                          for row, row_types in zip(rows, types)]).numpy()


def small_bert(seed=0, **options):
    torch.manual_seed(seed)
    config = BertConfig(**{"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
                           "intermediate_size": 48, "max_position_embeddings": 40, "num_labels": 3,
                           "initializer_range": 0.2, **options})
    model = BertForSequenceClassification(config)
    with torch.no_grad():  # as after training: no bias is zero, no LayerNorm the identity
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def minilm(tmp_path_factory):
    """MiniLM with a classifier, as transformers saves it."""
    torch.manual_seed(1)
    model = BertForSequenceClassification.from_pretrained(MINILM, num_labels=4)
    folder = tmp_path_factory.mktemp("minilm")
    model.save_pretrained(folder)
    return model, folder


def test_minilm_logits_on_every_kind_of_length(tmp_path, minilm):
    model, folder = minilm
    rows, types = random_rows([1, 2, 3, 7, 7, 8, 31, 64, 65, 128, 200, 200, 333, 511, 512, 5], 30522)
    expected = reference_logits(model, rows, types)
    answer, report = run(tmp_path, folder, rows, types)
    assert report == {"initialized": [], "unused": []}
    np.testing.assert_allclose(answer["logits"], expected, atol=1e-5, rtol=0)
    answer, _ = run(tmp_path, folder, rows, types, frozen="float32")
    np.testing.assert_allclose(answer["logits"], expected, atol=1e-5, rtol=0)
    answer, _ = run(tmp_path, folder, rows, types, frozen="bfloat16")
    np.testing.assert_allclose(answer["logits"], expected, atol=0.01, rtol=0)


def test_minilm_logits_on_text(tmp_path, minilm):
    model, folder = minilm
    tokenizer = AutoTokenizer.from_pretrained(MINILM)
    texts = [("http://paypal.com.secure-login.example/update?id=1",), ("A film of quiet, unhurried charm.",), ("",),
             ("Who wrote this?", "It was written by nobody in particular."), ("free entry " * 200,)]
    encoded = [tokenizer(*text, truncation=True, max_length=512) for text in texts]
    rows, types = [e["input_ids"] for e in encoded], [e["token_type_ids"] for e in encoded]
    answer, _ = run(tmp_path, folder, rows, types)
    np.testing.assert_allclose(answer["logits"], reference_logits(model, rows, types), atol=1e-5, rtol=0)


def test_minilm_itself_gets_a_new_classifier(tmp_path):
    rows, types = random_rows([4, 9], 30522)
    answer, report = run(tmp_path, MINILM, rows, types, id2label=["Safe", "Not Safe"])
    assert report == {"initialized": ["classifier.weight", "classifier.bias"], "unused": []}
    assert answer["logits"].shape == (2, 2)


@pytest.mark.parametrize("options", [
    {}, {"hidden_act": "relu"}, {"hidden_act": "gelu_new"}, {"hidden_act": "gelu_fast"},
    {"hidden_act": "gelu_pytorch_tanh"}, {"hidden_act": "silu"}, {"num_attention_heads": 1}, {"num_hidden_layers": 1},
    {"layer_norm_eps": 0.1}, {"num_labels": 2}, {"type_vocab_size": 5}, {"pad_token_id": None}], ids=str)
def test_small_bert_logits(tmp_path, options):
    model = small_bert(**options)
    model.save_pretrained(tmp_path)
    rows, types = random_rows([1, 2, 5, 40, 5, 17, 3], 60)
    for request in ({}, {"frozen": "float32"}):
        answer, _ = run(tmp_path, tmp_path, rows, types, **request)
        np.testing.assert_allclose(answer["logits"], reference_logits(model, rows, types), atol=1e-5, rtol=0)


@pytest.mark.parametrize("batch_size", [3, 16])
def test_gradient_of_every_parameter(tmp_path, batch_size):
    model = small_bert()
    model.save_pretrained(tmp_path)
    rows, types = random_rows([1, 2, 5, 40, 5, 17, 3, 11], 60)
    rows[2][1] = 0  # [PAD] inside a text, whose embedding transformers keeps out of the gradient
    labels = [0, 2, 1, 1, 0, 2, 1, 0]
    answer, _ = run(tmp_path, tmp_path, rows, types, labels=labels, gradients=True, batch_size=batch_size)

    model.eval()
    for row, row_types, label in zip(rows, types, labels):
        loss = model(input_ids=torch.tensor([row]), token_type_ids=torch.tensor([row_types]),
                     attention_mask=torch.ones(1, len(row), dtype=torch.long), labels=torch.tensor([label])).loss
        (loss / len(rows)).backward()
    expected = {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}
    assert list(sorted(answer)) == sorted([*expected, "logits"])
    for name, gradient in expected.items():
        np.testing.assert_allclose(answer[name], gradient, rtol=1e-4, atol=1e-6, err_msg=name)
    assert not answer["bert.embeddings.word_embeddings.weight"][0].any()


def test_what_is_saved_loads_in_transformers(tmp_path):
    source, out = tmp_path / "source", tmp_path / "out"
    original = small_bert(classifier_dropout=0.3)
    original.save_pretrained(source)
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "kept_by_bertdist": [1, 2]}))
    rows, types = random_rows([3, 40, 8], 60)
    labels = ["Safe", "Not Safe", "Unknown"]
    run(tmp_path, source, rows, types, id2label=labels, save=True)

    loaded, info = BertForSequenceClassification.from_pretrained(out, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert loaded.config.id2label == dict(enumerate(labels))
    assert loaded.config.label2id == {label: i for i, label in enumerate(labels)}
    assert loaded.config.classifier_dropout == 0.3
    assert json.loads((out / "config.json").read_text())["kept_by_bertdist"] == [1, 2]
    assert loaded.dtype == torch.float32
    for (name, parameter), (_, before) in zip(loaded.named_parameters(), original.named_parameters()):
        assert torch.equal(parameter, before), name
    assert np.array_equal(reference_logits(loaded, rows, types), reference_logits(original, rows, types))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_checkpoints_are_read_as_float32(tmp_path, dtype):
    small_bert().to(dtype).save_pretrained(tmp_path)
    rows, types = random_rows([3, 40, 8], 60)
    answer, _ = run(tmp_path, tmp_path, rows, types)
    model = BertForSequenceClassification.from_pretrained(tmp_path, dtype=torch.float32)
    np.testing.assert_allclose(answer["logits"], reference_logits(model, rows, types), atol=1e-5, rtol=0)


def test_old_names_and_other_heads(tmp_path):
    """The layout of google-bert/bert-base-uncased."""
    model = small_bert()
    model.save_pretrained(tmp_path)
    tensors = {name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
               for name, tensor in model.state_dict().items()}
    tensors["cls.predictions.bias"] = torch.zeros(60)
    tensors["bert.embeddings.position_ids"] = torch.arange(40)[None]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    rows, types = random_rows([3, 40, 8], 60)
    answer, report = run(tmp_path, tmp_path, rows, types)
    assert report == {"initialized": [], "unused": ["cls.predictions.bias"]}
    np.testing.assert_allclose(answer["logits"], reference_logits(model, rows, types), atol=1e-5, rtol=0)


def test_an_encoder_without_prefix_and_pooler(tmp_path):
    BertModel(small_bert().config, add_pooling_layer=False).save_pretrained(tmp_path)
    rows, types = random_rows([3, 8], 60)
    _, report = run(tmp_path, tmp_path, rows, types)
    assert report["initialized"] == ["bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight",
                                     "classifier.bias"]


def test_shards_that_transformers_wrote(tmp_path):
    model = small_bert()
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert (tmp_path / "model.safetensors.index.json").exists()
    rows, types = random_rows([3, 40, 8], 60)
    answer, _ = run(tmp_path, tmp_path, rows, types)
    np.testing.assert_allclose(answer["logits"], reference_logits(model, rows, types), atol=1e-5, rtol=0)
