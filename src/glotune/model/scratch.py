"""A new encoder: XLM-R's architecture in any size, and a Unigram tokenizer learned from the texts."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from glotune.errors import UserError
from glotune.recipe.pretrain import Scratch

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
"""With ids 0 to 3, as in XLM-R; ``<mask>`` comes last."""
UNKNOWN = 3
LARGE_LANGUAGE_ALPHA = 0.8
"""A language of n lines, where the mean is m < n, teaches the tokenizer m * (n / m) ** alpha of them."""
MAX_PIECE = 16
"""Characters; as SentencePiece."""
SCORE_DIGITS = 4
"""Log-probabilities of the pieces are rounded to this many decimals: a third of the file size, and the same tokens."""


def train_tokenizer(texts: Mapping[str, Sequence[str]], spec: Scratch, seed: int) -> Any:
    """Learns a Unigram tokenizer (Kudo 2018, arXiv:1804.10959) laid out as XLM-R's: NFKC, metaspace, the same ids.

    Characters that occur once are left to ``<unk>``.

    Args:
        texts: language -> its training texts.
        spec: how many pieces, and the longest text that the encoder reads.
        seed: of the lines that large languages give.

    Returns:
        A `PreTrainedTokenizerFast`.

    Raises:
        UserError: the texts support fewer pieces than wanted, or have more different characters.
    """
    lines = _without_rare_characters(_balanced(texts, seed))
    fewest = len({character for line in lines for character in line if not character.isspace()}) + len(SPECIAL) + 2
    if spec.vocabulary < fewest:
        raise _other_size(spec, f"need {fewest} at least: the number of their characters and special tokens")
    pieces = learn_pieces(lines, spec.vocabulary - 1, SPECIAL)
    if len(pieces) != spec.vocabulary - 1:
        raise _other_size(spec, f"yield {len(pieces) + 1}")
    return _wrapped([*pieces, ("<mask>", 0.0)], spec.max_length)


def _other_size(spec: Scratch, reason: str) -> UserError:
    return UserError(
        f"{spec.vocabulary} pieces are wanted, and the texts {reason}",
        where="model.scratch.vocabulary",
        expected="a size that the texts support",
        remedy="Set another one, or give more text",
    )


def learn_pieces(lines: Sequence[str], size: int, special: Sequence[str]) -> list[tuple[str, float]]:
    """Pieces with their log-probabilities, the `special` ones first; fewer than `size` where the text has no more."""
    from tokenizers import Tokenizer, models, trainers

    trained = Tokenizer(models.Unigram())
    trained.normalizer, trained.pre_tokenizer = _text_steps()
    trainer = trainers.UnigramTrainer(
        vocab_size=size,
        special_tokens=list(special),
        unk_token="<unk>" if "<unk>" in special else None,
        max_piece_length=MAX_PIECE,
        show_progress=False,
    )
    trained.train_from_iterator(lines, trainer, length=len(lines))
    vocabulary = json.loads(trained.to_str())["model"]["vocab"]
    first, learned = vocabulary[: len(special)], vocabulary[len(special) :]
    rounded = [(piece, round(score, SCORE_DIGITS)) for piece, score in learned]
    # The trainer gives pieces of one score in no fixed order: the same texts must give the same ids.
    return [(piece, score) for piece, score in first] + sorted(rounded, key=lambda each: (-each[1], each[0]))


def _text_steps() -> tuple[Any, Any]:
    from tokenizers import normalizers, pre_tokenizers

    words = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")]
    return normalizers.NFKC(), pre_tokenizers.Sequence(words)


def _balanced(texts: Mapping[str, Sequence[str]], seed: int) -> list[str]:
    """The different texts of every language, large ones reduced."""
    different = {language: sorted(set(own)) for language, own in texts.items()}
    mean = sum(map(len, different.values())) / len(different)
    lines: list[str] = []
    for language, own in sorted(different.items()):
        wanted = len(own) if len(own) <= mean else round(mean * (len(own) / mean) ** LARGE_LANGUAGE_ALPHA)
        order = np.random.default_rng([seed, *language.encode()]).permutation(len(own))
        lines += [own[index] for index in order[:wanted]]
    return lines


def _without_rare_characters(lines: Sequence[str]) -> list[str]:
    normalised = [unicodedata.normalize("NFKC", line) for line in lines]
    counts = Counter(character for line in normalised for character in line)
    blanks = {ord(character): " " for character, count in counts.items() if count < 2}
    return [line.translate(blanks) for line in normalised]


def _wrapped(vocabulary: list[tuple[str, float]], max_length: int) -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, processors
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.Unigram(vocabulary, unk_id=UNKNOWN, byte_fallback=False))
    backend.normalizer, backend.pre_tokenizer = _text_steps()
    backend.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    mask = AddedToken("<mask>", lstrip=True, special=True)
    backend.add_special_tokens([*SPECIAL, mask])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        cls_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        mask_token=mask,
        model_max_length=max_length,
    )


def new_encoder(spec: Scratch, vocabulary: int) -> Any:
    """A fresh `XLMRobertaForMaskedLM`, output layer tied to the embeddings; torch's generator must be seeded.

    Positions start at 2, as in XLM-R, hence two more of them than `max_length`.
    """
    from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

    config = XLMRobertaConfig(
        vocab_size=vocabulary,
        hidden_size=spec.hidden_size,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        intermediate_size=spec.intermediate_size,
        max_position_embeddings=spec.max_length + 2,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )
    return XLMRobertaForMaskedLM(config)
