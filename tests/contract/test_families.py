"""Every family of encoders: cut, trimmed, trained, saved, and opened again by transformers with the same logits."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch.nn import functional
from transformers import AutoConfig, AutoModelForSequenceClassification, pipeline

from encoders import TEXTS
from glotune.data.batches import PackedBatch, collate
from glotune.data.encoding import Encoding
from glotune.errors import RunError, UserError
from glotune.model import saving
from glotune.model.families import UNFIT, Anatomy
from glotune.model.loading import load_encoder, load_tokenizer
from glotune.model.network import Network
from glotune.model.saving import save_model
from glotune.model.surgery.lora import add_lora
from glotune.model.surgery.operate import Operated, operate
from glotune.model.surgery.truncation import truncate
from glotune.model.tensorfile import Entry, write_tensors
from glotune.recipe.data_keys import Data
from glotune.recipe.schema import Freeze, Lora, Model, Speed
from glotune.run.directory import RunDirectory
from glotune.run.records import RunStatus
from glotune.verbs.train import train
from packed_batches import packed, random_ids
from small_families import LABELS, LAYERS, SEVERAL, SINGLE, make_family
from small_runs import WORDS, sentences, small_recipe

UNCUT = ("esm", "esmc", *SEVERAL)
"""Protein models whose other parts depend on the number of layers, and layers in several lists."""


def prepared(folder: Path, kind: str, config: Mapping[str, Any] | None = None, **model: Any) -> tuple[Operated, Any]:
    """A family's random encoder after surgery, with the vocabulary of a few texts, and its tokenizer."""
    section = Model(name=str(make_family(folder / kind, kind, **(config or {}))), **model)
    tokenizer = load_tokenizer(section)
    hf = load_encoder(section, LABELS, seed=0, log=lambda line: None)
    used, special = np.unique(np.concatenate(token_ids(tokenizer))), tokenizer.all_special_ids
    return operate(hf, section, Speed(), used_ids=used, special_ids=special), tokenizer


def token_ids(tokenizer: Any) -> list[NDArray[np.int32]]:
    return [np.array(tokenizer(text)["input_ids"], dtype=np.int32) for text in TEXTS[:6]]


def batch_of(operated: Operated, tokenizer: Any) -> PackedBatch:
    """Texts of several lengths, as the network takes them."""
    assert operated.vocabulary is not None
    return packed([operated.vocabulary.to_trimmed(ids).tolist() for ids in token_ids(tokenizer)])


@pytest.mark.parametrize("kind", ["camembert", "longformer", "luke", "mpnet", "xmod", "bert", "electra"])
def test_padding_that_a_text_says_takes_the_position_that_transformers_gives_it(tmp_path: Path, kind: str) -> None:
    """Some families count positions past it, others like any token."""
    section = Model(name=str(make_family(tmp_path / kind, kind)))
    network = Network(load_encoder(section, LABELS, seed=0, log=lambda line: None)).eval()
    tokenizer = load_tokenizer(section)
    store = Encoding(tokenizer, Data(train="none.csv")).store([f"{TEXTS[0]} [PAD] {TEXTS[1]}", TEXTS[2], "[PAD] good"])
    batch = collate(store, np.arange(3), uncounted=network.uncounted)
    assert int((batch.input_ids == tokenizer.pad_token_id).sum()) == 2
    each = [ids.unsqueeze(0) for ids in batch.input_ids.split(list(batch.lengths))]
    with torch.no_grad():
        alone = torch.cat([network.hf(input_ids=ids, attention_mask=torch.ones_like(ids)).logits for ids in each])
    assert torch.allclose(logits(network, batch), alone, atol=1e-5)


def two_steps(network: Network, batch: PackedBatch) -> None:
    network.train()
    optimizer = torch.optim.SGD([value for value in network.parameters() if value.requires_grad], lr=0.01)
    for _ in range(2):
        labels = torch.arange(len(batch)) % len(LABELS)
        functional.cross_entropy(network(batch), labels).backward()
        optimizer.step()
        optimizer.zero_grad()


def logits(network: Network, batch: PackedBatch) -> torch.Tensor:
    with torch.no_grad():
        return network.eval()(batch)


def reopened_logits(folder: Path, texts: list[NDArray[np.int32]]) -> torch.Tensor:
    """Each text by itself, as transformers reads it."""
    hf = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return torch.cat([hf(input_ids=torch.from_numpy(ids).long().unsqueeze(0)).logits for ids in texts])


