"""Architecture facts as data: where the embeddings, layers and head of each family live."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from torch import nn

from glotune.errors import UserError

Body = Literal["post_norm", "modernbert", "opaque"]
"""How the layers are walked one by one; ``opaque`` families run as a whole, with padding."""
MEAN_POOLED = "-mean-pooled"
"""Ends the ``model_type`` of a family whose head reads the mean by a class of glotune's (`model.mean_pooling`)."""


@dataclass(frozen=True)
class Family:
    """Names are paths inside the sequence classification model of Hugging Face transformers."""

    name: str
    model_types: tuple[str, ...]
    """Values of ``config.model_type``."""
    embeddings: tuple[str, ...]
    """Word, position and type embeddings with their norm, and the map to the layers' width where they have one."""
    word_embeddings: str
    stacks: tuple[str, ...]
    """Lists of layers in the order that a text runs through them; several in encoder-decoders and in Funnel."""
    head: tuple[str, ...]
    """Modules after the last layer that are trained for the task: the pooler too, where there is one."""
    lora_targets: Mapping[str, tuple[str, ...]]
    """query, key, value and dense -> paths inside a layer. ``dense`` is attention output and feed-forward."""
    body: Body
    positions_after_padding: bool = False
    """Positions start at padding_idx + 1 (fairseq's convention), not at 0."""
    mixes_padding: bool = False
    """Padding beside a text changes the answer to it: only texts of one length run together."""

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
        embeddings=("roberta.embeddings",),
        word_embeddings="roberta.embeddings.word_embeddings",
        stacks=("roberta.encoder.layer",),
        head=("classifier",),
        lora_targets=_BERT_TARGETS,
        body="post_norm",
        positions_after_padding=True,
    ),
    Family(
        name="BERT",
        model_types=("bert",),
        embeddings=("bert.embeddings",),
        word_embeddings="bert.embeddings.word_embeddings",
        stacks=("bert.encoder.layer",),
        head=("bert.pooler", "classifier"),
        lora_targets=_BERT_TARGETS,
        body="post_norm",
    ),
    Family(
        name="ModernBERT / mmBERT",
        model_types=("modernbert",),
        embeddings=("model.embeddings",),
        word_embeddings="model.embeddings.tok_embeddings",
        stacks=("model.layers",),
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

MIXES_PADDING = ("convbert", "fnet", "funnel", "mobilebert", "nystromformer", "xlnet", "yoso")
"""Convolutions over neighbours (ConvBERT, MobileBERT, Nyströmformer), mixing or pooling along the whole row (FNet,
Funnel, YOSO), or a head that reads the last place of the row (XLNet)."""

UNFIT: Mapping[str, str] = {
    "canine": "it reads characters, by a tokenizer that runs in Python alone",
    "flaubert": "its tokenizer runs in Python alone, and its layers lie in several lists",
    "ibert": "its maps and embeddings are made for quantised numbers",
    "layoutlmv2": "it reads pictures of pages",
    "layoutlmv3": "it reads pictures of pages",
    "mra": "its attention needs a CUDA extension, and is zero without it",
    "perceiver": "it reads bytes, by a tokenizer that runs in Python alone",
    "reformer": "it trains on texts of one fixed length alone",
    "tapas": "it reads tables",
    "xlm": "its tokenizer runs in Python alone, and its checkpoints want a language id beside every token",
}
"""``config.model_type`` -> why glotune refuses the family."""


class Anatomy:
    """A family's facts, resolved on one model; also through PEFT's wrapping."""

    def __init__(self, hf: nn.Module) -> None:
        self.hf = hf
        self.core: Any = hf.get_base_model() if hasattr(hf, "peft_config") else hf  # type: ignore[operator]
        self.family = family_of(self.core)

    @property
    def config(self) -> Any:
        return self.core.config

    @property
    def needs_code(self) -> bool:
        """Whether transformers alone has no class that reads this model as it was trained."""
        return bool(self.config.model_type.endswith(MEAN_POOLED))

    @property
    def pools_mean(self) -> bool:
        """Whether the head reads the mean of all tokens; otherwise, in families that run packed, the first."""
        return self.needs_code or getattr(self.config, "classifier_pooling", "cls") == "mean"

    @cached_property
    def embeddings(self) -> list[nn.Module]:
        """The parts of the embeddings; one that looks everything up in the families that run packed."""
        return [self.core.get_submodule(path) for path in self.family.embeddings]

    @property
    def word_embeddings(self) -> nn.Embedding:
        return self.core.get_submodule(self.family.word_embeddings)

    @cached_property
    def layer_paths(self) -> list[str]:
        """Where each layer is, in the order that a text runs through them; shared layers come several times."""
        paths = [f"{stack}.{index}" for stack in self.family.stacks for index in range(self._size(stack))]
        if getattr(self.config, "num_hidden_groups", None) is None:
            return paths
        return [paths[group] for group in groups_of(self.config.num_hidden_layers, len(paths))]

    def _size(self, stack: str) -> int:
        return len(self.core.get_submodule(stack))

    @cached_property
    def layers(self) -> list[nn.Module]:
        """The modules at `layer_paths`."""
        return [self.core.get_submodule(path) for path in self.layer_paths]

    def shares_weights(self, border: int) -> bool:
        """Whether one of the first `border` layers has its weights in common with a layer above them (ALBERT)."""
        return not set(self.layer_paths[:border]).isdisjoint(self.layer_paths[border:])

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
            0 for embeddings, 1 to L for the layers (the last of those that share it; norms after the last layer count
            as L), None for the head.
        """
        inner = name.removeprefix("base_model.model.")
        for depth, paths in self._places:
            if inner.startswith(paths):
                return depth
        return len(self.layers)

    @cached_property
    def _places(self) -> list[tuple[int | None, tuple[str, ...]]]:
        """Depth -> beginnings of the names that sit there; layers from above, so that the last one has a shared one."""
        layers = [(depth, (f"{path}.",)) for depth, path in enumerate(self.layer_paths, 1)]
        embeddings = tuple(f"{path}." for path in self.family.embeddings)
        head = tuple(f"{path}." for path in self.family.head)
        return [(0, embeddings), *reversed(layers), (None, head)]

    def linears(self, layer: int) -> Iterator[tuple[str, nn.Module]]:
        """(path inside the layer, module) of every linear map of a layer."""
        for path, module in self.layers[layer].named_modules():
            if isinstance(module, nn.Linear):
                yield path, module


def groups_of(layers: int, groups: int) -> list[int]:
    """The group whose weights each layer uses, as ALBERT shares them out."""
    return [int(index / (layers / groups)) for index in range(layers)]


def refuse_unfit(model_type: str) -> None:
    """Refuses a family that can't be right here, by its name.

    Raises:
        UserError: it is one of `UNFIT`.
    """
    if model_type in UNFIT:
        raise UserError(
            f"encoders of the kind '{model_type}' can't be fine-tuned here: {UNFIT[model_type]}",
            where="model.name",
            expected="an encoder such as XLM-R, BERT, ModernBERT, DeBERTa or ALBERT",
        )


def own_type(config: Any) -> str:
    """The ``model_type`` of a family, however its head pools."""
    return str(config.model_type).removesuffix(MEAN_POOLED)


def family_of(core: Any) -> Family:
    """The facts about a sequence classification model: known by its type, or found by looking."""
    model_type = own_type(core.config)
    for family in KNOWN:
        if model_type in family.model_types and not getattr(core.config, "is_decoder", False):
            return family
    return _look_into(core)


def _look_into(core: Any) -> Family:
    base = core.base_model_prefix
    stacks = _stacks(core)
    names = {id(module): path for path, module in core.named_modules()}
    word = names[id(core.get_input_embeddings())]
    outside = tuple(
        name for name, part in core.named_children() if name != base and any(True for _ in part.parameters())
    )
    pooler = (f"{base}.pooler",) if getattr(getattr(core, base), "pooler", None) is not None else ()
    positions = getattr(core.get_submodule(word.rpartition(".")[0]), "position_embeddings", None)
    return Family(
        name=core.config.model_type,
        model_types=(core.config.model_type,),
        embeddings=_embeddings(core, word, stacks),
        word_embeddings=word,
        stacks=stacks,
        head=(*pooler, *outside),
        lora_targets=_targets([core.get_submodule(stack)[0] for stack in stacks]),
        body="opaque",
        positions_after_padding=getattr(positions, "padding_idx", None) is not None,
        mixes_padding=core.config.model_type in MIXES_PADDING,
    )


def _stacks(core: Any) -> tuple[str, ...]:
    """The lists of layers: an encoder-decoder's two, Funnel's blocks, any other model's one.

    Raises:
        UserError: not found.
    """
    config, lists = core.config, _outermost_lists(core)
    if config.is_encoder_decoder:
        sides = [path for path in lists if _parent(path).rpartition(".")[2] in ("encoder", "decoder")]
        found = sides if len(sides) == 2 else []
    else:
        depths = getattr(config, "num_hidden_layers", None), getattr(config, "num_hidden_groups", None)
        whole = [path for path, parts in lists.items() if sum(map(_depth, parts)) in depths]
        # Lists side by side hold the parts of the layers, not the layers.
        is_plain = len({_parent(path) for path in whole}) == len(whole) > 0
        found = [max(whole, key=lambda path: _size(lists[path]))] if is_plain else []
    if not found:
        raise UserError(
            f"encoders of the kind '{config.model_type}' can't be fine-tuned here: their layers were not found",
            where="model.name",
            expected="an encoder that keeps its layers in one list, such as XLM-R, BERT, ModernBERT, DeBERTa or ALBERT",
        )
    blocks = [path for path in found if all(isinstance(part, nn.ModuleList) for part in lists[path])]
    return tuple(f"{path}.{index}" for path in blocks for index in range(len(lists[path]))) or tuple(found)


def _outermost_lists(core: nn.Module) -> dict[str, nn.ModuleList]:
    found: dict[str, nn.ModuleList] = {}
    for path, module in core.named_modules():  # outer before inner
        if isinstance(module, nn.ModuleList) and not path.startswith(tuple(f"{outer}." for outer in found)):
            found[path] = module
    return found


def _depth(part: nn.Module) -> int:
    return len(part) if isinstance(part, nn.ModuleList) else 1


def _parent(path: str) -> str:
    return path.rpartition(".")[0]


def _size(module: nn.Module) -> int:
    return sum(value.numel() for value in module.parameters())


def _embeddings(core: Any, word: str, stacks: tuple[str, ...]) -> tuple[str, ...]:
    """The outermost modules outside the layers whose names say so; relative positions belong to the layers."""
    found: list[str] = []
    for path, module in core.named_modules():
        last = path.rpartition(".")[2]
        is_named = path == word or "emb" in last or last in ("wte", "wpe")
        holds_layers = any(stack.startswith(f"{path}.") for stack in stacks)
        is_inside = path.startswith(tuple(f"{outer}." for outer in (*found, *stacks)))
        if is_named and "rel" not in last and not holds_layers and not is_inside and _size(module):
            found.append(path)
    return tuple(found)


def _targets(layers: list[nn.Module]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {"query": [], "key": [], "value": [], "dense": []}
    for path, module in (pair for layer in layers for pair in layer.named_modules()):
        last = path.rpartition(".")[2]
        if isinstance(module, nn.Linear) and not last.startswith("pos_"):
            role = next((role for role, names in _PROJECTIONS.items() if last in names), "dense")
            found[role].append(path)
    return {role: tuple(dict.fromkeys(paths)) for role, paths in found.items()}
