"""The layers of an encoder one by one, over packed texts: what lets a run skip, cut or cache some of them.

Every module is called through transformers' own code (and PEFT's wrapping of it); only the last layer's pooled token
and the head's input are taken apart here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional

from glotune.data.batches import PackedBatch
from glotune.model.cpu.dropout import dropout as drop
from glotune.model.families import Anatomy
from glotune.model.half_weights import laid_together
from glotune.model.packed.attention import attend
from glotune.model.packed.kernels import Kernels
from glotune.model.packed.packing import Group, Packing, added, mean_by_text, place, take

Rotary = tuple[Tensor, Tensor]
Project = Callable[[Sequence[nn.Module], Tensor], list[Tensor]]
"""Linear maps and the [T, H] that they all read -> their outputs."""


@dataclass
class Flow:
    """One batch on its way through the layers."""

    packing: Packing
    position_ids: Tensor
    """[1, T] from 0 within each text"""
    rotary: dict[str, Rotary] = field(default_factory=dict)
    """Layer type -> (cos, sin), each [1, T, D]"""

    @classmethod
    def of(cls, batch: PackedBatch, kernels: Kernels) -> Flow:
        packing = Packing(batch.lengths, batch.cu_seqlens, batch.input_ids.device, kernels)
        return cls(packing, batch.position_ids.unsqueeze(0))


class Walk(Protocol):
    """A packed family's way through its layers. Hidden states are [1, T, H]."""

    def embed(self, batch: PackedBatch) -> Tensor:
        """The output of the embeddings."""
        ...

    def layer(self, index: int, hidden: Tensor, flow: Flow) -> Tensor:
        """The output of layer `index`."""
        ...

    def pooled_layer(self, hidden: Tensor, flow: Flow) -> Tensor:
        """The last layer for the first token of each text alone: [B, H]. Keys and values are all tokens'."""
        ...

    def pool(self, hidden: Tensor, flow: Flow) -> Tensor:
        """The full last layer's output, pooled as the family does: [B, H]."""
        ...

    def classify(self, pooled_BH: Tensor) -> Tensor:
        """The head: logits_BC."""
        ...


class PostNormWalk:
    """XLM-R, RoBERTa and BERT."""

    def __init__(self, anatomy: Anatomy) -> None:
        self.anatomy = anatomy
        self.core = anatomy.core
        config = anatomy.config
        self.offset = config.pad_token_id + 1 if anatomy.family.positions_after_padding else 0
        self.has_types = config.type_vocab_size > 1
        self.project: Project | None = None
        """Query, key and value together: set for adapted encoders and on accelerators. None: one by one, inside
        transformers' layer."""

    def embed(self, batch: PackedBatch) -> Tensor:
        types = batch.token_type_ids if self.has_types else torch.zeros_like(batch.token_type_ids)
        return self.anatomy.embeddings[0](
            input_ids=batch.input_ids.unsqueeze(0),
            token_type_ids=types.unsqueeze(0),
            position_ids=batch.position_ids.unsqueeze(0) + self.offset,
        )

    def layer(self, index: int, hidden: Tensor, flow: Flow) -> Tensor:
        layer: Any = self.anatomy.layers[index]
        if self.project is None:
            return layer(hidden, attention_mask=None, packing=flow.packing)
        attention, tokens_TH = layer.attention.self, hidden.squeeze(0)
        query, key, value = self.project((attention.query, attention.key, attention.value), tokens_TH)
        return self._behind(layer, self._attended(attention, query, key, value, flow), tokens_TH).unsqueeze(0)

    def pooled_layer(self, hidden: Tensor, flow: Flow) -> Tensor:
        layer: Any = self.anatomy.layers[-1]
        attention, tokens_TH = layer.attention.self, hidden.squeeze(0)
        first_BH = take(tokens_TH, flow.packing.starts_B)
        query = attention.query(first_BH)
        if tokens_TH.device.type == "cpu" and is_plain(attention.key) and is_plain(attention.value):
            shape, dropout = self._heads(attention)
            context = attend_from_first(
                query.view(shape), tokens_TH, attention.key, attention.value, flow.packing, attention.scaling, dropout
            )
        else:
            key, value = (self.project or _one_by_one)((attention.key, attention.value), tokens_TH)
            context = self._attended(attention, query, key, value, flow)
        return self._behind(layer, context, first_BH)

    def _attended(self, attention: Any, query: Tensor, key: Tensor, value: Tensor, flow: Flow) -> Tensor:
        """[T or B, A, D] of the tokens that ask."""
        shape, dropout = self._heads(attention)
        return attend(query.view(shape), key.view(shape), value.view(shape), flow.packing, attention.scaling, dropout)

    @staticmethod
    def _heads(attention: Any) -> tuple[tuple[int, int, int], float]:
        """The shape of what the heads work on, and the dropout of their weights."""
        shape = (-1, attention.num_attention_heads, attention.attention_head_size)
        return shape, attention.dropout.p if attention.training else 0.0

    @staticmethod
    def _behind(layer: Any, context: Tensor, asked: Tensor) -> Tensor:
        """The rest of a layer after its attention, for the query tokens: their hidden states in, [T or B, H] out."""
        return layer.feed_forward_chunk(layer.attention.output(context.flatten(1), asked))

    def pool(self, hidden: Tensor, flow: Flow) -> Tensor:
        return pooled(self.anatomy, hidden.squeeze(0), flow)

    def classify(self, pooled_BH: Tensor) -> Tensor:
        first_B1H = pooled_BH.unsqueeze(1)  # the heads look at the first place, whatever stands there
        if self.anatomy.family.positions_after_padding:
            return self.core.classifier(first_B1H)
        return self.core.classifier(self.core.dropout(self.core.bert.pooler(first_B1H)))


