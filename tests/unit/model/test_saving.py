"""C7: the saved model opens in transformers.pipeline with the same labels and scores; adapters open in PEFT."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, pipeline

from encoders import FAMILIES, PACKED_FAMILIES, TEXTS, make_encoder
from glotune.model.loading import load_encoder, load_tokenizer
from glotune.model.network import Network
from glotune.model.saving import save_adapter, save_model
from glotune.model.surgery.operate import Operated, operate
from glotune.model.tensorfile import Entry, map_matrix, write_tensors
from glotune.recipe.schema import Lora, Model, Speed
from packed_batches import LABELS, packed

MAX_LENGTH = 24


def trained(folder: Path, family: str, **model: Any) -> tuple[Operated, Any]:
    """An operated encoder whose trainable weights have moved, and its tokenizer."""
    section = Model(name=str(make_encoder(folder, family, layers=3)), **model)
    tokenizer = load_tokenizer(section)
    ids = np.unique(np.concatenate([tokenizer(text)["input_ids"] for text in TEXTS]))
    hf = load_encoder(section, LABELS, seed=0, log=lambda line: None)
    operated = operate(hf, section, Speed(), used_ids=ids, special_ids=tokenizer.all_special_ids)
    torch.manual_seed(0)
    with torch.no_grad():
        for value in operated.network.hf.parameters():
            if value.requires_grad:
                value.add_(0.05 * torch.randn_like(value))
    operated.network.eval()
    return operated, tokenizer


@pytest.mark.parametrize("model", [{}, {"lora": Lora(rank=2, target_modules=["query", "dense"])}], ids=["full", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_pipeline(tmp_path: Path, family: str, model: dict[str, Any]) -> None:
    operated, tokenizer = trained(tmp_path / "source", family, **model)
    assert operated.vocabulary is not None
    saved = save_model(
        operated.network, tokenizer, operated.vocabulary, tmp_path / "model", max_length=MAX_LENGTH, normalization="NFC"
    )
    assert saved.size == (tmp_path / "model" / "model.safetensors").stat().st_size
    classify = pipeline("text-classification", model=str(tmp_path / "model"), dtype=torch.float32, top_k=None)
    rows = [tokenizer(text, truncation=True, max_length=MAX_LENGTH)["input_ids"] for text in TEXTS]
    with torch.no_grad():
        batch = packed([operated.vocabulary.to_trimmed(np.array(row)).tolist() for row in rows])
        expected = operated.network(batch).softmax(-1)
    for probabilities, answer in zip(expected, classify(list(TEXTS), truncation=True, batch_size=3), strict=True):
        scores = {part["label"]: part["score"] for part in answer}
        assert answer[0]["label"] == LABELS[int(probabilities.argmax())]
        assert all(abs(scores[name] - float(p)) < 1e-5 for name, p in zip(LABELS, probabilities, strict=True))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("form", ["NFC", "NFKC"])
def test_normalisation_is_saved(tmp_path: Path, family: str, form: str) -> None:
    operated, tokenizer = trained(tmp_path / "source", family)
    for name in ("model", "again"):
        save_model(
            operated.network, tokenizer, operated.vocabulary, tmp_path / name, max_length=MAX_LENGTH, normalization=form
        )
        before, tokenizer = tokenizer, AutoTokenizer.from_pretrained(tmp_path / name)
        assert before.backend_tokenizer.normalizer is None or name == "again" or family == "bert"
    assert tokenizer.model_max_length == MAX_LENGTH
    composed, split = "é ক\u09cb", "e\u0301 ক\u09c7\u09be"
    assert tokenizer(composed)["input_ids"] == tokenizer(split)["input_ids"]
    assert repr(tokenizer.backend_tokenizer.normalizer).count(f"{form}()") == 1, "put in front once"


OWN_CLASSES = {
    "xlm-roberta": "XLMRobertaTokenizer",
    "roberta": "RobertaTokenizer",
    "bert": "BertTokenizer",
    "deberta-v2": "DebertaV2Tokenizer",
    "rembert": "RemBertTokenizer",
}
"""The class that a family's published folders name: transformers rebuilds the normalizer under it."""
IN_TWO_FORMS = (
    "\u09aa\u09a1\u09bc\u09be \u09ac\u09cb\u099d\u09be",
    "ti\u1ebfng Vi\u1ec7t",
    "\uad00\uac1d \uc74c\uc2dd",
)
"""Bangla, Vietnamese, Korean: in NFC; decomposed, the vowel sign, the letters and the syllables fall apart."""


