"""C4: a trimmed vocabulary = the full one on covered text; what training never touched is saved bit-equal."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from encoders import FAMILIES, make_encoder
from glotune.errors import RunError
from glotune.model.families import Anatomy
from glotune.model.loading import load_tokenizer
from glotune.model.network import Network
from glotune.model.saving import save_model
from glotune.model.surgery.operate import operate
from glotune.model.surgery.vocabulary import _arrange, trim_vocabulary
from glotune.recipe.schema import Freeze, Lora, Model, Speed
from packed_batches import gradients, load, packed, random_ids

Ids = st.sets(st.integers(0, 399), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(used=Ids, special=st.sets(st.integers(0, 399), max_size=8))
def test_arrangement(used: set[int], special: set[int]) -> None:
    kept = _arrange(np.array(sorted(used | special)), special)
    assert sorted(kept.tolist()) == sorted(used | special), "every id once"
    for index in special:
        if index < len(kept):
            assert kept[index] == index, "special ids keep their places"


@settings(max_examples=15, deadline=None)
@given(used=Ids, seed=st.integers(0, 9))
def test_map_and_way_back(used: set[int], seed: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = make_encoder(Path(name), "xlm-roberta", layers=1, seed=seed)
        hf = load(folder, "xlm-roberta", layers=1)
        original = Anatomy(hf).word_embeddings.weight.detach().clone()
        trimmed = trim_vocabulary(hf, np.array(sorted(used)), [0, 1, 2, 3], folder)
    assert trimmed is not None
    vocabulary, change = trimmed
    ids = np.array(sorted(used), dtype=np.int32)
    assert np.array_equal(vocabulary.to_full(vocabulary.to_trimmed(ids)), ids)
    weight = Anatomy(hf).word_embeddings.weight
    assert torch.equal(weight[vocabulary.to_trimmed(ids)], original[ids])
    assert change.details == {"rows": vocabulary.size, "full_rows": 400}
    absent = np.setdiff1d(np.arange(400), vocabulary.kept)[:1].astype(np.int32)
    with pytest.raises(RunError, match=f"token id {absent[0]}"):
        vocabulary.to_trimmed(absent)
    with torch.no_grad():
        weight[vocabulary.to_trimmed(ids)] += 1.0
    vocabulary.restore(hf)
    restored = Anatomy(hf).word_embeddings.weight
    untouched = np.setdiff1d(np.arange(400), ids)
    assert torch.equal(restored[untouched], original[untouched])
    assert torch.equal(restored[ids], original[ids] + 1.0)


@pytest.mark.parametrize("model", [{}, {"freeze": Freeze(embeddings=True)}, {"lora": Lora(rank=2)}])
@pytest.mark.parametrize("family", FAMILIES)
def test_same_logits_and_gradients(tmp_path: Path, family: str, model: dict[str, object]) -> None:
    texts = random_ids((9, 30, 2))
    section = Model.model_validate({"name": str(tmp_path), **model})
    tokenizer = load_tokenizer(Model(name=str(make_encoder(tmp_path, family, layers=3))))
    torch.manual_seed(0)
    full = operate(load(tmp_path, family), section, Speed(trim_vocabulary=False), used_ids=None).network.eval()
    torch.manual_seed(0)
    operated = operate(
        load(tmp_path, family),
        section,
        Speed(),
        used_ids=np.unique(np.concatenate(texts)),
        special_ids=tokenizer.all_special_ids,
    )
    vocabulary, trimmed = operated.vocabulary, operated.network.eval()
    assert vocabulary is not None
    rows = [vocabulary.to_trimmed(np.array(text)).tolist() for text in texts]
    expected, wanted = gradients(full, packed(texts))
    logits, found = gradients(trimmed, packed(rows))
    assert torch.equal(logits, expected)
    name = trimmed.anatomy.word_embedding_name
    if name in wanted:
        kept = torch.from_numpy(vocabulary.kept)
        assert torch.equal(found.pop(name), wanted[name][kept])
        assert wanted.pop(name).abs().sum() > 0
    assert found.keys() == wanted.keys()
    assert all(torch.allclose(found[key], wanted[key], atol=1e-6) for key in wanted)
    padded = trimmed(packed(rows, pad_to=40))
    assert (padded - expected).abs().max() < 1e-5, "padding finds its row"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_of_adamw_leaves_unseen_rows_bit_equal(tmp_path: Path, family: str) -> None:
    """Rows that only other splits use, and rows that were cut, are saved as they came."""
    folder = make_encoder(tmp_path / "source", family)
    source = load_file(folder / "model.safetensors")
    train, test = random_ids((9, 9), seed=0), random_ids((9,), seed=1)
    hf = load(folder, family, layers=2)
    operated = operate(hf, Model(name=str(folder)), Speed(), used_ids=np.unique(np.concatenate(train + test)))
    network, vocabulary = operated.network, operated.vocabulary
    assert vocabulary is not None
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=0.0)
    network(packed([vocabulary.to_trimmed(np.array(text)).tolist() for text in train])).square().sum().backward()
    optimizer.step()
    tokenizer = load_tokenizer(Model(name=str(folder)))
    save_model(network, tokenizer, vocabulary, tmp_path / "saved", max_length=32)
    saved = load_file(tmp_path / "saved" / "model.safetensors")
    name = f"{network.anatomy.family.word_embeddings}.weight"
    (original,) = (value for key, value in source.items() if name.endswith(key))
    seen = np.unique(np.concatenate(train))
    unseen = np.setdiff1d(np.arange(len(original)), seen)
    assert torch.equal(saved[name][unseen], original[unseen])
    assert not torch.equal(saved[name][seen], original[seen])


def test_a_pickled_checkpoint_spills_its_matrix(tmp_path: Path) -> None:
    folder = make_encoder(tmp_path, "bert", safetensors=False)
    hf = load(folder / "again", "bert", layers=2)
    assert isinstance(hf, nn.Module)
    original = Anatomy(hf).word_embeddings.weight.detach().clone()
    trimmed = trim_vocabulary(hf, np.arange(10, 20), [0], folder)
    assert trimmed is not None
    trimmed[0].restore(hf)
    assert torch.equal(Anatomy(hf).word_embeddings.weight, original)


def test_nothing_to_trim(tmp_path: Path) -> None:
    hf = load(tmp_path, "bert")
    assert trim_vocabulary(hf, np.arange(400), [0], tmp_path) is None
    assert isinstance(Network(hf), nn.Module)
