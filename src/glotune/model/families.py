"""Architecture facts as data: where the embeddings, layers and head of each family live."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from torch import nn

Body = Literal["post_norm", "modernbert", "opaque"]
"""How the layers are walked one by one; ``opaque`` families run as a whole, with padding."""


@dataclass(frozen=True)
class Family:
    """Names are paths inside the sequence classification model of Hugging Face transformers."""

    name: str
    model_types: tuple[str, ...]
    """Values of ``config.model_type``."""
    embeddings: str
    word_embeddings: str
    layers: str
    head: tuple[str, ...]
    """Modules behind the last layer that are trained for the task: the pooler too, where there is one."""
    lora_targets: Mapping[str, tuple[str, ...]]
    """query, key, value and dense -> paths inside a layer. ``dense`` is attention output and feed-forward."""
    body: Body
    positions_after_padding: bool = False
    """Positions start at padding_idx + 1 (fairseq's convention), not at 0."""

    @property
    def is_packed(self) -> bool:
        """Whether texts of this family run end to end without padding."""
        return self.body != "opaque"


_BERT_TARGETS = {
    "query": ("attention.self.query",),
    "key": ("attention.self.key",),
    "value": ("attention.self.value",),
    "dense": ("attention.output.dense", "intermediate.dense", "output.dense"),
}

KNOWN: tuple[Family, ...] = (
    Family(
        name="XLM-R / RoBERTa",
        model_types=("xlm-roberta", "roberta", "camembert"),
        embeddings="roberta.embeddings",
        word_embeddings="roberta.embeddings.word_embeddings",
        layers="roberta.encoder.layer",
        head=("classifier",),
        lora_targets=_BERT_TARGETS,
        body="post_norm",
        positions_after_padding=True,
    ),
    Family(
        name="BERT",
        model_types=("bert",),
        embeddings="bert.embeddings",
        word_embeddings="bert.embeddings.word_embeddings",
        layers="bert.encoder.layer",
        head=("bert.pooler", "classifier"),
        lora_targets=_BERT_TARGETS,
        body="post_norm",
    ),
    Family(
        name="ModernBERT / mmBERT",
        model_types=("modernbert",),
        embeddings="model.embeddings",
        word_embeddings="model.embeddings.tok_embeddings",
        layers="model.layers",
        head=("head", "classifier"),
        # Query, key and value are one fused matrix: an adapter on any of them is an adapter on all three.
        lora_targets={
            "query": ("attn.Wqkv",),
            "key": ("attn.Wqkv",),
            "value": ("attn.Wqkv",),
            "dense": ("attn.Wo", "mlp.Wi", "mlp.Wo"),
        },
        body="modernbert",
    ),
)
"""Families that run packed. Every other family is looked into by `family_of` and runs with padding."""

_PROJECTIONS = {
    "query": ("query", "query_proj", "q_lin", "q_proj", "q"),
    "key": ("key", "key_proj", "k_lin", "k_proj", "k"),
    "value": ("value", "value_proj", "v_lin", "v_proj", "v"),
}
"""Last names of the projections in families that are not known."""


class Anatomy:
    """A family's facts, resolved on one model; also through PEFT's wrapping."""

    def __init__(self, hf: nn.Module) -> None:
        self.hf = hf
        self.core: Any = hf.get_base_model() if hasattr(hf, "peft_config") else hf  # type: ignore[operator]
        self.family = family_of(self.core)

    @property
    def config(self) -> Any:
        return self.core.config

    @cached_property
    def embeddings(self) -> nn.Module:
        """Word, position and type embeddings with their norm."""
        return self.core.get_submodule(self.family.embeddings)

    @property
    def word_embeddings(self) -> nn.Embedding:
        return self.core.get_submodule(self.family.word_embeddings)

    @property
    def layers(self) -> nn.ModuleList:
        return self.core.get_submodule(self.family.layers)

    @cached_property
    def head(self) -> dict[str, nn.Module]:
        """Path -> module of the head's parts."""
        return {path: self.core.get_submodule(path) for path in self.family.head}

    @cached_property
    def word_embedding_name(self) -> str:
        """Name of the word embedding matrix among ``hf.named_parameters()``."""
        return next(name for name, value in self.hf.named_parameters() if value is self.word_embeddings.weight)

    def depth_of(self, name: str) -> int | None:
        """Where a parameter of ``hf.named_parameters()`` sits.

        Returns:
            0 for embeddings, 1 to L for the layers (norms behind the last layer count as L), None for the head.
        """
        inner = name.removeprefix("base_model.model.")
        if inner.startswith(self.family.embeddings + "."):
            return 0
        if inner.startswith(self.family.layers + "."):
            return int(inner[len(self.family.layers) + 1 :].split(".", 1)[0]) + 1
        if any(inner.startswith(path + ".") for path in self.family.head):
            return None
        return len(self.layers)

    def linears(self, layer: int) -> Iterator[tuple[str, nn.Module]]:
        """(path inside the layer, module) of every linear map of a layer."""
        for path, module in self.layers[layer].named_modules():
            if isinstance(module, nn.Linear):
                yield path, module


def family_of(core: Any) -> Family:
    """The facts about a sequence classification model: known by its type, or found by looking."""
    model_type = core.config.model_type
    for family in KNOWN:
        if model_type in family.model_types and not getattr(core.config, "is_decoder", False):
            return family
    return _look_into(core)


def _look_into(core: Any) -> Family:
    base = core.base_model_prefix
    names = {id(module): path for path, module in core.named_modules()}
    word = names[id(core.get_input_embeddings())]
    depth = core.config.num_hidden_layers
    stacks = [
        (sum(value.numel() for value in module.parameters()), path)
        for path, module in core.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == depth
    ]
    layers = max(stacks)[1]
    outside = tuple(
        name for name, part in core.named_children() if name != base and any(True for _ in part.parameters())
    )
    pooler = (f"{base}.pooler",) if getattr(getattr(core, base), "pooler", None) is not None else ()
    return Family(
        name=core.config.model_type,
        model_types=(core.config.model_type,),
        embeddings=word.rpartition(".")[0],
        word_embeddings=word,
        layers=layers,
        head=(*pooler, *outside),
        lora_targets=_targets(core.get_submodule(layers)[0]),
        body="opaque",
    )


def _targets(layer: nn.Module) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {"query": [], "key": [], "value": [], "dense": []}
    for path, module in layer.named_modules():
        last = path.rpartition(".")[2]
        if isinstance(module, nn.Linear) and not last.startswith("pos_"):
            role = next((role for role, names in _PROJECTIONS.items() if last in names), "dense")
            found[role].append(path)
    return {role: tuple(paths) for role, paths in found.items()}
