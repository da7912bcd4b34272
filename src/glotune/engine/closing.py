"""The end of a run: every prediction recorded, the verdict, the saved model, the report."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from glotune.data.texts import TextData
from glotune.engine.assembly import Assembled
from glotune.engine.evaluate import by_language, evaluate_split
from glotune.engine.finish import read_outcomes, record_split
from glotune.engine.loop import evaluation_figures
from glotune.engine.parts import Parts
from glotune.engine.recorder import Recorder
from glotune.engine.scoring import language_scores
from glotune.engine.state import TrainingState
from glotune.evidence.trend import EpochPoint, TrainingHistory
from glotune.evidence.verdicts import judge
from glotune.model.saving import save_adapter, save_model
from glotune.run.directory import RunDirectory
from glotune.run.records import Evaluation, Event, Verdict
from glotune.stats.arrays import Outcomes


def record_best(parts: Parts, texts: TextData, recorder: Recorder) -> list[Evaluation]:
    """Evaluates the best weights on every held-out split and language; one record per prediction."""
    evaluations: list[Evaluation] = []
    for split in ("validation", "test"):
        if split not in parts.stores:
            continue
        outputs = evaluate_split(parts, split, recorder.observer)
        for language, scores in language_scores(parts, split, outputs).items():
            recorder.event("evaluation", evaluation_figures(scores), key=f"best/{split}/{language}")
        if recorder.is_main:
            folder, with_text = recorder.directory.predictions, parts.recipe.records.text
            evaluations += record_split(folder, texts, split, by_language(parts, split), outputs, with_text)
    if recorder.is_main:
        recorder.directory.write_metrics(evaluations)
    return evaluations


def judge_run(directory: RunDirectory) -> Verdict:
    """The verdict on a run, from its files alone: its events and its predictions on the test split."""
    manifest = directory.read_manifest()
    return judge(
        history_of(directory.events(), manifest.source_languages),
        recorded_outcomes(directory),
        manifest.labels,
        source_languages=manifest.source_languages,
    )


def judge_diverged(directory: RunDirectory) -> None:
    """Writes the verdict of a run that stopped at a number that is not finite."""
    manifest = directory.read_manifest()
    history = replace(history_of(directory.events(), manifest.source_languages), was_stopped=True)
    directory.update_manifest(verdict=judge(history, {}, manifest.labels))


def recorded_outcomes(directory: RunDirectory) -> Mapping[str, Outcomes]:
    """Language -> recorded predictions, of the test split and, where a language has none there, of validation."""
    found: dict[str, Outcomes] = {}
    for path in directory.prediction_files():  # sorted: test before validation
        language = path.stem.partition(".")[2]
        if language not in found:
            found[language] = read_outcomes(path)
    return found


def history_of(events: list[Event], source_languages: Collection[str]) -> TrainingHistory:
    """The course of training, from a run's events: on the validation languages that choose the checkpoint."""
    train_losses = {event.step: event.data["loss"] for event in events if event.kind == "epoch"}
    best = [event for event in events if event.kind == "best"]
    metric = best[-1].data["metric"] if best else "macro_f1"
    by_source = best[-1].data["on"] == "source" if best else None
    evaluations: dict[int, list[Event]] = {}
    for event in events:
        split, _, language = event.key.partition("/")
        chooses = by_source is None or (language in source_languages) == by_source
        if event.kind == "evaluation" and split == "validation" and chooses:
            evaluations.setdefault(event.step, []).append(event)
    points = [
        EpochPoint(
            epoch=found[0].epoch,
            train_loss=train_losses.get(step),
            validation_loss=_mean(found, "loss"),
            metric=None if metric == "loss" else _mean(found, metric),
        )
        for step, found in sorted(evaluations.items())
    ]
    return TrainingHistory(
        step_losses=[event.data["loss"] for event in events if event.kind == "step"],
        epochs=points,
        metric=metric,
        validation_texts=sum(event.data["n"] for event in found) if (found := _last(evaluations)) else None,
        refused_steps=sum(event.kind == "alert" and event.data["what"] == "nonfinite" for event in events),
    )


def _last(evaluations: Mapping[int, list[Event]]) -> list[Event]:
    return evaluations[max(evaluations)] if evaluations else []


def _mean(events: list[Event], name: str) -> float | None:
    values = [event.data[name] for event in events if event.data[name] is not None]
    return sum(values) / len(values) if values else None


def judge_and_save(assembled: Assembled, state: TrainingState, tokenizer: Any, recorder: Recorder) -> None:
    """The verdict into the manifest; the model with its full vocabulary, and the adapter of a LoRA run, to disk."""
    if not recorder.is_main:
        return
    parts, directory = assembled.parts, recorder.directory
    verdict = judge_run(directory)
    directory.update_manifest(verdict=verdict, best_step=state.best_step)
    recorder.write_log(f"verdict: {verdict.status}. {' '.join(verdict.evidence[:1])}")
    data = parts.recipe.data
    if parts.recipe.model.lora is not None:
        save_adapter(parts.network, directory.adapter)
    saved = save_model(
        parts.network,
        tokenizer,
        assembled.vocabulary,
        directory.model,
        max_length=data.max_length,
        normalization=data.normalization,
        truncation=data.truncation,
    )
    directory.update_manifest(notes=saved.notes)
    recorder.log(f"saved the model to {directory.model} ({saved.size / 1e6:.0f} MB)")
