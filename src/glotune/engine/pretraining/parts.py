"""What the pretraining loop works with, beside what every loop does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from glotune.engine.parts import Parts
from glotune.engine.pretraining.corpus import Corpus
from glotune.model.pretraining import MaskedLanguageModel
from glotune.recipe.pretrain import PretrainRecipe
from glotune.tasks.masked_lm import Vocabulary

HELD_TOKENS_AT_BASE = 4096
"""On the host the activations of so many tokens of a 768-wide, 12-layer encoder may be held at once."""


@dataclass(frozen=True, kw_only=True)
class PretrainParts(Parts):
    """Recipe, model and corpus of one pretraining run. `stores` has the items as ``train``."""

    pretrain: PretrainRecipe
    corpus: Corpus
    vocabulary: Vocabulary

    @property
    def model(self) -> MaskedLanguageModel:
        """The network, as what it is here."""
        return cast(MaskedLanguageModel, self.network)

    def tokens_held(self, token_budget: int) -> int:
        """Tokens whose activations may be held at once: the budget on a GPU, where it is memory that sets it."""
        if self.device.type == "cuda":
            return token_budget
        size = self.network.hidden_size * self.network.num_layers
        return max(token_budget, HELD_TOKENS_AT_BASE * 768 * 12 // size)
