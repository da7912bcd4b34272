"""A tokenizer cut to the pieces of some texts: it cuts these as before, others fall back, and ids fit the model."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from encoders import TEXTS, make_encoder, make_tokenizer
from glotune.data.kept_pieces import PieceUse, pieces_to_keep, script_of, smaller, verify
from glotune.errors import RunError, UserError
from glotune.model.loading import load_tokenizer
from glotune.model.surgery.vocabulary import cut_for_good
from glotune.recipe.schema import Model
from packed_batches import load

WORDS = sorted({word for text in TEXTS for word in text.split()})
FULL: dict[str, Any] = {
    family: make_tokenizer(family).backend_tokenizer for family in ("xlm-roberta", "bert", "roberta")
}


def learned(kind: str) -> Tokenizer:
    """A tokenizer with real merges or scores, learned from `TEXTS` with many repetitions."""
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    if kind == "BPE":
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        trainer: Any = trainers.BpeTrainer(
            vocab_size=500,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
    else:
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=200, special_tokens=special, unk_token="<unk>", show_progress=False
        )
    tokenizer.train_from_iterator([" ".join(TEXTS)] * 3, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    tokenizer.enable_padding(pad_id=1, pad_token="<pad>")
    tokenizer.no_padding()
    return tokenizer


FULL |= {f"learned {kind}": learned(kind) for kind in ("BPE", "Unigram")}
Texts = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join), min_size=1, max_size=6)


def cut_to(full: Any, texts: list[str]) -> tuple[Any, np.ndarray]:
    use = PieceUse(full)
    use.add(texts)
    special = [each["id"] for each in json.loads(full.to_str())["added_tokens"]]
    kept = pieces_to_keep(full, use.used, use.scripts, special)
    return smaller(full, kept), kept


@pytest.mark.parametrize("name", FULL)
@settings(max_examples=40, deadline=None)
@given(texts=Texts, other=st.text(max_size=30), data=st.data())
def test_texts_over_kept_pieces_are_cut_as_before(name: str, texts: list[str], other: str, data: st.DataObject) -> None:
    full = FULL[name]
    small, kept = cut_to(full, texts)
    pieces = {index: piece for piece, index in full.get_vocab().items()}
    assert small.get_vocab() == {pieces[old]: new for new, old in enumerate(kept.tolist())}, "ids are places in kept"
    verify(full, small, kept, texts)
    verify(full, small, kept, list(zip(texts, reversed(texts), strict=True)))
    # Any text whose pieces are all kept, not only those seen.
    mixed = " ".join(data.draw(st.permutations(" ".join(texts).split())))
    for text in (mixed, other):
        before, after = full.encode(text).ids, small.encode(text).ids
        if set(before) <= set(kept.tolist()):
            assert kept[after].tolist() == before, text


@pytest.mark.parametrize("name", FULL)
@settings(max_examples=30, deadline=None)
@given(texts=Texts, other=st.text(alphabet=sorted(set("".join(TEXTS))), min_size=1, max_size=20))
def test_other_texts_fall_back_to_kept_characters(name: str, texts: list[str], other: str) -> None:
    full = FULL[name]
    small, _ = cut_to(full, texts)
    seen = {script for text in texts for character in text if (script := script_of(character))}
    assume(all(not script_of(character) or script_of(character) in seen for character in other))
    unknown = {"<unk>", "[UNK]"}
    if not unknown & set(full.encode(other).tokens):
        assert not unknown & set(small.encode(other).tokens), "characters of known writing systems are kept"


def test_special_tokens_keep_their_ids_and_the_mask_comes_last() -> None:
    full = FULL["xlm-roberta"]
    small, kept = cut_to(full, ["the food"])
    assert len(kept) < full.get_vocab_size()
    for token in ("<s>", "<pad>", "</s>", "<unk>"):
        assert small.token_to_id(token) == full.token_to_id(token)
    assert small.token_to_id("<mask>") == len(kept) - 1
    assert small.encode("the food <mask>").tokens == full.encode("the food <mask>").tokens


def test_the_price_of_an_unknown_character_stays() -> None:
    """Unigram prices it by the lowest score of the vocabulary: without that piece, `ab☃` would be cut otherwise."""
    pieces = [("<unk>", 0.0), ("a", -1.0), ("b", -1.0), ("☃☃", -3.0), ("ab", -2.5), ("z", -90.0)]
    full = Tokenizer(models.Unigram(pieces, unk_id=0))
    small, kept = cut_to(full, ["ab"])
    assert 5 in kept.tolist()
    assert kept[small.encode("ab☃").ids].tolist() == full.encode("ab☃").ids


def test_further_texts_are_foretold_by_leaving_one_out() -> None:
    full = Tokenizer(models.WordLevel({word: index for index, word in enumerate(["[UNK]", *"abcd"])}, "[UNK]"))
    full.pre_tokenizer = pre_tokenizers.Whitespace()
    use = PieceUse(full)
    use.add(["a b", "a c"])
    use.add(["a d", "a"])
    # b, c and d stand in one text each: three of four texts would have lost a piece, had they not been there.
    assert use.share_with_a_piece_of_their_own(np.array([1, 2, 3, 4])) == pytest.approx(3 / 4)
    assert use.share_with_a_piece_of_their_own(np.array([1, 2])) == pytest.approx(1 / 4)


def test_a_kind_that_cannot_be_cut_is_refused() -> None:
    full = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, "[UNK]"))
    with pytest.raises(UserError, match=r"of the kind WordLevel.*leave --languages and --texts out"):
        pieces_to_keep(full, [1], set(), [])


def test_a_difference_would_be_seen() -> None:
    full = FULL["xlm-roberta"]
    small, kept = cut_to(full, ["the food"])
    with pytest.raises(RunError, match="would be cut otherwise"):
        verify(full, small, kept, [TEXTS[1]])


@pytest.mark.parametrize("family", ["xlm-roberta", "bert", "modernbert", "deberta-v2", "rembert"])
def test_the_model_answers_as_before_on_the_kept_pieces(family: str, tmp_path: Path) -> None:
    folder = make_encoder(tmp_path / family, family, labels=["a", "b", "c"])
    hf, tokenizer = load(folder, family), load_tokenizer(Model(name=str(folder)))
    full = tokenizer.backend_tokenizer
    texts = list(TEXTS[:4])
    small, kept = cut_to(full, texts)
    inputs = [torch.tensor([full.encode(text).ids]) for text in texts]
    with torch.no_grad():
        before = torch.cat([hf.eval()(input_ids=ids).logits for ids in inputs])
        cut_for_good(hf, kept)
        after = torch.cat([hf(input_ids=torch.tensor([small.encode(text).ids])).logits for text in texts])
    assert torch.allclose(before, after, atol=1e-6)
    assert hf.config.vocab_size == len(kept) == hf.get_input_embeddings().num_embeddings
    assert hf.config.pad_token_id == small.token_to_id(tokenizer.pad_token)


@pytest.mark.real_encoder
@pytest.mark.real_data
@pytest.mark.extras
def test_a_real_vocabulary_is_cut_exactly_on_real_texts(tmp_path: Path) -> None:
    full = Tokenizer.from_file(str(Path(os.environ["GLOTUNE_REAL_ENCODER"]) / "tokenizer.json"))
    with (Path(os.environ["GLOTUNE_TEST_DATA"]) / "umsab/ar.csv").open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    small, kept = cut_to(full, texts[:1500])
    assert len(kept) < full.get_vocab_size() / 5
    verify(full, small, kept, texts[:1500])
    is_kept = set(kept.tolist())
    covered = [text for text in texts[1500:] if set(full.encode(text).ids) <= is_kept]
    assert len(covered) > 200, "many unseen texts are over kept pieces"
    verify(full, small, kept, covered)
