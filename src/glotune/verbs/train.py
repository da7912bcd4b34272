"""The spine: one recipe in, one trusted run out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glotune.data.augmentation import with_augmented
from glotune.data.cache import cache_folder
from glotune.data.given_rows import given_rows
from glotune.data.profile import profile
from glotune.data.texts import TextData
from glotune.data.tokenization import TokenStore, tokenize, with_other_training_texts
from glotune.engine.accelerator import give_back
from glotune.engine.assembly import assemble
from glotune.engine.finish import judge_and_save, record_best
from glotune.engine.fit import few_steps, fit_to_machine, token_costs, with_cached_prefix
from glotune.engine.loop import DivergedTraining, train_to_the_end
from glotune.engine.observer import Observer, Pruner, watching
from glotune.engine.plan import choose_device
from glotune.engine.processes import Processes, stopped_by_signals
from glotune.engine.recorder import Recorder
from glotune.engine.retry import restart_gentler
from glotune.engine.step import own_randomness
from glotune.engine.watch import CollapsedTraining
from glotune.evidence.judgement import judge_diverged
from glotune.model.loading import load_config, load_tokenizer
from glotune.recipe import Recipe, load_recipe
from glotune.recipe.auto import AUTO
from glotune.recipe.loading import Overrides
from glotune.run.directory import RunDirectory
from glotune.tasks.baselines import record_baselines
from glotune.tasks.monitoring import about_undecided, refuse_unused_validation
from glotune.tasks.task import Task
from glotune.verbs.auto import choice_lines, choose_recipe
from glotune.verbs.average import end_with_soup, open_members
from glotune.verbs.distill import Lesson, open_lesson
from glotune.verbs.lifecycle import Run, draw_report, open_attempt, open_run, status_kept
from glotune.verbs.self_training import Rounds, open_rounds
from glotune.verbs.trackers import check_trackers, start_trackers


@stopped_by_signals()
def train(
    recipe: str | Path | Recipe,
    *overrides: Overrides,
    data: Any = None,
    out: str | Path | None = None,
    observer: Observer | None = None,
    command: list[str] | None = None,
    report: bool = True,
    pruner: Pruner | None = None,
    **keywords: Any,
) -> Run:
    """Trains one recipe, from labelled texts to a judged run with a saved model.

    Args:
        recipe: a built-in name, a YAML file, a `Recipe`, or ``auto``: chosen by the texts and the machine.
        overrides: lists of ``key.path=value``, or {"key.path": value}.
        data: the texts themselves, in place of all that the recipe names: a DataFrame (pandas, polars), a
            `datasets.Dataset`, a `pyarrow.Table` or ``(texts, labels)``; or {split: any of these} or
            {split: {language: any of these}}, as a `datasets.DatasetDict` is; beside the splits, under
            ``unlabelled``, {language: texts} for ``self_training``. The run keeps the columns that it
            reads in its folder ``data``, so that it can be resumed and reproduced.
        out: the run directory; ``runs/NAME-TIME`` otherwise.
        observer: watches; see `glotune.engine.observer`. None: bars in a notebook, nothing elsewhere.
        command: what the manifest says started the run; the process's own command line otherwise.
        report: draw ``report/`` at the end; ``glotune report RUN`` draws it later.
        pruner: asked at the end of each epoch whether the run is worth going on with; None: it always is.
        keywords: further overrides with ``__`` for the dots: ``train__epochs=3``.

    Raises:
        UserError: the recipe, the data or the model is wrong; nothing is left behind.
        RunError: the run failed; its manifest says why.
        InterruptedRun: it was asked to stop, and can be resumed.
        PrunedTraining: its pruner left it.
    """
    with given_rows(data) as given:
        auto = choose_recipe(given, *overrides, keywords) if recipe == AUTO else None
        resolved = load_recipe(recipe, given.keys, *overrides, keywords) if auto is None else auto.recipe
        check_trackers(resolved.track)
        texts = given.read(resolved) if auto is None else auto.texts
        refuse_unused_validation(resolved.evaluate, texts)
        lesson = open_lesson(resolved, texts, None if out is None else Path(out))
        with given.located(resolved) as located:
            rounds = open_rounds(located, texts, as_named=given.as_named)
        if resolved.is_soup:
            open_members(resolved, texts)
        load_config(resolved.model)  # refuses an encoder that can't be fine-tuned while there is no directory yet
        processes = Processes.start(choose_device(resolved.train.device), deterministic=resolved.train.deterministic)
        directory = open_run(out, resolved, texts, processes, command, given.files)
        if auto is not None and processes.is_main:
            directory.update_manifest(choices=auto.choices)
    with status_kept(directory, processes, fresh=True):
        carry_out(directory, resolved, texts, lesson, rounds, processes, watching(observer), pruner)
    if report:
        draw_report(directory, processes, watching(observer))
    return Run(directory)


def carry_out(
    directory: RunDirectory,
    recipe: Recipe,
    texts: TextData,
    lesson: Lesson | None,
    rounds: Rounds | None,
    processes: Processes,
    observer: Observer,
    pruner: Pruner | None = None,
) -> None:
    """The run itself, in a directory that is open: from texts to the judged model; also goes on where it stopped."""

    @own_randomness()
    def train_once(recipe: Recipe, learned: TextData | None) -> Recipe:
        """From the encoder to the judged model: all of a run, or one of its rounds. The recipe that it ended with."""
        rated = pruner if learned is None else None  # a search rates trials by the run that all of them begin with
        while True:
            gentler = one_training(directory, recipe, texts, lesson, learned, processes, observer, rated)
            if gentler is None:
                return recipe
            recipe = gentler
            give_back(processes.device)

    if rounds is None:
        train_once(recipe, None)
    else:
        rounds.carry_out(directory, recipe, texts, processes, observer, train_once)


def one_training(
    directory: RunDirectory,
    recipe: Recipe,
    texts: TextData,
    lesson: Lesson | None,
    learned: TextData | None,
    processes: Processes,
    observer: Observer,
    pruner: Pruner | None,
) -> Recipe | None:
    """One training; the gentler recipe of a second one where it collapsed, None where it is done.

    A function of its own, so that the traceback of the collapse and all that was loaded (weights, moments, gradients)
    are gone when a second one begins.

    Args:
        learned: the same texts with pseudo-labelled ones among those that are trained on; None: these alone.
    """
    manifest = directory.read_manifest()
    recorder = Recorder(directory, observer, manifest.attempt, processes.is_main)
    resumption = open_attempt(directory, recorder, texts)
    for line in choice_lines(manifest.choices) if resumption is None and learned is None else ():
        recorder.log(line)
    tokenizer = load_tokenizer(recipe.model)
    cache = cache_folder(recorder.log)
    stores: Mapping[str, TokenStore] = tokenize(
        texts,
        tokenizer,
        recipe.data,
        cache,
        on_warning=recorder.warn,
        progress=recorder.progress("tokenize"),
    )
    recorder.write_json(directory.data_profile, profile(texts, stores, tokenizer, recipe.data))
    if learned is not None:
        stores = with_other_training_texts(
            stores,
            learned,
            tokenizer,
            recipe.data,
            cache,
            on_warning=recorder.warn,
            progress=recorder.progress("tokenize"),
        )
    trained = texts if learned is None else learned
    progress = recorder.progress("augment")
    stores = with_augmented(stores, trained, tokenizer, recipe, cache, on_warning=recorder.warn, progress=progress)
    task: Task | None = None
    if lesson is not None:
        if processes.is_main:
            directory.update_manifest(distillation=lesson.record)
        for message in lesson.warnings if resumption is None else []:
            recorder.warn(message)
        task, stores = lesson.task(recipe, texts, stores, tokenizer, cache, processes, recorder)
    few = few_steps(len(stores["train"].labels), recipe.train.batch_size, recipe.train.epochs)
    # Said once: a resumed run's events are those of one that never stopped.
    for warning in (None if recipe.is_soup else few, about_undecided(recipe.evaluate, texts)):
        if warning and resumption is None:
            recorder.warn(warning)
    assembled = assemble(recipe, trained, stores, tokenizer, processes, recorder, manifest.plan, task)
    if manifest.plan is None:
        assembled = fit_to_machine(assembled, cache, recorder)
    recorder.say_plan(assembled.parts.plan, goes_on=resumption is not None or learned is not None)
    assembled = with_cached_prefix(assembled, cache, recorder, manifest.changes)
    if resumption is None:
        recorder.planned(assembled.parts.plan, assembled.changes)
    if processes.is_main and not recipe.trains_in_rounds:  # rounds are sent once the best is known
        start_trackers(directory, recipe.track)
    try:
        if recipe.is_soup:
            state = end_with_soup(assembled.parts, recipe, open_members(recipe, texts), recorder)
        else:
            state = train_to_the_end(assembled.parts, resumption, recorder, pruner=pruner)
    except CollapsedTraining as collapse:
        gentler = restart_gentler(directory, recipe, collapse, recorder)
        processes.barrier()
        return gentler
    except DivergedTraining:
        if processes.is_main:
            judge_diverged(directory)
        raise
    if state.step:
        recorder.event("cost", token_costs(assembled.parts, state.step, directory))
    record_best(assembled.parts, recorder)
    if processes.is_main and learned is None:
        record_baselines(directory, recipe, texts, recorder.log)
    judge_and_save(assembled, recipe, state, tokenizer, recorder)
    if lesson is not None:
        lesson.compare(directory, texts, processes, recorder)
    return None
