"""Watching from a notebook: bars for the stages, and below them the lines that a terminal would show."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from glotune.engine.observer import Observer, Silent, describe, event_line, stage_name
from glotune.run.records import Event


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
