"""All that is done to an encoder before training, in its order: truncate, trim, freeze, LoRA, pack."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glotune.model.network import Network
from glotune.model.sources import locate
from glotune.model.surgery.freezing import freeze
from glotune.model.surgery.lora import add_lora
from glotune.model.surgery.truncation import truncate
from glotune.model.surgery.vocabulary import VocabularyMap, trim_vocabulary
from glotune.recipe import schema
from glotune.run.records import Change


@dataclass(frozen=True)
class Operated:
    """An encoder ready to train."""

    network: Network
    vocabulary: VocabularyMap | None
    """None: every row is there."""
    changes: list[Change] = field(default_factory=list)


def operate(
    hf: Any,
    model: schema.Model,
    speed: schema.Speed,
    *,
    used_ids: NDArray[np.integer[Any]] | None,
    special_ids: Iterable[int] = (),
    packed: bool = True,
) -> Operated:
    """Applies what the recipe asks for; every step that changes something leaves a record.

    Args:
        used_ids: token ids of all splits; None trims nothing.
        special_ids: the tokenizer's ``all_special_ids``.
        packed: False runs even packed families with padding.

    Raises:
        UserError: a key of the recipe that does not fit this encoder.
    """
    changes: list[Change | None] = [truncate(hf, model.layers)]
    vocabulary = None
    if speed.trim_vocabulary and used_ids is not None:
        trimmed = trim_vocabulary(hf, used_ids, special_ids, locate(model))
        if trimmed is not None:
            vocabulary, change = trimmed
            changes.append(change)
    changes.append(freeze(hf, model.freeze))
    if model.lora is not None:
        hf, change = add_lora(hf, model.lora, model.freeze)
        changes.append(change)
    network = Network(hf, packed=packed, pooled_last_layer=speed.pooled_last_layer)
    changes.extend(network.changes())
    return Operated(network, vocabulary, [change for change in changes if change is not None])
