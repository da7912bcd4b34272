"""The spine of pretraining: one recipe and plain texts in, one judged encoder out. Reads like `train.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from glotune.data.cache import cache_folder
from glotune.data.plain_text import PlainTexts, read_plain_texts
from glotune.data.profile import profile
from glotune.engine.assembly import assemble_pretraining
from glotune.engine.finish import record_best
from glotune.engine.loop import train_to_the_end
from glotune.engine.observer import Observer, watching
from glotune.engine.plan import choose_device, device_of
from glotune.engine.processes import Processes, stopped_by_signals
from glotune.engine.recorder import Recorder
from glotune.engine.step import own_randomness
from glotune.errors import UserError
from glotune.model.pretraining import interpolate, prepare_tokenizer, save_encoder
from glotune.recipe.loading import Overrides
from glotune.recipe.pretrain import PretrainRecipe, load_pretrain_recipe
from glotune.report.pretraining import write_pretraining_report
from glotune.run.directory import RunDirectory
from glotune.run.records import RunStatus
from glotune.tasks.corpus import as_text_data, build_corpus
from glotune.verbs.lifecycle import (
    Run,
    count_attempt,
    open_attempt,
    open_run,
    refuse_changed_data,
    status_kept,
)
from glotune.verbs.sentence_teacher import SentenceTeacher, open_sentence_teacher


@stopped_by_signals()
def pretrain(
    recipe: str | Path | PretrainRecipe,
    *overrides: Overrides,
    out: str | Path | None = None,
    observer: Observer | None = None,
    command: list[str] | None = None,
    **keywords: Any,
) -> Run:
    """Makes an encoder, or adapts one, from plain texts and translation pairs.

    Args:
        recipe: a built-in name, a YAML file or a `PretrainRecipe`.
        overrides, keywords, out, observer, command: as `glotune.train`.

    Returns:
        The run; its ``model`` folder is a valid ``model.name`` of every recipe.

    Raises:
        UserError: the recipe, the texts or the encoder is wrong; nothing is left behind.
        RunError: the run failed; its manifest says why.
        InterruptedRun: it was asked to stop, and can be resumed.
    """
    resolved = load_pretrain_recipe(recipe, *overrides, keywords)
    texts = read_plain_texts(resolved.data, from_scratch=resolved.model.scratch is not None, seed=resolved.seed)
    teacher = open_sentence_teacher(resolved)
    processes = _one_process(choose_device(resolved.train.device), resolved)
    directory = open_run(out, resolved, as_text_data(texts), processes, command)
    with status_kept(directory, processes, fresh=True):
        carry_out(directory, resolved, texts, teacher, processes, watching(observer))
    write_pretraining_report(directory)
    return Run(directory)


@own_randomness()
def carry_out(
    directory: RunDirectory,
    recipe: PretrainRecipe,
    texts: PlainTexts,
    teacher: SentenceTeacher | None,
    processes: Processes,
    observer: Observer,
) -> None:
    """The run itself, in a directory that is open: from texts to the encoder; also goes on where it stopped."""
    manifest = directory.read_manifest()
    recorder = Recorder(directory, observer, manifest.attempt, processes.is_main)
    content = as_text_data(texts)
    resumption = open_attempt(directory, recorder, content)
    tokenizer = prepare_tokenizer(recipe, texts, directory.path)
    cache = cache_folder(recorder.log)
    corpus = build_corpus(texts, content, tokenizer, recipe.data, cache, recorder.progress("tokenize"))
    stores = {"train": corpus.texts, "validation": corpus.held_out}
    recorder.write_json(directory.data_profile, profile(content, stores, tokenizer, recipe.data))
    taught = None
    if teacher is not None:
        directory.update_manifest(distillation=teacher.record)
        taught = teacher.teach(recipe, content, corpus, cache, processes, recorder)
    assembled = assemble_pretraining(recipe, corpus, tokenizer, processes, recorder, manifest.plan, taught)
    recorder.say_plan(assembled.parts.plan, goes_on=resumption is not None)
    if resumption is None:
        recorder.planned(assembled.parts.plan, assembled.changes)
    state = train_to_the_end(assembled.parts, resumption, recorder)
    if recipe.model.interpolate:
        interpolate(assembled.parts.network.hf, recipe, tokenizer)
        recorder.log(f"{recipe.model.interpolate:.0%} of the weights of before, the rest as trained")
    record_best(assembled.parts, recorder)
    dtype = torch.float16 if recipe.model.saved_as == "float16" else torch.float32
    save_encoder(assembled.parts.network.hf, tokenizer, directory.model, dtype)
    directory.update_manifest(best_step=state.best_step)
    recorder.log(f"the encoder is in {directory.model}: use it as model.name")


@stopped_by_signals()
def resume_pretraining(path: str | Path, *, observer: Observer | None = None) -> Run:
    """Continues a pretraining run from its newest whole checkpoint, under its stored plan.

    Raises:
        UserError: no run there, it is in use, or its texts changed.
    """
    directory = RunDirectory.open(path)
    manifest = directory.read_manifest()
    if manifest.status is RunStatus.COMPLETE:
        return Run(directory)
    recipe = load_pretrain_recipe(directory.recipe)
    texts = read_plain_texts(recipe.data, from_scratch=recipe.model.scratch is not None, seed=recipe.seed)
    refuse_changed_data(manifest, texts.data_hash, directory)
    teacher = open_sentence_teacher(recipe, manifest)
    processes = _one_process(device_of(manifest.plan, recipe.train.device), recipe)
    with status_kept(directory, processes, fresh=False):
        count_attempt(directory, manifest)
        carry_out(directory, recipe, texts, teacher, processes, watching(observer))
    write_pretraining_report(directory)
    return Run(directory)


def _one_process(device: str, recipe: PretrainRecipe) -> Processes:
    processes = Processes.start(device, deterministic=recipe.train.deterministic)
    if processes.ranks > 1:
        raise UserError(
            f"pretraining was launched as {processes.ranks} processes",
            expected="one: its contrastive loss looks at the whole batch",
            remedy="Start it without a launcher",
        )
    return processes
