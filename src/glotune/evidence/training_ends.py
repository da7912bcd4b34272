"""The last figures of a run's training, read from the end of its event file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TAIL_BYTES = 262_144
"""The last epoch's evaluations of some 25 languages on two splits take 30 KB."""


@dataclass(frozen=True)
class TrainingEnds:
    """What the last epoch of training showed; empty where the run has none yet."""

    steps: int = 0
    epochs: float = 0.0
    train: dict[str, float] = field(default_factory=dict)
    """metric -> value, as trained."""
    evaluations: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    """split -> language -> metric -> value, at the last evaluation while training."""

    def score(self, split: str, metric: str, languages: list[str]) -> float | None:
        """The plain mean over languages; None where one of them has none."""
        entries = self.evaluations.get(split, {})
        values = [entries.get(language, {}).get(metric) for language in languages]
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known and len(known) == len(values) else None


def read_ends(path: Path, tail: int = TAIL_BYTES) -> TrainingEnds:
    """Reads the last `tail` bytes of an event file; a torn line is skipped, later lines win."""
    if not path.is_file():
        return TrainingEnds()
    steps, epochs = 0, 0.0
    train: dict[str, float] = {}
    evaluations: dict[str, dict[str, dict[str, float]]] = {}
    for line in _last_lines(path, tail):
        is_step = b'"kind":"step"' in line
        if not is_step and b'"kind":"epoch"' not in line and b'"kind":"evaluation"' not in line:
            continue
        event = _parsed(line)
        if event is None:
            continue
        if is_step:
            steps, epochs = int(event["step"]), float(event["epoch"])
        elif event["kind"] == "epoch" and event["key"] == "train":
            train = _figures(event["data"])
        elif event["kind"] == "evaluation" and not event["key"].startswith("best/"):
            split, _, language = event["key"].partition("/")
            evaluations.setdefault(split, {})[language] = _figures(event["data"])
    return TrainingEnds(steps, epochs, train, evaluations)


def _last_lines(path: Path, tail: int) -> list[bytes]:
    with path.open("rb") as file:
        start = max(0, path.stat().st_size - tail)
        file.seek(start)
        lines = file.read().split(b"\n")[:-1]  # what stands behind the last line end was torn while written
    kept = lines[1:] if start else lines
    # Only the last step line matters: the others are most of the file.
    last_step = max((place for place, line in enumerate(kept) if b'"kind":"step"' in line), default=-1)
    return [line for place, line in enumerate(kept) if b'"kind":"step"' not in line or place == last_step]


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and {"kind", "step", "epoch", "key", "data"} <= event.keys() else None


def _figures(data: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in data.items() if isinstance(value, int | float)}