class ModernBertWalk:
    """ModernBERT and mmBERT: rotary positions, local attention in most layers, a norm after the last."""

    def __init__(self, anatomy: Anatomy) -> None:
        self.anatomy = anatomy
        self.core = anatomy.core

    def embed(self, batch: PackedBatch) -> Tensor:
        return self.anatomy.embeddings[0](input_ids=batch.input_ids.unsqueeze(0))

    def layer(self, index: int, hidden: Tensor, flow: Flow) -> Tensor:
        layer: Any = self.anatomy.layers[index]
        rotary = self._rotary(layer, hidden, flow)
        return layer(hidden, attention_mask=None, position_embeddings=rotary, packing=flow.packing)

    def pooled_layer(self, hidden: Tensor, flow: Flow) -> Tensor:
        layer: Any = self.anatomy.layers[-1]
        attention = layer.attn
        starts_B = flow.packing.starts_B
        first_BH = take(hidden.squeeze(0), starts_B)
        query_BAD, key_TAD, value_TAD = self._projected(attention, layer.attn_norm(hidden.squeeze(0)), starts_B)
        cos, sin = (part.squeeze(0).unsqueeze(1) for part in self._rotary(layer, hidden, flow))
        context = attend(
            _rotate(query_BAD, cos.index_select(0, starts_B), sin.index_select(0, starts_B)),
            _rotate(key_TAD, cos, sin),
            value_TAD,
            flow.packing,
            attention.head_dim**-0.5,
            attention.attention_dropout if attention.training else 0.0,
            None if attention.sliding_window is None else attention.sliding_window - 1,
        )
        hidden_BH = first_BH + attention.out_drop(attention.Wo(context.flatten(1)))
        hidden_BH = hidden_BH + layer.mlp(layer.mlp_norm(hidden_BH))
        return self.core.model.final_norm(hidden_BH)

    def pool(self, hidden: Tensor, flow: Flow) -> Tensor:
        return pooled(self.anatomy, self.core.model.final_norm(hidden).squeeze(0), flow)

    def classify(self, pooled_BH: Tensor) -> Tensor:
        return self.core.classifier(self.core.drop(self.core.head(pooled_BH)))

    def _rotary(self, layer: Any, hidden: Tensor, flow: Flow) -> Rotary:
        kind: str = layer.attention_type
        if kind not in flow.rotary:
            flow.rotary[kind] = self.core.model.rotary_emb(hidden, flow.position_ids, kind)
        return flow.rotary[kind]

    def _projected(self, attention: Any, normed_TH: Tensor, starts_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries of the first tokens [B, A, D], keys and values of all [T, A, D], from the fused matrix."""
        fused, width = attention.Wqkv, normed_TH.shape[1]
        first_BH = take(normed_TH, starts_B)
        if is_plain(fused):
            bias_query, bias_rest = (None, None) if fused.bias is None else fused.bias.split([width, 2 * width])
            query = functional.linear(first_BH, fused.weight[:width], bias_query)
            key, value = functional.linear(normed_TH, fused.weight[width:], bias_rest).chunk(2, dim=-1)
        else:
            # An adapter sits on the fused matrix: its products are not taken apart.
            query, key, value = fused(normed_TH).chunk(3, dim=-1)
            query = take(query, starts_B)
        query, key, value = (part.unflatten(-1, (-1, attention.head_dim)) for part in (query, key, value))
        return query, key, value


def pooled(anatomy: Anatomy, tokens_TH: Tensor, flow: Flow) -> Tensor:
    """[B, H]: what the head reads of each text."""
    if not anatomy.pools_mean:
        return take(tokens_TH, flow.packing.starts_B)
    if tokens_TH.device.type not in ("cpu", "cuda"):  # others (MPS, TPU) have no sums over segments
        return mean_by_text(tokens_TH, flow.packing.cu_seqlens)
    lengths_B = flow.packing.cu_seqlens.diff().long()
    return torch.segment_reduce(tokens_TH.float(), "mean", lengths=lengths_B, axis=0, unsafe=True)


def _one_by_one(parts: Sequence[nn.Module], values_TH: Tensor) -> list[Tensor]:
    return [part(values_TH) for part in parts]


def project_fused(parts: Sequence[nn.Module], values_TH: Tensor) -> list[Tensor]:
    """Linear maps of the same values as one product: on an accelerator their number counts, not their size.

    Their weights stay parameters of their own; they are laid side by side in every pass, or once a step where many
    share it, which costs less than the two kernels forward and seven back that it saves.
    """
    plain = [part for part in parts if is_plain(part) and part.bias is not None]
    if len(plain) < len(parts):
        return _one_by_one(parts, values_TH)
    weight, bias = laid_together([part.weight for part in plain]), laid_together([part.bias for part in plain])
    return list(functional.linear(values_TH, weight, bias).split([part.out_features for part in plain], dim=-1))


def _rotate(states_TAD: Tensor, cos_T1D: Tensor, sin_T1D: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021, arXiv:2104.09864), in fp32 as ModernBERT applies them."""
    states = states_TAD.float()
    left, right = states.chunk(2, dim=-1)
    return (states * cos_T1D + torch.cat((-right, left), dim=-1) * sin_T1D).to(states_TAD.dtype)


def walk_of(anatomy: Anatomy) -> Walk | None:
    """The family's walk; None for families that run as a whole, with padding."""
    if anatomy.family.body == "post_norm":
        return PostNormWalk(anatomy)
    return ModernBertWalk(anatomy) if anatomy.family.body == "modernbert" else None


def is_plain(part: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether a map is W x + b and no more; an adapter with its dropout is not."""
    return isinstance(part, nn.Linear)


def attend_from_first(
    query_BAD: Tensor,
    tokens_TH: Tensor,
    key: nn.Linear,
    value: nn.Linear,
    packing: Packing,
    scale: float,
    dropout: float = 0.0,
) -> Tensor:
    """Softmax attention of one query per text over all its tokens, without making keys and values of the others.

    Where one token asks, its scores are q' (W_k x_i + b_k) = (W_k' q)' x_i + q' b_k, and its answer is
    sum_i p_i (W_v x_i + b_v) = W_v (sum_i p_i x_i) + b_v sum_i p_i: both maps act on one vector for each head and
    text instead of on every token. The sums are the same up to their order. (DeepSeek-V2 absorbs maps into each other
    so: arXiv:2405.04434, section 2.1.2.) Two cores, 768 wide, bf16, forward and backward of 3,700 tokens: 75 -> 26 ms
    at 24 and more tokens a text, 73 -> 50 ms at 10.

    Args:
        query_BAD: of the first tokens.
        tokens_TH: what `key` and `value` would be applied to.

    Returns:
        [B, A, D], as `attention.attend` gives with all keys and values.
    """
    heads, width = query_BAD.shape[1:]
    query_BAD = query_BAD * scale
    asked_BAH = _by_head(query_BAD, key.weight.view(heads, width, -1))
    offset_BA = torch.zeros_like(query_BAD[..., 0])
    if key.bias is not None:
        offset_BA = (query_BAD * key.bias.view(heads, width).to(query_BAD.dtype)).sum(-1)
    tokens_TH = tokens_TH.to(query_BAD.dtype)
    if packing.token_order_T is not None and packing.text_order_B is not None:
        tokens_TH = take(tokens_TH, packing.token_order_T)
        asked_BAH, offset_BA = (part.index_select(0, packing.text_order_B) for part in (asked_BAH, offset_BA))
    parts = [_group(asked_BAH, offset_BA, tokens_TH, group, dropout) for group in packing.groups]
    seen_BAH, mass_BA = (torch.cat(each) for each in zip(*parts, strict=True))
    answer_BAD = _by_head(seen_BAH, value.weight.view(heads, width, -1).transpose(1, 2))
    if value.bias is not None:
        answer_BAD = answer_BAD + mass_BA.unsqueeze(-1) * value.bias.view(heads, width).to(mass_BA.dtype)
    if packing.text_order_B is not None:
        answer_BAD = place(answer_BAD.flatten(1), packing.text_order_B, len(answer_BAD)).view(answer_BAD.shape)
    return answer_BAD


def _by_head(values_BAI: Tensor, maps_AIO: Tensor) -> Tensor:
    """Each head's vectors through its own matrix: [B, A, I] -> [B, A, O]."""
    return torch.matmul(values_BAI.transpose(0, 1), maps_AIO).transpose(0, 1)


def _group(
    asked_BAH: Tensor, offset_BA: Tensor, tokens_TH: Tensor, group: Group, dropout: float
) -> tuple[Tensor, Tensor]:
    """One group: what each head sees of the tokens, [texts, A, H], and the sum of its weights, [texts, A]."""
    texts = slice(group.first, group.first + len(group))
    tokens_BLH = group.padded(tokens_TH)
    scores_BAL = torch.matmul(asked_BAH[texts], tokens_BLH.transpose(1, 2)) + offset_BA[texts].unsqueeze(-1)
    if group.mask is not None:
        scores_BAL = scores_BAL + added(group.mask.squeeze(1), scores_BAL.dtype)
    weights_BAL = torch.softmax(scores_BAL, dim=-1).to(tokens_BLH.dtype)
    if dropout > 0.0:
        weights_BAL = drop(weights_BAL, dropout)
    return torch.matmul(weights_BAL, tokens_BLH), weights_BAL.sum(-1)