@pytest.mark.parametrize("kind", [*SINGLE, *SEVERAL])
def test_a_trained_encoder_of_every_family_reopens_with_the_same_logits(tmp_path: Path, kind: str) -> None:
    """Its texts run together in training and alone afterwards: padding must not matter either."""
    freeze = Freeze(embeddings=True, layers=0 if kind == "albert" else 1)
    operated, tokenizer = prepared(tmp_path, kind, layers=None if kind in UNCUT else 2, freeze=freeze)
    network, batch = operated.network, batch_of(operated, tokenizer)
    frozen = {name: value.clone() for name, value in network.hf.named_parameters() if not value.requires_grad}
    before = logits(network, batch)
    two_steps(network, batch)
    assert not torch.equal(logits(network, batch), before), "it learns"
    assert frozen
    assert all(torch.equal(network.hf.get_parameter(name), value) for name, value in frozen.items())
    save_model(network, tokenizer, operated.vocabulary, tmp_path / "model", max_length=64, check_with=batch)
    found = reopened_logits(tmp_path / "model", token_ids(tokenizer))
    assert (found - logits(network, batch)).abs().max() < 1e-4


@pytest.mark.parametrize("kind", ["albert", "longformer", "t5", "mbart", "funnel", "xlnet"])
@pytest.mark.parametrize("lora", [None, Lora(rank=2, target_modules=["dense"])], ids=["full", "lora"])
def test_nothing_frozen_or_adapters_alone_reopen_alike(tmp_path: Path, kind: str, lora: Lora | None) -> None:
    operated, tokenizer = prepared(tmp_path, kind, lora=lora)
    batch = batch_of(operated, tokenizer)
    two_steps(operated.network, batch)
    save_model(operated.network, tokenizer, operated.vocabulary, tmp_path / "model", max_length=64, check_with=batch)
    found = reopened_logits(tmp_path / "model", token_ids(tokenizer))
    assert (found - logits(operated.network, batch)).abs().max() < 1e-4


# ---- the configuration is cut with the layers ----------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "key", "value"), [("longformer", "attention_window", [8, 8]), ("modernbert", "layer_types", None)]
)
def test_lists_by_layer_are_cut_with_the_layers(tmp_path: Path, kind: str, key: str, value: list[int] | None) -> None:
    operated, tokenizer = prepared(tmp_path, kind, layers=2)
    save_model(operated.network, tokenizer, operated.vocabulary, tmp_path / "model", max_length=64)
    saved = json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))
    assert len(saved[key]) == 2
    assert value is None or saved[key] == value


def test_a_list_that_is_only_as_long_as_the_layers_stays(tmp_path: Path) -> None:
    operated, _ = prepared(tmp_path, "deberta-v2", {"num_hidden_layers": 2}, layers=1)
    assert operated.network.anatomy.config.pos_att_type == ["p2c", "c2p"]


@pytest.mark.parametrize(("kind", "named"), [("t5", "2 lists"), ("funnel", "3 lists"), ("esm", "contact_head")])
def test_what_cannot_be_cut_is_refused_before_training(tmp_path: Path, kind: str, named: str) -> None:
    with pytest.raises(UserError, match=named) as caught:
        prepared(tmp_path, kind, layers=2)
    assert caught.value.where == "model.layers"


# ---- tied and scaled embeddings, padding by its id -----------------------------------------------------


@pytest.mark.parametrize("kind", ["t5", "mt5", "bart"])
def test_tied_embeddings_are_written_once_and_in_full(tmp_path: Path, kind: str) -> None:
    operated, tokenizer = prepared(tmp_path, kind)
    save_model(operated.network, tokenizer, operated.vocabulary, tmp_path / "model", max_length=64)
    with safe_open(tmp_path / "model" / "model.safetensors", "pt") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    found = {name: shape for name, shape in shapes.items() if "shared" in name or "embed_tokens" in name}
    assert found == {operated.network.anatomy.family.word_embeddings + ".weight": [400, 32]}


def test_a_trimmed_embedding_keeps_its_scale(tmp_path: Path) -> None:
    trimmed, tokenizer = prepared(tmp_path, "mbart")
    found = logits(trimmed.network, batch_of(trimmed, tokenizer))
    assert (found - reopened_logits(tmp_path / "mbart", token_ids(tokenizer))).abs().max() < 1e-4


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_padding_is_found_among_the_rows_of_a_trimmed_vocabulary(tmp_path: Path, kind: str) -> None:
    """Their heads read the last token that is not padding, by its id: here one that trimming moves."""
    operated, tokenizer = prepared(tmp_path, kind, {"pad_token_id": 390})
    assert operated.network.anatomy.config.pad_token_id < 390
    found = logits(operated.network, batch_of(operated, tokenizer))
    assert (found - reopened_logits(tmp_path / kind, token_ids(tokenizer))).abs().max() < 1e-4
    save_model(operated.network, tokenizer, operated.vocabulary, tmp_path / "model", max_length=64)
    assert AutoConfig.from_pretrained(tmp_path / "model").pad_token_id == 390


