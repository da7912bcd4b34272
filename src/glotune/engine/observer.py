"""What watches a run: a terminal, a notebook, a test. The run never depends on its watchers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from glotune.run.records import Event


class Observer(Protocol):
    """Receives what happens, in order; an observer must not change anything."""

    def log(self, message: str) -> None:
        """One line for people."""

    def event(self, event: Event) -> None:
        """A record, as written to ``events.jsonl``."""

    def progress(self, stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        """`done` of `total` in a stage: ``tokenize``, ``cache``, ``train`` (steps) or ``evaluate`` (texts).

        `figures` may hold ``loss`` and ``tokens_per_second``.
        """


class Silent:
    """Watches nothing."""

    def log(self, message: str) -> None:
        """Drops the line."""

    def event(self, event: Event) -> None:
        """Drops the event."""

    def progress(self, stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        """Drops the progress."""
