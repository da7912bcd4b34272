"""New vocabulary for an existing encoder: pieces learned from the texts, each starting where its parts stand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch

from glotune.errors import UserError
from glotune.model.scratch import learn_pieces
from glotune.records import Change

OVERSAMPLING = 3
"""Pieces learned per piece wanted: most of them the old vocabulary has already."""


def add_pieces(model: Any, tokenizer: Any, lines: Sequence[str], wanted: int) -> tuple[Any, Change]:
    """Adds the likeliest pieces of `lines` that the tokenizer lacks, behind its last id: no old id moves.

    A new piece's embedding (and output bias) is the mean of those of the pieces that it was cut into before (as
    Wang et al. 2019, "Improving pre-trained multilingual models with vocabulary expansion", start from old vectors).

    Args:
        model: a `...ForMaskedLM`; its embeddings grow in place.
        tokenizer: a fast Unigram tokenizer (XLM-R's family).
        lines: training texts.
        wanted: how many pieces.

    Returns:
        The new tokenizer, and what changed.

    Raises:
        UserError: another kind of tokenizer, or texts that support fewer new pieces.
    """
    backend = tokenizer.backend_tokenizer
    content = json.loads(backend.to_str())
    if content["model"].get("type") != "Unigram":
        raise UserError(
            f"the tokenizer of this encoder is of the kind {content['model'].get('type')}",
            where="model.new_pieces",
            expected="a Unigram tokenizer, as XLM-R's and glotune-nano's",
            remedy="Set model.new_pieces=0",
        )
    old = {piece for piece, _ in content["model"]["vocab"]}
    learned = learn_pieces(list(lines), OVERSAMPLING * wanted + len(set("".join(lines))), ("<unk>",))
    fresh = sorted(((piece, score) for piece, score in learned if piece not in old), key=lambda each: -each[1])
    fresh = [(piece, score) for piece, score in fresh if len(piece.strip("▁")) > 1][:wanted]
    if len(fresh) < wanted:
        raise UserError(
            f"{wanted} new pieces are wanted, and the texts support {len(fresh)}",
            where="model.new_pieces",
            expected=f"at most {len(fresh)}",
            remedy="Give more text, or ask for fewer",
        )
    parts = [[token.id for token in backend.model.tokenize(piece)] for piece, _ in fresh]
    content["model"]["vocab"] += [list(each) for each in fresh]
    return _rebuilt(tokenizer, content), _grow(model, len(old), parts)


def _rebuilt(tokenizer: Any, content: dict[str, Any]) -> Any:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(content)),
        model_max_length=tokenizer.model_max_length,
        **{name: str(value) for name, value in tokenizer.special_tokens_map.items() if isinstance(value, str)},
    )


@torch.no_grad()
def _grow(model: Any, start: int, parts: list[list[int]]) -> Change:
    before = sum(value.numel() for value in model.parameters())
    matrix = model.get_input_embeddings().weight
    size = max(start + len(parts), len(matrix))
    model.resize_token_embeddings(size, mean_resizing=False)
    matrix = model.get_input_embeddings().weight
    bias = getattr(model.get_output_embeddings(), "bias", None)
    for offset, ids in enumerate(parts):
        matrix[start + offset] = matrix[ids].mean(dim=0)
        if bias is not None:
            bias[start + offset] = bias[ids].mean()
    after = sum(value.numel() for value in model.parameters())
    return Change(
        kind="new_pieces",
        description=f"{len(parts)} new pieces, each starting as the mean of its parts",
        parameters_before=before,
        parameters_after=after,
        trainable_before=before,
        trainable_after=after,
        details={"pieces": len(parts), "vocabulary": start + len(parts)},
    )
