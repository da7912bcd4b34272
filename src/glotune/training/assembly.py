"""From recipe, texts and source weights to the parts of a run: loading, then surgery in its fixed order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from glotune.data.texts import TextData
from glotune.data.tokenization import TokenStore
from glotune.model.families import Anatomy
from glotune.model.freezing import freeze
from glotune.model.loading import load_encoder
from glotune.model.lora import add_lora
from glotune.model.network import Network
from glotune.model.truncation import truncate
from glotune.model.vocabulary import VocabularyMap, trim_vocabulary
from glotune.recipe import Recipe
from glotune.records import Change, Plan
from glotune.training.losses import class_weights
from glotune.training.optimizer import NamedParameter, RowDecay, build_optimizer, parameter_groups
from glotune.training.parts import Parts
from glotune.training.plan import make_plan
from glotune.training.processes import Processes
from glotune.training.randomness import seed_initialisation
from glotune.training.recorder import Recorder


@dataclass(frozen=True)
class Assembled:
    """The parts, and what is needed to take them apart again when the model is saved."""

    parts: Parts
    vocabulary: VocabularyMap | None
    changes: list[Change]


def assemble(
    recipe: Recipe,
    texts: TextData,
    stores: dict[str, TokenStore],
    tokenizer: Any,
    processes: Processes,
    recorder: Recorder,
    stored_plan: Plan | None,
) -> Assembled:
    """Loads the encoder and applies the surgery in order: truncate, trim vocabulary, freeze, LoRA, pack.

    Args:
        stored_plan: the plan of an earlier attempt, followed again; None for a fresh run.
    """
    seed_initialisation(recipe.seed)
    hf = load_encoder(recipe.model, texts.labels, log=recorder.log)
    changes: list[Change | None] = [truncate(hf, recipe.model.layers)]
    vocabulary = None
    if recipe.speed.trim_vocabulary:
        vocabulary, change = trim_vocabulary(hf, used_ids(stores), tokenizer)
        changes.append(change)
    changes.append(freeze(hf, recipe.model.freeze))
    if recipe.model.lora is not None:
        hf, change = add_lora(hf, recipe.model.lora)
        changes.append(change)
    packed = recipe.train.batching == "packed"
    network = Network(hf, packed=packed, pooled_last_layer=recipe.speed.pooled_last_layer)
    changes += network.changes
    plan = stored_plan or plan_for(recipe, network, processes)
    torch.set_num_threads(plan.threads)
    network.use_attention(plan.attention)
    network.to(processes.device)
    parts = Parts(
        recipe=recipe,
        plan=plan,
        processes=processes,
        labels=texts.labels,
        source_languages=texts.source_languages,
        network=network,
        stores=stores,
        class_weights=class_weights(recipe.loss.class_weights, stores["train"].labels, texts.labels),
        id_map=None if vocabulary is None else vocabulary.to_trimmed,
    )
    return Assembled(parts, vocabulary, [change for change in changes if change is not None])


def plan_for(recipe: Recipe, network: Network, processes: Processes) -> Plan:
    """The plan of a fresh run on this machine."""
    config = network.anatomy.config
    return make_plan(
        device=processes.device.type,
        precision=recipe.train.precision,
        packed=network.packed,
        attention_dropout=network.attention_dropout,
        hidden=config.hidden_size,
        layers=config.num_hidden_layers,
        ranks=processes.ranks,
    )


def used_ids(stores: dict[str, TokenStore]) -> NDArray[np.int64]:
    """Sorted ids that any split holds."""
    return np.unique(np.concatenate([np.unique(store.tokens) for store in stores.values()])).astype(np.int64)


def optimizer_of(parts: Parts) -> tuple[torch.optim.AdamW, RowDecay | None]:
    """AdamW over the trainable parameters, and the decay of the embedding rows that training sees."""
    spec, anatomy = parts.recipe.optimizer, Anatomy(parts.network.hf)
    named = [NamedParameter(name, value, anatomy.depth_of(name)) for name, value in parts.trainable.items()]
    embedding = anatomy.word_embedding_name if anatomy.word_embedding_name in parts.trainable else None
    groups = parameter_groups(named, spec, len(anatomy.layers), embedding)
    optimizer = build_optimizer(groups, spec)
    if embedding is None:
        return optimizer, None
    weight = parts.trainable[embedding]
    rate = next(group["base_learning_rate"] for group in groups if embedding in group["names"])
    return optimizer, RowDecay(weight, _seen_rows(parts, weight), spec.weight_decay, rate)


def _seen_rows(parts: Parts, weight: torch.nn.Parameter) -> torch.Tensor:
    ids = np.unique(parts.stores["train"].tokens).astype(np.int32)
    rows = ids if parts.id_map is None else parts.id_map(ids)
    seen = torch.zeros(weight.shape[0], dtype=torch.bool, device=weight.device)
    seen[torch.from_numpy(rows.astype(np.int64)).to(weight.device)] = True
    return seen