@pytest.mark.parametrize("family", OWN_CLASSES)
@pytest.mark.parametrize("form", ["NFC", "NFKC"])
def test_normalisation_outlives_the_familys_own_tokenizer_class(tmp_path: Path, family: str, form: str) -> None:
    source = make_encoder(tmp_path / "source", family, texts=[*TEXTS, *IN_TWO_FORMS])
    settings = json.loads((source / "tokenizer_config.json").read_text())
    settings |= {"tokenizer_class": OWN_CLASSES[family], "do_lower_case": False}  # cased, as mBERT is
    (source / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = load_tokenizer(Model(name=str(source)))
    assert type(tokenizer).__name__ == OWN_CLASSES[family]
    network = Network(load_encoder(Model(name=str(source)), LABELS, seed=0, log=lambda line: None))
    save_model(network, tokenizer, None, tmp_path / "model", max_length=MAX_LENGTH, normalization=form)
    saved = AutoTokenizer.from_pretrained(tmp_path / "model")
    for text in IN_TWO_FORMS:
        split = unicodedata.normalize("NFD", text)
        expected = tokenizer(unicodedata.normalize(form, text), text)
        apart = tokenizer(split)["input_ids"] != tokenizer(text)["input_ids"]
        assert apart or family == "deberta-v2", "only its own normalizer composes"
        assert dict(saved(split, split)) == dict(saved(text, text)) == dict(expected)
    assert saved.model_input_names == tokenizer.model_input_names
    assert saved.special_tokens_map == tokenizer.special_tokens_map


@pytest.mark.parametrize("family", PACKED_FAMILIES)
def test_adapter_opens_in_peft(tmp_path: Path, family: str) -> None:
    from peft import PeftModel

    operated, _ = trained(tmp_path / "source", family, lora=Lora(rank=2, target_modules=["query", "dense"]))
    save_adapter(operated.network, tmp_path / "adapter")
    assert not list((tmp_path / "adapter").glob("*.bin"))
    base = AutoModelForSequenceClassification.from_pretrained(tmp_path / "source", num_labels=3)
    model = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    text = [7, 9, 11, 13]
    assert operated.vocabulary is not None
    kept = operated.vocabulary.kept[4:8].tolist()
    with torch.no_grad():
        expected = operated.network(packed([operated.vocabulary.to_trimmed(np.array(kept)).tolist()]))
        assert len(text) == 4
        assert (model(input_ids=torch.tensor([kept])).logits - expected).abs().max() < 1e-5


@pytest.mark.parametrize("family", PACKED_FAMILIES)
@pytest.mark.parametrize("layers", [None, 2])
def test_adapter_carries_the_labels_and_the_layers_of_its_base(tmp_path: Path, family: str, layers: int | None) -> None:
    from peft import PeftModel

    lora = Lora(rank=2, target_modules=["query", "dense"])
    operated, tokenizer = trained(tmp_path / "source", family, lora=lora, layers=layers)
    save_adapter(operated.network, tmp_path / "adapter")
    config = AutoConfig.from_pretrained(tmp_path / "adapter" / "base_config.json")
    base = AutoModelForSequenceClassification.from_pretrained(tmp_path / "source", config=config)
    model = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    assert model.config.id2label == dict(enumerate(LABELS))
    assert not (tmp_path / "adapter" / "config.json").exists(), "transformers would look for the base's weights there"
    assert operated.vocabulary is not None
    row = tokenizer(TEXTS[0])["input_ids"]
    with torch.no_grad():
        expected = operated.network(packed([operated.vocabulary.to_trimmed(np.array(row)).tolist()]))
        assert (model(input_ids=torch.tensor([row])).logits - expected).abs().max() < 1e-5


def test_only_adapters_have_a_folder(tmp_path: Path) -> None:
    operated, _ = trained(tmp_path / "source", "bert")
    with pytest.raises(ValueError, match="no adapter"):
        save_adapter(operated.network, tmp_path / "adapter")


def test_a_failed_save_leaves_the_old_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    operated, tokenizer = trained(tmp_path / "source", "bert")
    folder = tmp_path / "model"
    save_model(operated.network, tokenizer, operated.vocabulary, folder, max_length=MAX_LENGTH)
    before = (folder / "model.safetensors").read_bytes()

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("glotune.model.saving.write_tensors", fail)
    with pytest.raises(OSError, match="disk full"):
        save_model(operated.network, tokenizer, operated.vocabulary, folder, max_length=MAX_LENGTH)
    assert (folder / "model.safetensors").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "source"]


def test_head_and_tail_is_noted(tmp_path: Path) -> None:
    operated, tokenizer = trained(tmp_path / "source", "bert")
    saved = save_model(
        operated.network,
        tokenizer,
        operated.vocabulary,
        tmp_path / "m",
        max_length=MAX_LENGTH,
        truncation="head_tail",
    )
    assert "cut in the middle" in saved.notes[0]


def test_written_files_are_safetensors(tmp_path: Path) -> None:
    values = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b.scalar": np.array(2.5, dtype=np.float32)}
    entries = {name: Entry(value.shape, lambda value=value: [value]) for name, value in values.items()}
    size = write_tensors(tmp_path / "x.safetensors", entries)
    assert size == (tmp_path / "x.safetensors").stat().st_size
    loaded = load_file(tmp_path / "x.safetensors")
    assert all(np.array_equal(loaded[name].numpy(), value) for name, value in values.items())
    with pytest.raises(ValueError, match="gave 8 bytes"):
        write_tensors(tmp_path / "y", {"a": Entry((3,), lambda: [np.zeros(2, dtype=np.float32)])})


def test_mapping_finds_by_name_and_shape(tmp_path: Path) -> None:
    save_file({"x.emb.weight": torch.ones(4, 2), "x.half.weight": torch.ones(4, 2).half()}, tmp_path / "m.safetensors")
    found = map_matrix(tmp_path, "emb.weight", (4, 2))
    assert found is not None
    assert found.sum() == 8
    assert map_matrix(tmp_path, "emb.weight", (2, 4)) is None
    assert map_matrix(tmp_path, "half.weight", (4, 2)) is None
    assert map_matrix("no/such-model", "emb.weight", (4, 2)) is None
