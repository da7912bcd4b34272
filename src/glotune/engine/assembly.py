"""From recipe, texts and source weights to the parts of a run: loading, then surgery in its fixed order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from glotune.data.batches import IdMap
from glotune.data.texts import TextData
from glotune.data.tokenization import TokenStore
from glotune.engine.accelerator import settle
from glotune.engine.fast_paths import with_fast_paths
from glotune.engine.optimizer import NamedParameter, RowDecay, build_optimizer, parameter_groups
from glotune.engine.parts import Parts
from glotune.engine.plan import choose_budget, choose_precision, has_precision, keep_threads, make_plan
from glotune.engine.processes import Processes
from glotune.engine.recorder import Recorder
from glotune.engine.step import seed_initialisation
from glotune.errors import UserError
from glotune.model.card import Card, why_no_cuda
from glotune.model.cpu.tune import tune
from glotune.model.loading import check_fit, load_encoder
from glotune.model.network import Network, choose_attention
from glotune.model.pretraining import MaskedLanguageModel, build_encoder
from glotune.model.sources import stand_in
from glotune.model.surgery.operate import operate
from glotune.model.surgery.vocabulary import VocabularyMap
from glotune.recipe import Recipe
from glotune.recipe.kinds import KINDS
from glotune.recipe.pretrain import PretrainRecipe
from glotune.recipe.settings import TrainingSettings
from glotune.run.records import Change, Plan
from glotune.tasks.corpus import Corpus
from glotune.tasks.of_recipe import task_of
from glotune.tasks.pretraining import Pretraining
from glotune.tasks.sentence_targets import Taught
from glotune.tasks.task import Task


@dataclass(frozen=True)
class Assembled:
    """The parts, and what is needed to take them apart again when the model is saved."""

    parts: Parts
    vocabulary: VocabularyMap | None
    changes: list[Change]


def assemble(
    recipe: Recipe,
    texts: TextData,
    stores: Mapping[str, TokenStore],
    tokenizer: Any,
    processes: Processes,
    recorder: Recorder,
    stored_plan: Plan | None,
    task: Task | None = None,
) -> Assembled:
    """Loads the encoder, operates on it and plans how it will run here.

    Args:
        task: what is learned; None: what the recipe names.
        stored_plan: the plan of an earlier attempt, followed again; None for a fresh run.
    """
    seed_initialisation(recipe.seed)
    kind = KINDS[recipe.task].problem_type
    hf = load_encoder(recipe.model, texts.labels, seed=recipe.seed, log=recorder.log, problem_type=kind)
    recorder.note(stand_in(recipe.model))
    check_fit(hf, tokenizer, recipe.data.max_length)
    operated = operate(
        hf,
        recipe.model,
        recipe.speed,
        used_ids=used_ids(stores),
        special_ids=tokenizer.all_special_ids,
        packed=recipe.train.batching == "packed",
    )
    network, vocabulary = operated.network, operated.vocabulary
    parts = lay_out(
        recipe.settings,
        network,
        task_of(recipe, texts, stores) if task is None else task,
        stores,
        processes,
        stored_plan,
        recorder,
        id_map=None if vocabulary is None else vocabulary.to_trimmed,
    )
    return Assembled(parts, vocabulary, operated.changes)


def assemble_pretraining(
    recipe: PretrainRecipe,
    corpus: Corpus,
    tokenizer: Any,
    processes: Processes,
    recorder: Recorder,
    stored_plan: Plan | None,
    taught: Taught | None = None,
) -> Assembled:
    """As `assemble`, for a masked language model; `taught` by a teacher, where the recipe names one."""
    seed_initialisation(recipe.seed)
    hf, changes = build_encoder(recipe, tokenizer, recorder.log)
    if recipe.model.name is not None:
        recorder.note(stand_in(recipe.model.source))
    network = MaskedLanguageModel(hf)
    stores = {"train": corpus.texts, "validation": corpus.held_out}
    parts = lay_out(
        recipe.settings,
        network,
        Pretraining.of(recipe, corpus, tokenizer, network.hidden_size, taught),
        stores,
        processes,
        stored_plan,
        recorder,
    )
    return Assembled(parts, None, [*changes, *network.changes()])


def lay_out(
    settings: TrainingSettings,
    network: Network,
    task: Task,
    stores: Mapping[str, TokenStore],
    processes: Processes,
    stored_plan: Plan | None,
    recorder: Recorder,
    id_map: IdMap | None = None,
) -> Parts:
    """Plans how a network will run here, puts it on its device and gives it its kernels.

    Raises:
        UserError: the device takes batches of fixed shapes alone, and the task knows no text that counts for nothing.
    """
    card = Card.of(processes.device)
    if stored_plan is None:
        plan = plan_for(settings, network, processes, card)
        if card.kind != "cuda" and settings.train.device == "auto" and (why := why_no_cuda()):
            recorder.warn(f"{why}. This run computes on {card.kind}")
    else:
        plan, departures = as_far_as_here(stored_plan, network, card)
        for line in departures:
            recorder.deviation(line)
    if plan.attention == "blocks" and not task.may_be_filled:
        raise UserError(
            f"{type(task).__name__} does not run on a {card.kind}: its batches can't be filled up to fixed shapes",
            where="train.device",
            expected="cuda, mps or cpu",
        )
    if settings.adversarial is not None and network.anatomy.config.is_encoder_decoder:
        raise UserError(
            f"{network.anatomy.family.name} looks its word embeddings up twice, in encoder and decoder",
            where="adversarial",
            expected="an encoder alone, such as XLM-R, BERT, ModernBERT or DeBERTa",
        )
    keep_threads(plan, recorder.log)
    settle(processes.device, deterministic=settings.train.deterministic)
    network.to(processes.device)
    tune(network, processes.device.type, plan.precision, training=True)
    if settings.train.checkpoint_activations:
        network.checkpoint_activations()
    return with_fast_paths(Parts(settings, plan, processes, task, network, stores, id_map), card, recorder)


def plan_for(settings: TrainingSettings, network: Network, processes: Processes, card: Card) -> Plan:
    """The plan of a fresh run on this machine."""
    precision, why = choose_precision(settings.train.precision, card, network.hidden_size)
    attention = choose_attention(network, card, precision)
    return make_plan(card, (precision, why), attention, network.hidden_size, network.num_layers, processes.ranks)


def as_far_as_here(plan: Plan, network: Network, card: Card) -> tuple[Plan, list[str]]:
    """A stored plan as far as this machine can follow it, and in words where it can't: another device, a GPU without
    bf16, a torch without the kernel."""
    changes: dict[str, Any] = {}
    if plan.device != card.kind:
        budget, _ = choose_budget(card, network.hidden_size, network.num_layers, plan.precision)
        changes |= {"device": card.kind, "token_budget": min(plan.token_budget, budget)}
    # A CPU computes in bf16 without instructions for it, more slowly; a GPU without them fails.
    if card.kind != "cpu" and not has_precision(plan.precision, card):
        changes["precision"] = choose_precision("auto", card, network.hidden_size)[0]
    if plan.attention in ("varlen", "efficient", "blocks"):
        changes["attention"] = choose_attention(network, card, changes.get("precision", plan.precision))[0]
    departures = [
        f"{name} {value} instead of the plan's {getattr(plan, name)}: this machine is another than the one it began on"
        for name, value in changes.items()
        if value != getattr(plan, name)
    ]
    return plan.model_copy(update=changes), departures


def used_ids(stores: Mapping[str, TokenStore]) -> NDArray[np.int64]:
    """Sorted ids that any split holds."""
    return np.unique(np.concatenate([store.distinct_tokens() for store in stores.values()])).astype(np.int64)


def optimizer_of(parts: Parts) -> tuple[torch.optim.AdamW, RowDecay | None]:
    """AdamW over the trainable parameters, and the decay of the embedding rows that training sees."""
    spec, anatomy = parts.settings.optimizer, parts.network.anatomy
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
    ids = parts.stores["train"].distinct_tokens()
    rows = ids if parts.id_map is None else parts.id_map(ids)
    seen = torch.zeros(weight.shape[0], dtype=torch.bool, device=weight.device)
    seen[torch.from_numpy(rows.astype(np.int64)).to(weight.device)] = True
    return seen
