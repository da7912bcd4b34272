"""What a tracker receives, in no tracker's own terms: made from a run directory, so the same live and years later."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from glotune.errors import GlotuneError, UserError
from glotune.run.directory import RunDirectory, write_atomically
from glotune.run.metrics import parse_metrics
from glotune.run.records import Event, Manifest

NOTICES = ("warning", "alert", "deviation")


@dataclass(frozen=True)
class About:
    """A run as a tracker introduces it."""

    id: str
    """Of the run, not of its place: a copy elsewhere continues the same tracked run."""
    name: str
    group: str
    """The recipe's name: its seeds stand together."""
    created: float
    """Seconds since 1970."""
    parameters: dict[str, Any]
    """The resolved recipe with dotted keys, and the facts of the manifest under ``run.``."""
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Point:
    """Scalars at one optimizer step; every value is finite."""

    step: int
    time: float
    values: dict[str, float]


@dataclass(frozen=True)
class Notice:
    """A line for people."""

    step: int
    time: float
    kind: str
    message: str


@dataclass(frozen=True)
class Closing:
    """What a run leaves at its end."""

    state: str
    summary: dict[str, float | str]
    """``final/test/bn/macro_f1`` and its interval's ends, the verdict."""
    pictures: list[Path]
    files: list[Path]


def about(run: RunDirectory) -> About:
    """Introduces a run; raises UserError where its manifest can't be read."""
    manifest = run.read_manifest()
    created = seconds_of(manifest.created)
    moment = datetime.fromtimestamp(created, UTC).strftime("%Y%m%d%H%M%S")
    return About(
        id=f"{manifest.recipe_hash[:12]}-{manifest.seed}-{moment}",
        name=run.path.absolute().name,
        group=manifest.name,
        created=created,
        parameters={**_recipe(run), **_facts(manifest)},
        tags={"glotune": manifest.versions.get("glotune", "unknown"), "recipe": manifest.name},
    )


def _recipe(run: RunDirectory) -> dict[str, Any]:
    from glotune.recipe import yaml
    from glotune.recipe.values import plain

    try:
        return flatten(plain(yaml.parse(run.recipe.read_text(encoding="utf-8"), "recipe.yaml")))
    except (OSError, ValueError, UserError):
        return {}


def _facts(manifest: Manifest) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "recipe_hash": manifest.recipe_hash,
        "data_hash": manifest.data_hash,
        "labels": manifest.labels,
        "source_languages": manifest.source_languages,
        "versions": manifest.versions,
        "hardware": manifest.hardware,
    }
    if manifest.plan is not None:
        facts["plan"] = manifest.plan.model_dump(exclude={"reasons", "wall"})
    if manifest.changes:
        facts["parameters"] = manifest.changes[-1].parameters_after
        facts["trainable_parameters"] = manifest.changes[-1].trainable_after
    return flatten({"run": facts})


def flatten(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys as dotted ones; lists as comma-separated text, what is unset left out."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{name}."))
        elif isinstance(value, list):
            flat[name] = ", ".join(map(str, value))
        elif value is not None:
            flat[name] = value
    return flat


def seconds_of(moment: str) -> float:
    """Seconds since 1970 of an ISO 8601 moment; 0 for what is none: times are for people, no order rests on them."""
    try:
        found = datetime.fromisoformat(moment)
    except ValueError:
        return 0.0
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def messages(events: Iterable[Event]) -> Iterator[Point | Notice]:
    """Each event as scalars or as a line; events that say nothing to a tracker give nothing."""
    for event in events:
        time = seconds_of(event.time)
        if event.kind in NOTICES:
            yield Notice(event.step, time, event.kind, str(event.data.get("message", "")))
        elif event.kind == "status":
            yield Notice(event.step, time, "status", ", ".join(f"{key} {value}" for key, value in event.data.items()))
        else:
            values = finite(_scalars(event))
            if values:
                yield Point(event.step, time, values)


def _scalars(event: Event) -> dict[str, Any]:
    """The event's metrics under the names that charts are grouped by."""
    data = {name: value for name, value in event.data.items() if name != "wall"}
    wall = event.data.get("wall")
    if event.kind == "step":
        known = finite({"tokens": data.get("tokens"), **(wall if isinstance(wall, dict) else {})})
        if known.get("seconds"):
            data["seconds"] = known["seconds"]
            if "tokens" in known:
                data["tokens_per_second"] = known["tokens"] / known["seconds"]
        return {**_named("train", data), "train/epoch": event.epoch}
    if event.kind == "epoch":
        return _named(f"epoch/{event.key}", data)
    if event.kind == "evaluation":
        return _named(event.key, data)
    if event.kind == "cost":
        return _named("cost", data)
    if event.kind == "best":
        return {"best/value": data.get("value")}
    return {}


def _named(group: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{group}/{name}": value for name, value in values.items()}


def finite(values: Mapping[str, Any]) -> dict[str, float]:
    """The numbers among the values: no tracker agrees with another on NaN; the alert beside it says what happened."""
    return {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def closing(run: RunDirectory, state: str, folder: Path) -> Closing:
    """What a run that has ended leaves; its model card is written into `folder`, the trackers' own."""
    return Closing(state, _summary(run), _pictures(run), [*_files(run), *_card(run, folder)])


def _card(run: RunDirectory, folder: Path) -> list[Path]:
    """The model card, of a run that has been judged."""
    from glotune.hub.card import model_card

    try:
        text = str(model_card(run))
    except GlotuneError:
        return []
    path = folder / "README.md"
    write_atomically(path, text)
    return [path]


def _summary(run: RunDirectory) -> dict[str, float | str]:
    manifest = run.read_manifest()
    summary: dict[str, float | str] = {"status": manifest.status.value}
    if manifest.verdict is not None:
        summary["verdict"] = manifest.verdict.status
        summary["verdict_evidence"] = " ".join(manifest.verdict.evidence)
    if manifest.reason:
        summary["reason"] = manifest.reason
    try:
        scores = parse_metrics(run.read_metrics(), manifest.source_languages)
    except UserError:
        return summary
    for split, languages in scores.items():
        for language, evaluation in languages.items():
            place = f"final/{split}/{language}"
            summary.update(finite({f"{place}/n": evaluation.n, **_named(place, evaluation.scores)}))
            for name, interval in evaluation.intervals.items():
                ends = {f"{place}/{name}_low": interval.low, f"{place}/{name}_high": interval.high}
                summary.update(finite(ends))
    return summary


def _pictures(run: RunDirectory) -> list[Path]:
    return sorted(run.report.rglob("*.png"))


def _files(run: RunDirectory) -> list[Path]:
    wanted = [
        run.recipe,
        run.manifest_path,
        run.metrics_path,
        run.data_profile,
        run.report / "report.html",
        run.report / "report.md",
    ]
    return [path for path in wanted if path.is_file()]
