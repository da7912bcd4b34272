"""From recipe and texts to the parts of a pretraining run: tokenizer first, then the encoder that fits it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from glotune.data.plain_text import PlainTexts
from glotune.data.texts import TextData
from glotune.engine.assembly import plan_for
from glotune.engine.pretraining.corpus import Corpus
from glotune.engine.pretraining.parts import PretrainParts
from glotune.engine.processes import Processes
from glotune.engine.randomness import seed_initialisation
from glotune.engine.recorder import Recorder
from glotune.errors import UserError
from glotune.model.cpu.tune import tune
from glotune.model.loading import check_fit, load_tokenizer, quiet
from glotune.model.pretraining import MaskedLanguageModel, load_masked_lm, set_dropout
from glotune.model.scratch import new_encoder, train_tokenizer
from glotune.model.sources import stand_in
from glotune.model.surgery.new_pieces import extend_tokenizer, grow
from glotune.recipe import schema
from glotune.recipe.pretrain import PretrainRecipe
from glotune.run.records import Change, Plan
from glotune.tasks.masked_lm import Vocabulary

TOKENIZER = "tokenizer"
"""The folder of a run that keeps its tokenizer, so that a resumed run has the very same."""


def prepare_tokenizer(recipe: PretrainRecipe, texts: PlainTexts, run: Path) -> Any:
    """The run's tokenizer: kept from an earlier attempt, learned from the texts, extended, or the encoder's own.

    Raises:
        UserError: the texts don't support the wanted pieces, or the encoder's tokenizer can't hide tokens.
    """
    from transformers import AutoTokenizer

    kept = run / TOKENIZER
    if (kept / "tokenizer.json").is_file():
        return AutoTokenizer.from_pretrained(kept)
    if recipe.model.scratch is not None:
        tokenizer = train_tokenizer(texts.by_language(), recipe.model.scratch, recipe.seed)
    else:
        tokenizer = load_tokenizer(recipe.engine_recipe().model)
        if recipe.model.new_pieces:
            lines = [line for own in texts.by_language().values() for line in own]
            tokenizer = extend_tokenizer(tokenizer, lines, recipe.model.new_pieces)
    if tokenizer.mask_token_id is None:
        raise UserError(
            f"the tokenizer of '{recipe.model.name}' has no mask token",
            where="model.name",
            expected="an encoder made by masked language modelling",
        )
    with quiet():
        tokenizer.save_pretrained(kept)
    return tokenizer


def build_encoder(recipe: PretrainRecipe, tokenizer: Any, recorder: Recorder) -> tuple[Any, list[Change]]:
    """The masked language model for this tokenizer, and what was done to it."""
    seed_initialisation(recipe.seed)
    changes: list[Change] = []
    if recipe.model.scratch is not None:
        hf = new_encoder(recipe.model.scratch, len(tokenizer))
        count = sum(value.numel() for value in hf.parameters())
        changes.append(
            Change(
                kind="new_encoder",
                description=f"a new encoder of {count / 1e6:.1f} M parameters, {len(tokenizer)} pieces",
                parameters_before=0,
                parameters_after=count,
                trainable_before=0,
                trainable_after=count,
            )
        )
    else:
        source: schema.Model = recipe.engine_recipe().model
        hf = load_masked_lm(source, recorder.log)
        recorder.note(stand_in(source))
        if recipe.model.new_pieces:
            changes.append(grow(hf, load_tokenizer(source), tokenizer))
    check_fit(hf, tokenizer, recipe.data.max_length)
    if recipe.model.dropout is not None:
        set_dropout(hf, recipe.model.dropout)
    return hf, changes


def assemble(
    recipe: PretrainRecipe,
    content: TextData,
    corpus: Corpus,
    tokenizer: Any,
    processes: Processes,
    recorder: Recorder,
    stored_plan: Plan | None,
) -> tuple[PretrainParts, list[Change]]:
    """Builds or loads the encoder, and lays everything out for the loop.

    Args:
        stored_plan: the plan of an earlier attempt, followed again; None for a fresh run.
    """
    engine = recipe.engine_recipe()
    hf, changes = build_encoder(recipe, tokenizer, recorder)
    network = MaskedLanguageModel(hf)
    plan = stored_plan or plan_for(engine, network, processes)
    torch.set_num_threads(plan.threads)
    network.to(processes.device)
    tune(network, processes.device.type, plan.precision, training=True)
    parts = PretrainParts(
        recipe=engine,
        plan=plan,
        processes=processes,
        labels=content.labels,
        source_languages=content.source_languages,
        network=network,
        stores={"train": corpus.items, "validation": corpus.held_out},
        class_weights=None,
        pretrain=recipe,
        corpus=corpus,
        vocabulary=Vocabulary.of(tokenizer),
    )
    return parts, [*changes, *network.changes()]
