"""Are two runs the same, number for number? Where not, where do they differ?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from glotune.run.directory import RunDirectory
from glotune.run.records import ON_REQUEST, Event
from glotune.whole_files import sha256

OWN_TO_AN_ATTEMPT = ("status",)
"""Kinds of events that tell how a run was carried out, not what it computed."""


def differences(
    one: RunDirectory, other: RunDirectory, *, apart_from: tuple[str, ...] = OWN_TO_AN_ATTEMPT
) -> list[str]:
    """A line for each part of `other` that differs from `one`; empty where they are equal bit for bit.

    Compared are the saved weights, metrics, predictions and the event log without wall-clock figures, superseded
    attempts and the kinds of events in `apart_from`.
    """
    found = [
        f"{name} differ" for name in ("model/model.safetensors", "metrics.json")
        if _digest(one.path / name) != _digest(other.path / name)
    ]  # fmt: skip
    names = {path.name for run in (one, other) for path in run.prediction_files()}
    for name in sorted(names):
        if _digest(one.predictions / name) != _digest(other.predictions / name):
            found.append(f"predictions/{name} differ")
    line = first_difference(comparable_events(one, apart_from), comparable_events(other, apart_from))
    return [*found, line] if line else found


def comparable_events(run: RunDirectory, apart_from: tuple[str, ...] = OWN_TO_AN_ATTEMPT) -> list[str]:
    """The events that count, as lines without times and attempts."""
    return [_line(event) for event in run.events() if event.kind not in apart_from and event.key != ON_REQUEST]


def first_difference(one: list[str], other: list[str]) -> str | None:
    """Where two event logs part; None where they are equal."""
    for number, (left, right) in enumerate(zip(one, other, strict=False), start=1):
        if left != right:
            return f"events part at line {number}: {left} | {right}"
    if len(one) != len(other):
        longer = one if len(one) > len(other) else other
        alone = longer[min(len(one), len(other))]
        return f"events: {len(one)} against {len(other)} lines; the first without a twin: {alone}"
    return None


def _line(event: Event) -> str:
    content: dict[str, Any] = event.model_dump(include={"kind", "step", "epoch", "key"})
    content["data"] = {key: value for key, value in event.data.items() if key != "wall"}
    return json.dumps(content, sort_keys=True)


def _digest(path: Path) -> str | None:
    return sha256(path) if path.is_file() else None
