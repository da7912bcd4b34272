"""The network that trains and predicts: a Hugging Face classifier behind one packed signature."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from glotune.data.batches import PackedBatch, pooled
from glotune.model.card import Card
from glotune.model.cpu.packed_weights import PackedWeights
from glotune.model.families import Anatomy
from glotune.model.half_weights import HeldInHalf
from glotune.model.packed import attention as packed_attention
from glotune.model.packed.kernels import PADDED, Kernel, Kernels, kernels_of
from glotune.model.packed.padding import moved, padded_logits
from glotune.model.packed.walk import Flow, walk_of
from glotune.model.surgery.counting import Counts
from glotune.model.surgery.freezing import prefix_depth
from glotune.run.records import Change

Attention = Literal["packed_sdpa", "varlen", "efficient", "blocks", "padded"]
ATTENTION_OF: dict[Kernel, Attention] = {
    "sdpa": "packed_sdpa",
    "flash": "varlen",
    "efficient": "efficient",
    "blocks": "blocks",
}
"""Kernel -> what a plan calls it."""

AS_ASKED = "{}: texts are padded, as train.batching asks"
"""Of a family that could run packed."""


class Network(nn.Module):
    """Hides packed and padded batches, the pooled last layer and the frozen prefix behind `forward`.

    Built last: it reads from the model which layers are fixed.

    Args:
        hf: a sequence classification model after truncation, trimming, freezing and LoRA.
        packed: False runs every batch padded.
        pooled_last_layer: compute the last layer for the pooled token alone, where the family pools one token.
    """

    def __init__(self, hf: nn.Module, *, packed: bool = True, pooled_last_layer: bool = True) -> None:
        super().__init__()
        self.hf: Any = hf
        self.anatomy = Anatomy(hf)
        self.walk = walk_of(self.anatomy) if packed else None
        if self.anatomy.family.is_packed:
            packed_attention.register()
            self.anatomy.config._attn_implementation = packed_attention.NAME
        self.pooled_last_layer = pooled_last_layer and self.walk is not None and not self.anatomy.pools_mean
        self.prefix_depth = prefix_depth(self.anatomy) if self.walk is not None else None
        self._recomputes = False
        self.kernels: Kernels = PADDED
        """Of the attention product; `glotune.engine.fast_paths` sets what the device has, once it is compared."""
        self._held: HeldInHalf | None = None

    @property
    def packed(self) -> bool:
        """False: texts are padded, because the family does not run packed or the recipe asks for it."""
        return self.walk is not None

    @property
    def num_layers(self) -> int:
        """L, after truncation."""
        return len(self.anatomy.layers)

    @property
    def hidden_size(self) -> int:
        """H."""
        return int(self.anatomy.config.hidden_size)

    @property
    def uncounted(self) -> int | None:
        """The row of the (trimmed) embedding matrix whose token takes no position, as transformers counts them in the
        family: padding, which may stand in a text too. None: every token takes one."""
        return self.anatomy.word_embeddings.padding_idx if self.anatomy.family.positions_after_padding else None

    @property
    def recomputes(self) -> bool:
        """Whether activations are computed again on the way back."""
        return self._recomputes

    def checkpoint_activations(self) -> bool:
        """Computes the activations of each layer again on the way back, instead of keeping them; False where it did
        already, or the family can't."""
        if self._recomputes or (self.walk is None and not self.hf.supports_gradient_checkpointing):
            return False
        self._recomputes = True
        if self.walk is None:
            self.hf.gradient_checkpointing_enable({"use_reentrant": False, "context_fn": PackedWeights.here_and_again})
        return True

    def hold_frozen(self, dtype: torch.dtype) -> int:
        """Holds the frozen linear maps in half precision (`HeldInHalf`); returns how many bytes that saves."""
        self._held = HeldInHalf.of(self.hf, dtype)
        return self._held.saved

    def restore_frozen(self) -> None:
        """Every weight in fp32 again, as it came from its source: to be saved, or to compute without autocast."""
        if self._held is not None:
            self._held.restore()

    def regions(self) -> list[nn.Module]:
        """What follows attention in each layer of a packed family: nothing in it knows where a text begins, so one
        compiled form, dynamic in its tokens, serves every batch."""
        if self.walk is None:
            return []
        layers: list[Any] = list(self.anatomy.layers)
        if self.anatomy.family.body == "modernbert":
            return [layer.mlp for layer in layers]
        return [part for layer in layers for part in (layer.attention.output, layer.intermediate, layer.output)]

    def layer(self, index: int, hidden: Tensor, flow: Flow) -> Tensor:
        """The output of one layer of a packed family."""
        assert self.walk is not None
        if self._recomputes and self.training and torch.is_grad_enabled():
            return checkpoint(
                self.walk.layer, index, hidden, flow, use_reentrant=False, context_fn=PackedWeights.here_and_again
            )
        return self.walk.layer(index, hidden, flow)

    def forward(self, batch: PackedBatch) -> Tensor:
        """Logits_BC of the B texts; starts after the frozen prefix where the batch has its output.

        Windows are sequences like others until their logits are pooled: no layer and no loss knows of them.

        Raises:
            ValueError: the batch has it, and it or the family runs padded.
        """
        return pooled(self._logits(batch), batch.windows_BM, batch.pool)

    def _logits(self, batch: PackedBatch) -> Tensor:
        """Logits_SC of the sequences."""
        if self.walk is None or batch.pad_to is not None:
            if batch.hidden_TH is not None:
                raise ValueError("a cached prefix goes with packed batches only")
            return padded_logits(self.anatomy, self.hf, batch)
        flow = Flow.of(batch, self.kernels)
        if batch.hidden_TH is None:
            with moved(self.anatomy, None if batch.noise_TE is None else batch.noise_TE.unsqueeze(0)):
                hidden, first = self.walk.embed(batch), 0
        else:
            hidden, first = batch.hidden_TH.unsqueeze(0), self.prefix_depth or 0
        last = self.num_layers - self.pooled_last_layer
        for index in range(first, last):
            hidden = self.layer(index, hidden, flow)
        pooled_BH = self.walk.pooled_layer(hidden, flow) if self.pooled_last_layer else self.walk.pool(hidden, flow)
        return self.walk.classify(pooled_BH)

    @torch.no_grad()
    def prefix(self, batch: PackedBatch) -> Tensor:
        """Hidden_TH after the frozen prefix: embeddings and the first `prefix_depth` layers; no dropout acts there.

        Raises:
            ValueError: the network has no frozen prefix.
        """
        if self.walk is None or self.prefix_depth is None:
            raise ValueError("this network has no frozen prefix")
        flow = Flow.of(batch, self.kernels)
        hidden = self.walk.embed(batch)
        for index in range(self.prefix_depth):
            hidden = self.walk.layer(index, hidden, flow)
        return hidden.squeeze(0)

    def changes(self) -> list[Change]:
        """What pooling, packing and the pooled last layer do to this model, for the log."""
        counts = Counts.of(self.hf)
        changes = [counts.change("pack", self._packing(), self.hf, packed=self.packed)]
        if self.anatomy.needs_code:
            description = (
                "the head reads the mean of all tokens: transformers has no such class for this family, and opens the "
                "saved model with trust_remote_code=True alone"
            )
            changes = [counts.change("pooling", description, self.hf, reads="mean"), *changes]
        if self.pooled_last_layer:
            description = "the last layer's queries, output and feed-forward run for the pooled token alone"
        elif self.packed and self.anatomy.pools_mean:
            description = "the last layer runs in full: this encoder's head averages over all tokens"
        else:
            return changes
        pooled = counts.change("pooled_last_layer", description, self.hf, pooled=self.pooled_last_layer)
        return [*changes, pooled]

    def _packing(self) -> str:
        family = self.anatomy.family
        if self.packed:
            return f"{family.name}: texts run end to end, without padding"
        if family.is_packed:
            return AS_ASKED.format(family.name)
        how = (
            "padding would change its answers: texts of one length run together"
            if family.mixes_padding
            else "texts are padded to the longest of each micro-batch"
        )
        return f"{family.name} does not run packed: {how}"


def choose_attention(network: Network, card: Card, precision: str) -> tuple[Attention, str]:
    """The attention that will run, and why, for the run's plan."""
    if not network.packed:
        family = network.anatomy.family
        why = AS_ASKED if family.is_packed else "{} has no packed attention"
        return "padded", why.format(family.name)
    kernels, why = kernels_of(card, head_width(network.anatomy))
    return ATTENTION_OF[kernels.full if precision == "fp32" else kernels.half], why


def head_width(anatomy: Anatomy) -> int:
    """D, of the encoder's layers."""
    return int(anatomy.config.hidden_size) // int(anatomy.config.num_attention_heads)
