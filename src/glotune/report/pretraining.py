"""The report of a pretraining run: its course and its held-out figures per language. Reads the run directory only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from glotune.run.directory import RunDirectory, write_atomically
from glotune.run.history import History, ScorePoint, read_history
from glotune.run.records import Manifest
from glotune.run.teaching import TeacherRecord
from glotune.words import NOTHING, count

MEANS = ("masked_loss", "recall_at_1", "teacher_cosine")
"""What is said of each evaluation; a run without pairs or a teacher lacks some (as older runs do)."""


def write_pretraining_report(directory: RunDirectory) -> str:
    """Writes ``report/report.md`` and returns it."""
    text = pretraining_report(directory.read_manifest(), read_history(directory.events()), directory.read_metrics())
    directory.report.mkdir(exist_ok=True)
    write_atomically(directory.report / "report.md", text)
    return text


def pretraining_report(manifest: Manifest, history: History, metrics: dict[str, Any]) -> str:
    """The report as Markdown."""
    figures: dict[str, dict[str, Any]] = metrics.get("validation", {})
    parts = [
        f"# Pretraining {manifest.name}",
        _facts(manifest),
        _summary(figures),
        _course(history),
        _languages(figures),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _facts(manifest: Manifest) -> str:
    lines = [
        f"- status: {manifest.status.value}",
        f"- command: `{' '.join(manifest.command)}`",
        f"- seed {manifest.seed}, recipe {manifest.recipe_hash}, data {manifest.data_hash[:16]}",
        *(f"- {source.path}: {count(source.rows)} rows" for source in manifest.data),
        *(f"- teacher: {each.name} (sha256 {each.sha256[:16]})" for each in _teachers(manifest)),
        *(f"- {change.description}" for change in manifest.changes),
        *(f"- deviation: {line}" for line in manifest.deviations),
    ]
    return "\n".join(lines)


def _teachers(manifest: Manifest) -> list[TeacherRecord]:
    return [] if manifest.distillation is None else manifest.distillation.teachers


def mean_of(figures: Mapping[str, Mapping[str, Any]], name: str) -> float | None:
    """Mean over the languages that have the figure, each counting once; None where none has."""
    values = [entry[name] for entry in figures.values() if entry.get(name) is not None and entry[name] == entry[name]]
    return sum(values) / len(values) if values else None


def _summary(figures: dict[str, dict[str, Any]]) -> str:
    loss, recall, cosine = (mean_of(figures, name) for name in ("masked_loss", "recall_at_1", "teacher_cosine"))
    sentences = []
    if loss is not None:
        sentences.append(f"On held-out texts a hidden token costs {loss:.3f} nats, mean of {len(figures)} languages.")
    if recall is not None:
        asked = [entry for entry in figures.values() if entry["recall_at_1"] is not None]
        counts = sorted({int(entry["candidates"]) for entry in asked})
        among = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        chance = sum(1 / entry["candidates"] for entry in asked) / len(asked)
        sentences.append(
            f"The right translation is the nearest of {among} in {100 * recall:.1f} % of the cases, mean of both "
            f"directions and {len(asked)} languages (chance: {100 * chance:.1f} %)."
        )
    if cosine is not None:
        sentences.append(
            f"Its vectors stand at a cosine of {cosine:.3f} with the teacher's, mean of {len(figures)} languages."
        )
    return " ".join(sentences)


def _course(history: History) -> str:
    by_step: dict[int, dict[str, ScorePoint]] = defaultdict(dict)
    for (split, language), points in history.evaluations.items():
        if split == "validation":
            for point in points:
                by_step[point.step][language] = point
    if not by_step:
        return ""
    rows = []
    for step, found in sorted(by_step.items()):
        scores = {language: point.scores for language, point in found.items()}
        epoch = next(iter(found.values())).epoch
        shown = (_shown(mean_of(scores, name)) for name in MEANS)
        rows.append(f"| {epoch:.2f} | {step} | {' | '.join(shown)} |")
    heads = ["| epoch | step | masked loss | recall at 1 | cosine with the teacher |", "| ---: " * 5 + "|"]
    return "\n".join(["## Course", "", *heads, *rows])


def _languages(figures: dict[str, dict[str, Any]]) -> str:
    rows = [
        f"| {language} | {count(entry['n'])} | {_shown(entry['masked_loss'])} | "
        f"{count(entry['candidates'] or None)} | "
        f"{_shown(entry['recall_at_1_forth'])} | {_shown(entry['recall_at_1_back'])} | "
        f"{_shown(entry.get('teacher_cosine'))} |"
        for language, entry in sorted(figures.items(), key=lambda item: (item[1]["recall_at_1"] is None, item[0]))
    ]
    head = (
        "| language | held-out texts | masked loss | candidates | text → translation | translation → text | "
        "cosine with the teacher |"
    )
    return "\n".join(["## Languages", "", head, "| --- |" + " ---: |" * 6, *rows])


def _shown(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3f}"
