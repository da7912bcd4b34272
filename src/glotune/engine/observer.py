"""What watches a run: a terminal, a notebook, a test, and how what they see reads. The run never depends on them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Protocol

from glotune.run.records import Event
from glotune.words import rate, score

STAGE_NAMES = {
    "tokenize": "Tokenize",
    "augment": "Change the training texts",
    "teacher": "Ask the teacher",
    "cache": "Cache frozen layers",
    "train": "Train",
    "evaluate": "Evaluate",
}


class Observer(Protocol):
    """Receives what happens, in order; an observer must not change anything."""

    def log(self, message: str) -> None:
        """One line for people."""

    def event(self, event: Event) -> None:
        """A record, as written to ``events.jsonl``."""

    def progress(self, stage: str, done: int, total: int, metrics: Mapping[str, float]) -> None:
        """`done` of `total` in a stage: ``tokenize``, ``cache``, ``train`` (steps) or ``evaluate`` (texts).

        `metrics` may hold ``loss`` and ``tokens_per_second``.
        """


class Pruner(Protocol):
    """Says at the end of an epoch whether a run is worth going on with."""

    def goes_on(self, epoch: int, value: float) -> bool:
        """Whether it is, by the best value so far of the metric that chooses the checkpoint."""
        ...


class Silent:
    """Watches nothing."""

    def log(self, message: str) -> None:
        """Drops the line."""

    def event(self, event: Event) -> None:
        """Drops the event."""

    def progress(self, stage: str, done: int, total: int, metrics: Mapping[str, float]) -> None:
        """Drops the progress."""


def stage_name(stage: str) -> str:
    """The stage for people."""
    return STAGE_NAMES[stage] if stage in STAGE_NAMES else stage.capitalize()


def describe(metrics: Mapping[str, float]) -> str:
    """``loss 0.412, 12,345 tokens/s``, of the metrics there are."""
    shown = []
    if "loss" in metrics:
        shown.append(f"loss {score(metrics['loss'])}")
    if "tokens_per_second" in metrics:
        shown.append(rate(metrics["tokens_per_second"], "tokens"))
    return ", ".join(shown)


def event_line(event: Event) -> str | None:
    """The line for an event that people wait for; None for the others, which are logged or not for them."""
    data = event.data
    match event.kind:
        case "epoch":
            return f"epoch {event.epoch:g}: training{_scores(data)}"
        case "alert":
            return f"Alert: {data['message']}"
    return None


def _scores(data: Mapping[str, object]) -> str:
    parts = [
        f"{name.replace('_', '-')} {score(value)}"
        for name in ("loss", "accuracy", "macro_f1", "micro_f1", "pearson")
        if name in data and isinstance(value := data[name], int | float)
    ]
    return " " + ", ".join(parts) if parts else ""


def watching(observer: Observer | None) -> Observer:
    """The observer that was given; without one a notebook shows the run, and everything else keeps silent."""
    if observer is not None:
        return observer
    return Bars() if in_notebook() else Silent()


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook (Jupyter, Colab, VS Code); imports nothing to find out."""
    ipython = sys.modules.get("IPython")
    return "ipykernel.zmqshell" in sys.modules and ipython is not None and ipython.get_ipython() is not None


class Bars:
    """An `Observer`: one bar per stage by ``tqdm.auto``, as widgets where there are any, and lines of text."""

    def __init__(self) -> None:
        from tqdm.auto import tqdm

        self._new_bar = tqdm
        self._bars: dict[str, Any] = {}

    def log(self, message: str) -> None:
        """Prints the message without tearing a bar."""
        self._new_bar.write(message)

    def event(self, event: Event) -> None:
        """Prints the events that people wait for."""
        line = event_line(event)
        if line:
            self.log(line)

    def progress(self, stage: str, done: int, total: int, metrics: Mapping[str, float]) -> None:
        """Moves the bar of the stage. A finished one disappears, save that of training."""
        if stage not in self._bars:
            self._bars[stage] = self._new_bar(total=total, desc=stage_name(stage), leave=stage == "train")
        bar = self._bars[stage]
        bar.total = total
        bar.set_postfix_str(describe(metrics), refresh=done >= total)
        bar.update(done - bar.n)
        if done >= total:
            self._bars.pop(stage).close()