@pytest.mark.parametrize("kind", ["xlnet", "t5", "bart", "gpt2", "electra"])
def test_frozen_embeddings_leave_the_layers_beside_them_to_train(tmp_path: Path, kind: str) -> None:
    operated, _ = prepared(tmp_path, kind, freeze=Freeze(embeddings=True))
    anatomy = operated.network.anatomy
    frozen = {name for name, value in anatomy.hf.named_parameters() if not value.requires_grad}
    assert anatomy.word_embedding_name in frozen
    assert not any(name.startswith(tuple(anatomy.layer_paths)) for name in frozen)
    assert all("emb" in name or "shared" in name or "wpe" in name or "wte" in name for name in frozen)


# ---- ALBERT: shared layers, factorised embeddings ------------------------------------------------------


def albert(folder: Path, **config: Any) -> Any:
    section = Model(name=str(make_family(folder / "albert", "albert", **config)))
    return load_encoder(section, LABELS, seed=0, log=lambda line: None)


def test_albert_is_cut_by_its_count_alone(tmp_path: Path) -> None:
    hf = albert(tmp_path)
    weights = sum(value.numel() for value in hf.parameters())
    change = truncate(hf, 2)
    assert change is not None
    assert change.parameters_after == change.parameters_before == weights
    assert (hf.config.num_hidden_layers, len(Anatomy(hf).layers), len(set(Anatomy(hf).layers))) == (2, 2, 1)


@pytest.mark.parametrize(("layers", "groups"), [(3, 1), (5, 2)])
def test_albert_of_several_groups_keeps_every_layer_in_its_group(tmp_path: Path, layers: int, groups: int) -> None:
    hf = albert(tmp_path, num_hidden_layers=6, num_hidden_groups=2)
    before = Anatomy(hf).layer_paths
    truncate(hf, layers)
    assert Anatomy(hf).layer_paths == before[:layers]
    assert hf.config.num_hidden_groups == len(hf.albert.encoder.albert_layer_groups) == groups


def test_albert_of_several_groups_is_not_cut_across_them(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"share 2 sets of weights.*one of 1, 2, 3, 5, or null"):
        truncate(albert(tmp_path, num_hidden_layers=6, num_hidden_groups=2), 4)


def test_albert_freezes_its_embeddings_with_their_map(tmp_path: Path) -> None:
    operated, _ = prepared(tmp_path, "albert", freeze=Freeze(embeddings=True))
    anatomy = operated.network.anatomy
    depths = {name: anatomy.depth_of(name) for name, _ in anatomy.hf.named_parameters()}
    frozen = {name for name, value in anatomy.hf.named_parameters() if not value.requires_grad}
    assert frozen == {name for name, depth in depths.items() if depth == 0}
    assert "albert.encoder.embedding_hidden_mapping_in.weight" in frozen
    assert {depth for name, depth in depths.items() if ".albert_layers." in name} == {LAYERS}
    assert {name.partition(".")[0] for name, depth in depths.items() if depth is None} == {"albert", "classifier"}


@pytest.mark.parametrize(
    ("model", "where"),
    [
        ({"freeze": Freeze(embeddings=True, layers=1)}, "model.freeze.layers"),
        ({"lora": Lora(rank=2, layers=1)}, "model.lora.layers"),
    ],
    ids=["freeze", "lora"],
)
def test_albert_shares_its_layers_and_says_so(tmp_path: Path, model: dict[str, Any], where: str) -> None:
    with pytest.raises(UserError, match="albert shares weights between its layers") as caught:
        prepared(tmp_path, "albert", **model)
    assert caught.value.where == where


def test_albert_adapts_a_shared_layer_once(tmp_path: Path) -> None:
    wrapped, change = add_lora(albert(tmp_path), Lora(rank=2, target_modules=["query", "value"]))
    assert len(change.details["targets"]) == 2
    assert Anatomy(wrapped).core.config.num_hidden_layers == LAYERS


@pytest.mark.parametrize("kind", ["albert", "xlnet", "funnel", "mt5"])
@pytest.mark.extras
def test_a_whole_run_gives_the_pipelines_answers(tmp_path: Path, kind: str) -> None:
    """C7, with the token types that XLNet and Funnel give their special tokens."""
    texts = [*TEXTS, *(row["text"] for language in WORDS for row in sentences(language, 40))]
    make_family(tmp_path / f"{kind}-2", kind, texts=texts)
    run = train(small_recipe(tmp_path, kind, train__epochs=1), out=tmp_path / "run", report=False)
    classify = pipeline("text-classification", model=str(run.path / "model"), device="cpu")
    records = pq.read_table(run.directory.predictions / "test.es.parquet").to_pylist()
    answers = classify([record["text"] for record in records], truncation=True, top_k=None)
    for record, answer in zip(records, answers, strict=True):
        scores = {entry["label"]: entry["score"] for entry in answer}
        expected = dict(zip(run.manifest.labels, record["probabilities"], strict=True))
        assert scores == pytest.approx(expected, abs=1e-5)


