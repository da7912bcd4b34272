"""Looks at a run again and again, reading only what is new. It reads; it never writes."""

from __future__ import annotations

import time
from pathlib import Path

from glotune.errors import UserError
from glotune.monitor.view import (
    RunView,
    checkpoints_of,
    languages_of,
    pace_of,
    validation_loss_of,
)
from glotune.recipe import Recipe, yaml
from glotune.records import Event, Manifest
from glotune.report.history import History, Notice, read_history
from glotune.run_dir import RunDirectory, events_that_count
from glotune.run_state import State, state_of
from glotune.tracking.tail import Tail

LOG_LINES = 200
LOG_BYTES = 64 * 1024
STALLED_SECONDS = 300.0
"""Least silence that counts as stalled; slow steps raise it."""
STALLED_STEPS = 60
"""Silence of so many steps' time counts as stalled."""


class Watcher:
    """Follows one run."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self._tail = Tail(run.events_path)
        self._events: list[Event] = []
        self._history = History()
        self._recipe: Recipe | None = None
        self._problems: list[str] = []
        self._recipe_read = False

    def look(self) -> RunView:
        """The run as it stands now.

        Raises:
            UserError: its manifest can't be read.
        """
        manifest = self.run.read_manifest()
        state = state_of(self.run, manifest)
        fresh = self._tail.read()
        if fresh:
            self._events = events_that_count([*self._events, *fresh])
            self._history = read_history(self._events)
        recipe = self._read_recipe()
        history = self._history
        step, epoch = _position(self._events)
        epochs = recipe.train.epochs if recipe else None
        total = round(step / epoch * epochs) if epochs and epoch > 0 else None
        running = state is State.RUNNING
        notices = list(history.notices)
        silent = self._silent_seconds() if running else None
        stalled = _stalled(silent, history, step, epoch)
        if stalled:
            notices.append(stalled)
        return RunView(
            path=self.run.path,
            name=manifest.name,
            state=state,
            reason=manifest.reason,
            verdict=_verdict(manifest, self._events, stalled is not None),
            verdict_lines=_verdict_lines(manifest),
            created=manifest.created,
            attempt=manifest.attempt,
            plan=_plan(manifest),
            step=step,
            total_steps=total,
            epoch=epoch,
            epochs=epochs,
            steps=history.steps,
            validation_loss=tuple(validation_loss_of(history)),
            languages=tuple(languages_of(history, manifest)),
            best_step=manifest.best_step if manifest.best_step is not None else history.best_step,
            pace=pace_of(history.steps, total, recipe.data.max_length if recipe else None, running),
            checkpoints=tuple(checkpoints_of(self.run, history, manifest.source_languages)),
            notices=tuple(notices),
            log=tuple(tail_of_log(self.run.log)),
            silent_seconds=silent,
            problems=tuple(self._problems),
        )

    def _read_recipe(self) -> Recipe | None:
        """Once: a run's recipe never changes."""
        if not self._recipe_read:
            self._recipe_read = True
            try:
                text = self.run.recipe.read_text(encoding="utf-8")
                self._recipe = Recipe.model_validate(yaml.parse(text, "recipe.yaml"))
            except (OSError, ValueError, UserError) as error:
                self._problems.append(f"recipe.yaml is not read ({str(error).splitlines()[0]})")
        return self._recipe

    def _silent_seconds(self) -> float | None:
        signs = []
        for path in (self.run.events_path, self.run.log, self.run.manifest_path, self.run.checkpoints):
            try:
                signs.append(path.stat().st_mtime)
            except OSError:
                continue
        return max(0.0, time.time() - max(signs)) if signs else None


def _position(events: list[Event]) -> tuple[int, float]:
    """(optimizer steps done, epoch), of the furthest event of training."""
    trained = (event for event in events if event.kind in ("step", "epoch", "evaluation", "alert", "status"))
    furthest = max(trained, key=lambda event: event.step, default=None)
    return (furthest.step, furthest.epoch) if furthest else (0, 0.0)


def _verdict(manifest: Manifest, events: list[Event], stalled: bool) -> str | None:
    if manifest.verdict is not None:
        return manifest.verdict.status
    alarms = [str(event.data.get("what", "alert")) for event in events if event.kind == "alert"]
    if alarms:
        return f"{alarms[-1]}?"
    return "stalled?" if stalled else None


def _verdict_lines(manifest: Manifest) -> tuple[str, ...]:
    if manifest.verdict is None:
        return ()
    return tuple(f"{line.rstrip('.')}." for line in (*manifest.verdict.evidence, *manifest.verdict.remedy))


def _stalled(silent: float | None, history: History, step: int, epoch: float) -> Notice | None:
    """A running run that has shown no sign of life for far longer than its steps take."""
    if silent is None:
        return None
    recent = [point.seconds for point in history.steps[-50:] if point.seconds == point.seconds]
    allowed = max(STALLED_SECONDS, STALLED_STEPS * max(recent, default=0.0))
    if silent < allowed:
        return None
    return Notice(
        "alert", step, epoch, f"stalled: no sign of life for {silent / 60:.0f} minutes; its process still holds it"
    )


def _plan(manifest: Manifest) -> str | None:
    plan = manifest.plan
    if plan is None:
        return None
    ranks = f", {plan.ranks} processes" if plan.ranks > 1 else ""
    return f"{plan.device}, {plan.precision}, {plan.attention}, {plan.token_budget} tokens a micro-batch{ranks}"


def tail_of_log(path: Path, lines: int = LOG_LINES) -> list[str]:
    """The last lines of the log; empty where there is none yet."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - LOG_BYTES))
            content = file.read().decode(errors="replace")
    except OSError:
        return []
    found = content.splitlines()
    return found[1:][-lines:] if size > LOG_BYTES else found[-lines:]
