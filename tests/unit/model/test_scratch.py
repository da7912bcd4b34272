from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer, PreTrainedTokenizerFast

from encoders import make_encoder
from glotune.errors import UserError
from glotune.model.scratch import new_encoder, train_tokenizer
from glotune.model.surgery.new_pieces import extend_tokenizer, grow
from glotune.recipe.pretrain import Scratch

SHAPE = {"layers": 1, "hidden_size": 16, "heads": 2, "intermediate_size": 32, "max_length": 20}


def lines(count: int = 400, seed: int = 0) -> list[str]:
    generator = random.Random(seed)
    words = ["".join(generator.choices("abcdefgh", k=generator.choice([3, 4, 6]))) for _ in range(150)]
    return [" ".join(generator.choices(words, k=5)) for _ in range(count)]


def tokenizer_of(vocabulary: int = 80) -> PreTrainedTokenizerFast:
    return train_tokenizer({"en": lines(), "ru": ["привет мир", "привет всем"]}, Scratch(vocabulary=vocabulary), 0)


def test_ids_are_laid_out_as_in_xlm_r(tmp_path: Path) -> None:
    tokenizer = tokenizer_of()
    tokenizer.save_pretrained(tmp_path)
    opened = AutoTokenizer.from_pretrained(tmp_path)
    assert len(opened) == 80
    assert opened.convert_tokens_to_ids(["<s>", "<pad>", "</s>", "<unk>", "<mask>"]) == [0, 1, 2, 3, 79]
    assert opened("abc", "def").input_ids[0] == 0
    assert opened("abc", "def").input_ids.count(2) == 3


def test_compatibility_forms_are_normalised_after_reopening(tmp_path: Path) -> None:
    tokenizer_of().save_pretrained(tmp_path)
    opened = AutoTokenizer.from_pretrained(tmp_path)
    assert opened("ａｂｃ").input_ids == opened("abc").input_ids
    assert opened.tokenize("a <mask> b").count("<mask>") + opened.tokenize("a <mask> b").count(" <mask>") == 1


def test_a_vocabulary_larger_than_the_text_supports() -> None:
    with pytest.raises(UserError, match=r"50000 pieces are wanted, and the texts yield \d+"):
        train_tokenizer({"en": lines(20), "de": ["hallo welt"]}, Scratch(vocabulary=50_000), 0)


def test_a_vocabulary_smaller_than_the_alphabet() -> None:
    with pytest.raises(UserError, match=r"16 pieces are wanted, and the texts need \d+ at least"):
        train_tokenizer(
            {"en": lines(20), "ru": ["привет мир", "привет мир всем"] * 2 + ["мир всем"]}, Scratch(vocabulary=16), 0
        )


def test_a_new_encoder_ties_its_output_layer() -> None:
    shape = Scratch.model_validate({**SHAPE, "vocabulary": 80})
    encoder = new_encoder(shape, 80)
    assert encoder.get_output_embeddings().weight is encoder.get_input_embeddings().weight
    assert encoder.config.max_position_embeddings == 22
    ids = torch.randint(4, 79, (1, 20))
    assert encoder(input_ids=ids).logits.shape == (1, 20, 80)


def test_new_pieces_keep_every_old_id_and_start_as_the_mean_of_their_parts() -> None:
    before = tokenizer_of()
    encoder = new_encoder(Scratch.model_validate({**SHAPE, "vocabulary": 80}), 80)
    old_rows = encoder.get_input_embeddings().weight.detach().clone()
    after = extend_tokenizer(before, lines(300, seed=1), 12)
    change = grow(encoder, before, after)
    assert len(after) == 92
    assert after.mask_token_id == before.mask_token_id
    assert {piece: before.get_vocab()[piece] for piece in before.get_vocab()}.items() <= after.get_vocab().items()
    rows = encoder.get_input_embeddings().weight
    assert torch.equal(rows[:80], old_rows)
    piece = after.convert_ids_to_tokens(85)
    parts = [token.id for token in before.backend_tokenizer.model.tokenize(piece)]
    assert torch.allclose(rows[85], old_rows[parts].mean(dim=0))
    assert change.details == {"pieces": 12, "vocabulary": 92}
    assert change.parameters_after - change.parameters_before == 12 * 17


def test_new_pieces_are_used() -> None:
    before = tokenizer_of()
    texts = lines(300, seed=1)
    after = extend_tokenizer(before, texts, 12)
    assert sum(map(len, after(texts).input_ids)) < sum(map(len, before(texts).input_ids))


def test_characters_that_are_new_come_before_longer_pieces() -> None:
    """Or a text in a new script would stay unknown, however many of its words are pieces."""
    before = tokenizer_of()
    other = ["ფქღ", "ღფ ქქ", "ყ"]
    assert before.unk_token_id in before(other[0]).input_ids
    after = extend_tokenizer(before, [*lines(300, seed=1), *other], 5)
    assert {"ფ", "ქ", "ღ"} <= set(after.get_vocab())
    assert after.unk_token_id not in after(other[:2]).input_ids[0] + after(other[:2]).input_ids[1]
    assert "ყ" not in after.get_vocab(), "it occurs once"


def test_more_new_pieces_than_the_texts_support() -> None:
    with pytest.raises(UserError, match="5000 new pieces are wanted"):
        extend_tokenizer(tokenizer_of(), lines(20), 5000)


def test_new_pieces_need_a_unigram_tokenizer(tmp_path: Path) -> None:
    folder = make_encoder(tmp_path / "bert", "bert")
    with pytest.raises(UserError, match="of the kind WordPiece"):
        extend_tokenizer(AutoTokenizer.from_pretrained(folder), lines(20), 5)


def test_growing_keeps_what_the_encoder_says_of_old_tokens(tmp_path: Path) -> None:
    before = tokenizer_of()
    encoder = new_encoder(Scratch.model_validate({**SHAPE, "vocabulary": 80}), 80).eval()
    ids = torch.randint(4, 79, (1, 12))
    logits = encoder(input_ids=ids).logits
    after = extend_tokenizer(before, lines(300, seed=1), 6)
    grow(encoder, before, after)
    assert torch.allclose(encoder(input_ids=ids).logits[..., :80], logits, atol=1e-6)
    encoder.save_pretrained(tmp_path)
    assert AutoModelForMaskedLM.from_pretrained(tmp_path).config.vocab_size == 86