# ---- refused, and caught -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", UNFIT)
def test_unfit_families_are_refused_by_name_before_a_run_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def never(*_: Any) -> RunDirectory:
        raise AssertionError("a run directory was made")

    monkeypatch.setattr("glotune.verbs.train.open_run", never)
    AutoConfig.for_model(kind).save_pretrained(tmp_path / f"{kind}-2")
    with pytest.raises(UserError, match=f"'{kind}' can't be fine-tuned here: {UNFIT[kind]}") as caught:
        train(small_recipe(tmp_path, kind), out=tmp_path / "run")
    assert caught.value.where == "model.name"
    assert not (tmp_path / "run").exists()


def test_an_encoder_whose_layers_are_not_found_is_a_users_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glotune.model.families.UNFIT", {})
    hf = AutoModelForSequenceClassification.from_config(AutoConfig.for_model("xlm", emb_dim=32, n_layers=2, n_heads=4))
    with pytest.raises(UserError, match="'xlm' can't be fine-tuned here: their layers were not found"):
        Anatomy(hf)


def test_big_bird_does_not_go_by_the_longest_text_of_a_batch(tmp_path: Path) -> None:
    section, log = Model(name=str(make_family(tmp_path / "bird", "big_bird"))), list[str]()
    hf = load_encoder(section, LABELS, seed=0, log=log.append).eval()
    network, short, long = Network(hf), random_ids((6,)), random_ids((60,), seed=1)
    alone, together = logits(network, packed(short)), logits(network, packed([*short, *long]))
    assert (alone - together[:1]).abs().max() < 1e-5
    assert any("full attention" in line for line in log)


def _old_window(operated: Operated, monkeypatch: pytest.MonkeyPatch) -> None:
    operated.network.anatomy.config.attention_window = [8, 8, 8]


def _every_name(operated: Operated, monkeypatch: pytest.MonkeyPatch) -> None:
    def plain(anatomy: Anatomy) -> dict[str, Entry]:
        state = anatomy.core.state_dict()
        return {name: Entry(tuple(v.shape), lambda v=v: [v.detach().numpy()]) for name, v in state.items()}

    monkeypatch.setattr(saving, "plain_tensors", plain)


def _without_head(operated: Operated, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(path: Path, entries: Mapping[str, Entry]) -> int:
        return write_tensors(path, {name: entry for name, entry in entries.items() if "classifier" not in name})

    monkeypatch.setattr(saving, "write_tensors", write)


def _wrong_values(operated: Operated | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(path: Path, entries: Mapping[str, Entry]) -> int:
        name = next(name for name in entries if name.endswith("output.dense.weight"))
        zeros = np.zeros(entries[name].shape, dtype=np.float32)
        return write_tensors(path, {**entries, name: Entry(zeros.shape, lambda: [zeros])})

    monkeypatch.setattr(saving, "write_tensors", write)


@pytest.mark.parametrize(
    ("kind", "spoil", "said"),
    [
        ("longformer", _old_window, "transformers can't open it"),
        ("t5", _every_name, "a tensor has another shape than config.json says"),
        ("bert", _without_head, "2 tensors are missing, the first classifier.bias"),
        ("bert", _wrong_values, "its logits differ by"),
    ],
)
def test_a_folder_that_does_not_reopen_alike_never_appears(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    spoil: Callable[[Operated, pytest.MonkeyPatch], None],
    said: str,
) -> None:
    operated, tokenizer = prepared(tmp_path, kind, layers=2 if kind == "longformer" else None)
    batch = batch_of(operated, tokenizer)
    spoil(operated, monkeypatch)
    with pytest.raises(RunError, match=said):
        save_model(
            operated.network, tokenizer, operated.vocabulary, tmp_path / "model", max_length=64, check_with=batch
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == [kind], "nothing is left"


def test_a_run_whose_model_does_not_reopen_is_not_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _wrong_values(None, monkeypatch)
    with pytest.raises(RunError, match="could not be saved as it was trained"):
        train(small_recipe(tmp_path, "bert", train__epochs=1), out=tmp_path / "run", report=False)
    manifest = RunDirectory.open(tmp_path / "run").read_manifest()
    assert manifest.status == RunStatus.FAILED
    assert "logits differ" in (manifest.reason or "")
    assert not (tmp_path / "run" / "model").exists()
