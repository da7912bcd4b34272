"""New vocabulary for an existing encoder: pieces learned from the texts, each starting where its parts stand."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch

from glotune.errors import UserError
from glotune.model.scratch import learn_pieces
from glotune.run.records import Change

OVERSAMPLING = 3
"""Pieces learned per piece wanted: most of them the old vocabulary has already."""


def extend_tokenizer(tokenizer: Any, lines: Sequence[str], wanted: int) -> Any:
    """Adds the likeliest pieces of `lines` that the tokenizer lacks, after its last id: no old id moves.

    Characters that it lacks come first, those that occur once apart: a text in a script that is new to it would stay
    unknown whatever longer pieces it gets.

    Args:
        tokenizer: a fast Unigram tokenizer (XLM-R's family).
        lines: training texts.
        wanted: how many pieces.

    Raises:
        UserError: another kind of tokenizer, or texts that support fewer new pieces.
    """
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    if content["model"].get("type") != "Unigram":
        raise UserError(
            f"the tokenizer of this encoder is of the kind {content['model'].get('type')}",
            where="model.new_pieces",
            expected="a Unigram tokenizer, as XLM-R's and glotune-nano's",
            remedy="Set model.new_pieces=0",
        )
    known = {piece for piece, _ in content["model"]["vocab"]}
    learned = learn_pieces(list(lines), OVERSAMPLING * wanted + len(set("".join(lines))) + 16, ("<unk>",))
    counts = Counter(chain.from_iterable(unicodedata.normalize("NFKC", line) for line in lines))
    fresh = [
        (piece, score)
        for piece, score in learned
        if piece not in known and (len(piece.strip("▁")) > 1 or counts[piece] > 1)
    ]
    if len(fresh) < wanted:
        raise UserError(
            f"{wanted} new pieces are wanted, and the texts support {len(fresh)}",
            where="model.new_pieces",
            expected=f"at most {len(fresh)}",
            remedy="Give more text, or ask for fewer",
        )
    likeliest = sorted(fresh, key=lambda each: (len(each[0]) > 1, -each[1], each[0]))[:wanted]
    content["model"]["vocab"] += [list(each) for each in likeliest]
    return _rebuilt(tokenizer, content)


def _rebuilt(tokenizer: Any, content: dict[str, Any]) -> Any:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(content)),
        model_max_length=tokenizer.model_max_length,
        **{name: str(value) for name, value in tokenizer.special_tokens_map.items() if isinstance(value, str)},
    )


@torch.no_grad()
def grow(model: Any, before: Any, after: Any) -> Change:
    """Gives the encoder a row for every new piece of the tokenizer `after`.

    A new row of the embeddings (and of the output bias) is the mean of the rows of the pieces that the text was cut
    into `before` (Wang et al. 2019, arXiv:1909.12440, start new vectors from old ones alike).
    """
    old_size, new_size = len(before), len(after)
    counted = sum(value.numel() for value in model.parameters())
    pieces = [after.convert_ids_to_tokens(index) for index in range(old_size, new_size)]
    parts = [[token.id for token in before.backend_tokenizer.model.tokenize(piece)] for piece in pieces]
    model.resize_token_embeddings(max(new_size, model.get_input_embeddings().num_embeddings), mean_resizing=False)
    matrix = model.get_input_embeddings().weight
    bias = getattr(model.get_output_embeddings(), "bias", None)
    for row, ids in enumerate(parts, old_size):
        matrix[row] = matrix[ids].mean(dim=0)
        if bias is not None:
            bias[row] = bias[ids].mean()
    count = sum(value.numel() for value in model.parameters())
    return Change(
        kind="new_pieces",
        description=f"{new_size - old_size} new pieces, each starting as the mean of its parts",
        parameters_before=counted,
        parameters_after=count,
        trainable_before=counted,
        trainable_after=count,
        details={"pieces": new_size - old_size, "vocabulary": new_size},
    )
