"""The verdict on a run, from its files alone."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from glotune.evidence.trend import EpochPoint, TrainingHistory
from glotune.evidence.verdicts import judge
from glotune.recipe import load_recipe
from glotune.report.baselines import not_shown_better
from glotune.run.baselines import read_baselines
from glotune.run.directory import RunDirectory
from glotune.run.history import History, ScorePoint, read_history
from glotune.run.predictions import Predictions, numbered_alike, read_predictions, split_and_language
from glotune.run.records import Verdict
from glotune.stats.arrays import Answered
from glotune.stats.traits import trait


def judge_run(directory: RunDirectory) -> Verdict:
    """The verdict on a run that has ended: by its events and its recorded predictions."""
    manifest = directory.read_manifest()
    verdict = judge(
        training_history(read_history(directory.events()), manifest.source_languages),
        recorded_outcomes(directory),
        manifest.labels,
        source_languages=manifest.source_languages,
        chosen_on=[name for name, path in _main_predictions(directory).items() if path.stem.startswith("validation.")],
        recipe=load_recipe(directory.recipe),
    )
    asides = beside_baselines(directory, manifest.source_languages) if verdict.is_sound else []
    return verdict.model_copy(update={"evidence": [*verdict.evidence, *asides]})


def beside_baselines(directory: RunDirectory, source_languages: Sequence[str]) -> list[str]:
    """Where a run is not shown to be better than TF-IDF: on its source languages, and on its target languages."""
    found = read_baselines(directory)
    if found is None:
        return []
    splits = {language: path.name.partition(".")[0] for language, path in _main_predictions(directory).items()}
    said = []
    for is_source in (True, False):
        languages = [name for name in splits if (name in source_languages) == is_source]
        for split in dict.fromkeys(splits[name] for name in languages):
            together = [name for name in languages if splits[name] == split]
            said.append(not_shown_better(found, split, together))
    return [each for each in said if each is not None]


def judge_diverged(directory: RunDirectory) -> None:
    """Writes the verdict of a run that stopped at a number that is not finite."""
    manifest = directory.read_manifest()
    history = training_history(read_history(directory.events()), manifest.source_languages)
    verdict = judge(replace(history, was_stopped=True), {}, manifest.labels, recipe=load_recipe(directory.recipe))
    directory.update_manifest(verdict=verdict)


def recorded_outcomes(directory: RunDirectory) -> Mapping[str, Answered]:
    """Language -> recorded predictions, of the test split and, where a language has none there, of validation;
    texts of a split that belong together numbered alike, those of different splits never."""
    splits: dict[str, dict[str, Predictions]] = {}
    for language, path in _main_predictions(directory).items():
        splits.setdefault(split_and_language(path)[0], {})[language] = read_predictions(path)
    found: dict[str, Answered] = {}
    used = 0
    for tables in splits.values():
        for language, each in numbered_alike(tables).items():
            found[language] = each if each.cluster_B is None else each.clustered(each.cluster_B + used)
        used += sum(map(len, tables.values()))  # a number for each text at most
    return found


def _main_predictions(directory: RunDirectory) -> Mapping[str, Path]:
    found: dict[str, Path] = {}
    for path in directory.prediction_files():  # sorted: test before validation
        found.setdefault(split_and_language(path)[1], path)
    return found


def training_history(history: History, source_languages: Collection[str]) -> TrainingHistory:
    """The course of training as verdicts read it: on the validation languages that choose the checkpoint."""
    metric = str(history.best.get("metric", "macro_f1"))
    by_source = history.best["on"] == "source" if "on" in history.best else None
    train_losses = {point.step: point.scores.get("loss") for point in history.train}
    evaluations: dict[int, list[ScorePoint]] = {}
    for (split, language), points in history.evaluations.items():
        chooses = by_source is None or (language in source_languages) == by_source
        if split == "validation" and chooses:
            for point in points:
                evaluations.setdefault(point.step, []).append(point)
    return TrainingHistory(
        step_losses=[point.loss for point in history.steps],
        epochs=[
            EpochPoint(
                epoch=found[0].epoch,
                train_loss=train_losses.get(step),
                validation_loss=_mean(found, "loss"),
                metric=_mean(found, metric) if trait(metric).higher_is_better else None,
            )
            for step, found in sorted(evaluations.items())
        ],
        metric=metric,
        validation_texts=sum(point.n for point in evaluations[max(evaluations)]) if evaluations else None,
        refused_steps=history.refused_steps,
    )


def _mean(points: Sequence[ScorePoint], name: str) -> float | None:
    values = [point.scores[name] for point in points if name in point.scores and not math.isnan(point.scores[name])]
    return sum(values) / len(values) if values else None
