"""What a run would do here, without making it: `glotune train --plan`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glotune.data.augmentation import with_augmented
from glotune.data.cache import cache_folder
from glotune.data.reading import read_texts
from glotune.data.tokenization import TokenStore, tokenize
from glotune.engine.assembly import assemble
from glotune.engine.fit import few_steps, fit_to_machine
from glotune.engine.observer import Observer, watching
from glotune.engine.plan import choose_device
from glotune.engine.processes import Processes, stopped_by_signals
from glotune.engine.recorder import Unwritten
from glotune.model.loading import load_tokenizer
from glotune.recipe import Recipe, load_recipe
from glotune.recipe.loading import Overrides
from glotune.run.directory import RunDirectory
from glotune.run.records import Change, Plan
from glotune.tasks.monitoring import about_undecided, refuse_unused_validation
from glotune.tasks.task import Task
from glotune.verbs.distill import open_lesson
from glotune.verbs.self_training import open_rounds
from glotune.verbs.trackers import check_trackers


@dataclass(frozen=True)
class Preview:
    """The texts and plan of a run that is not made, and the surgery on its encoder."""

    plan: Plan
    changes: list[Change]
    rows: dict[str, dict[str, int]]
    """Split -> language -> its texts."""


@stopped_by_signals()
def preview(
    recipe: str | Path | Recipe, *overrides: Overrides, observer: Observer | None = None, **keywords: Any
) -> Preview:
    """Does what a run does before its first step, up to the plan, and leaves no run directory.

    A teacher is asked, too: its answers stay in the cache, where the run finds them.

    The texts are read, checked and tokenized (their tokens stay in the cache), the encoder is loaded, operated on and
    probed; the frozen-prefix cache is not filled.

    Args:
        recipe, overrides, keywords: as `glotune.train`.

    Raises:
        UserError: as `glotune.train`.
    """
    resolved = load_recipe(recipe, *overrides, keywords)
    check_trackers(resolved.track)
    texts = read_texts(resolved.data, resolved.seed, resolved.task)
    refuse_unused_validation(resolved.evaluate, texts)
    lesson = open_lesson(resolved, texts, own=None)
    rounds = open_rounds(resolved, texts)
    processes = Processes.start(choose_device(resolved.train.device), deterministic=resolved.train.deterministic)
    recorder = Unwritten(RunDirectory("."), watching(observer), attempt=1, is_main=processes.is_main)
    beside = [] if rounds is None else rounds.record.warnings
    for message in [*texts.warnings, *(lesson.warnings if lesson is not None else []), *beside]:
        recorder.warn(message)
    tokenizer = load_tokenizer(resolved.model)
    cache = cache_folder(recorder.log)
    stores: Mapping[str, TokenStore] = tokenize(
        texts,
        tokenizer,
        resolved.data,
        cache,
        on_warning=recorder.warn,
        progress=recorder.progress("tokenize"),
    )
    report = recorder.progress("augment")
    stores = with_augmented(stores, texts, tokenizer, resolved, cache, on_warning=recorder.warn, progress=report)
    task: Task | None = None
    if lesson is not None:
        task, stores = lesson.task(resolved, texts, stores, tokenizer, cache, processes, recorder)
    few = few_steps(len(stores["train"].labels), resolved.train.batch_size, resolved.train.epochs)
    for warning in (few, about_undecided(resolved.evaluate, texts)):
        if warning:
            recorder.warn(warning)
    assembled = assemble(resolved, texts, stores, tokenizer, processes, recorder, None, task)
    fitted = fit_to_machine(assembled, cache, recorder)
    plan = fitted.parts.plan
    return Preview(
        plan if rounds is None else rounds.forecast(plan, resolved, len(texts.splits["train"])),
        fitted.changes,
        {split: found.rows_by_language() for split, found in texts.splits.items()},
    )
