"""`glotune monitor --once`: one look at a run, or at every run of a folder, as plain text for scripts and logs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from glotune.errors import UserError
from glotune.monitor.view import Language, RunView
from glotune.monitor.watcher import Watcher
from glotune.report.figures.growing import curve_of
from glotune.report.figures.model import Curve
from glotune.report.terminal import plot, sparkline
from glotune.run.directory import RunDirectory
from glotune.run.state import State, find_runs, read_holder
from glotune.run.system import Probe, SystemMetrics
from glotune.stats.traits import trait
from glotune.words import NOTHING, age, duration, gib, percent, rate, score, size

LOUD = {State.FAILED, State.CRASHED}
NARROW = 70
SHORTEST_CURVE = 10


def is_plain(console: Console) -> bool:
    """Whether only ASCII may be written."""
    return not (console.encoding or "").lower().startswith("utf")


def runs_table(views: Sequence[RunView], place: Path, width: int) -> Table:
    """One row a run, named by its path within `place`: where it stands, how good it is."""
    table = Table(box=None, pad_edge=False)
    narrow = width < NARROW
    headings = ["run", "state", "verdict", "done", "score", "left"] + ([] if narrow else ["loss", "begun"])
    for heading in headings:
        table.add_column(heading, no_wrap=heading != "run" and not narrow, overflow="fold")
    for view in views:
        cells = [
            str(view.path.relative_to(place)),
            view.state.value,
            view.verdict or NOTHING,
            percent(view.share_done, 0),
            score(headline(view)),
            duration(view.pace.seconds_left),
        ]
        if not narrow:
            cells += [score(view.loss.last), age(view.created)]
        table.add_row(*map(Text, cells))
    return table


def headline(view: RunView) -> float | None:
    """Mean of the task's metric over the source languages on validation, at the best step where there is one."""
    rows = [row for row in view.languages if row.split == "validation"] or list(view.languages)
    rows = [row for row in rows if row.is_source] or rows
    return sum(row.best for row in rows) / len(rows) if rows else None


def run_page(view: RunView, system: SystemMetrics | None, width: int, *, plain: bool, log_lines: int = 8) -> Group:
    """Everything about one run."""
    return Group(*_parts(view, system, width, plain, log_lines))


def _parts(
    view: RunView, system: SystemMetrics | None, width: int, plain: bool, log_lines: int
) -> Iterator[RenderableType]:
    yield Text(f"{view.path}: {view.state.value}" + (f" ({view.reason})" if view.reason else ""), style="bold")
    yield Text(facts(view))
    for line in alarms(view):
        yield Text(line, style="bold red")
    if view.verdict_lines:
        yield Text(f"verdict {view.verdict}: {' '.join(view.verdict_lines)}")
    if system is not None:
        yield Text(machine(system))
    yield Text()
    yield Text(f"training loss {score(view.loss.last)}")
    yield _chart(view.loss, width, plain)
    if len(view.validation_loss) > 1:
        yield Text(f"validation loss {score(view.validation_loss[-1][1])}")
        yield _chart(curve_of(view.validation_loss), width, plain)
    if view.languages:
        yield languages_table(view.languages, width, plain=plain)
    if view.checkpoints:
        yield Text()
        yield checkpoints_table(view)
    if view.log:
        yield Text()
        for line in view.log[-log_lines:]:
            yield Text(line, no_wrap=True, overflow="crop" if plain else "ellipsis")


def _chart(curve: Curve, width: int, plain: bool) -> Text:
    return Text("\n".join(plot(curve, min(width, 100), 6, plain=plain)), no_wrap=True)


def position(view: RunView) -> str:
    """``step 60 of 120, epoch 3 of 6``."""
    if not view.step:
        return "before its first step"
    steps = f"step {view.step}" + (f" of {view.total_steps}" if view.total_steps else "")
    return f"{steps}, epoch {view.epoch:.3g}" + (f" of {view.epochs}" if view.epochs else "")


def figure(value: float) -> str:
    """``0.412``, ``2e-05``."""
    return f"{value:.4g}" if math.isfinite(value) else "not finite"


def facts(view: RunView) -> str:
    """Position, pace and plan, in one paragraph."""
    pace = view.pace
    parts = [position(view)]
    if view.newest is not None:
        parts.append(f"learning rate {figure(view.newest.learning_rate)}")
    if pace.tokens_per_second is not None:
        parts += [rate(pace.tokens_per_second, "tokens"), rate(pace.texts_per_second, "texts")]
    if pace.padding_saved is not None:
        parts.append(f"padding saved {percent(pace.padding_saved, 0)}")
    if pace.seconds_left is not None:
        parts.append(f"{duration(pace.seconds_left)} left")
    if view.best_step is not None:
        parts.append(f"best step {view.best_step}")
    if view.attempt > 1:
        parts.append(f"attempt {view.attempt}")
    if view.plan:
        parts.append(view.plan)
    return "; ".join(parts)


def alarms(view: RunView) -> list[str]:
    """What a watcher must not miss: alerts, and runs that ended badly."""
    lines = [f"ALERT step {notice.step}: {notice.message}" for notice in view.notices if notice.kind == "alert"]
    if view.state is State.CRASHED:
        lines.append(f"CRASHED: its process is gone. Go on with: glotune resume {view.path}")
    if view.state is State.ELSEWHERE:
        lines.append("Its lock names another machine: whether it still runs can't be seen from here")
    return lines


def machine(system: SystemMetrics) -> str:
    """Processor, memory and GPUs, in one line."""
    parts = [
        f"CPU {system.cpu_percent:.0f} %",
        f"memory {gib(system.memory_gib)} of {gib(system.memory_total_gib)}",
    ]
    if system.process_gib is not None:
        parts.append(f"run {gib(system.process_gib)}")
    for gpu in system.gpus:
        power = f", {gpu.power_watts:.0f} W" if gpu.power_watts is not None else ""
        parts.append(
            f"GPU {gpu.index} {gpu.utilisation:.0f} %, {gib(gpu.memory_gib)} of {gib(gpu.memory_total_gib)}{power}"
        )
    return "; ".join(parts)


def languages_table(languages: Sequence[Language], width: int, *, plain: bool) -> Table:
    """A row per split and language: its curve, its last and its best score. There is at least one."""
    table = Table(box=None, pad_edge=False)
    curve = min(40, width - 46)
    headings = ["language", "split", "last", "best"] + (
        [f"{trait(languages[0].metric).display} over training"] if curve >= SHORTEST_CURVE else []
    )
    for heading in headings:
        table.add_column(heading, overflow="fold")
    finite = [value for row in languages for value in row.values if value == value]
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    for row in languages:
        name = f"{row.code} (source)" if row.is_source else row.code
        cells = [name, row.split, score(row.last), score(row.best)]
        if curve >= SHORTEST_CURVE:
            cells.append(sparkline(row.values, curve, low, high, plain=plain))
        table.add_row(*map(Text, cells))
    return table


def checkpoints_table(view: RunView) -> Table:
    """A row per checkpoint; the best is marked by a word, not a colour."""
    table = Table(box=None, pad_edge=False)
    for heading in ("checkpoint", "step", "size", trait(view.metric).display, ""):
        table.add_column(heading, overflow="fold")
    for row in view.checkpoints:
        cells = (row.name, str(row.step), size(row.bytes), score(row.metric), "best" if row.is_best else "")
        table.add_row(*map(Text, cells))
    return table


LOOK_SECONDS = 0.2
"""The processor's use is measured over so long."""


def look_at(place: Path) -> tuple[list[RunView], list[str]]:
    """The runs of a place, newest first, and a line for each that can't be read."""
    views: list[RunView] = []
    problems: list[str] = []
    for run in find_runs(place, trials=True, problems=problems):
        try:
            views.append(Watcher(run).look())
        except (UserError, OSError) as error:
            problems.append(str(error))
    return sorted(views, key=lambda view: view.created, reverse=True), problems


def print_snapshot(place: Path) -> None:
    """To stdout: the page of one run, or the table of many followed by the pages of those that are running."""
    from glotune.cli.console import out, say

    views, problems = look_at(place)
    for problem in problems:
        say(problem)
    single = (place / "manifest.json").is_file()
    if views and not single:
        _print(out, runs_table(views, place, out.width))
    for view in views:
        if single or view.state is State.RUNNING:
            if not single:
                out.print()
            _print(out, run_page(view, _machine(view), out.width, plain=is_plain(out)))


def _print(out: Console, shown: RenderableType) -> None:
    """Where only ASCII may be written, the dash of what is not known is a hyphen, and other signs question marks."""
    if not is_plain(out):
        out.print(shown)
        return
    with out.capture() as drawn:
        out.print(shown)
    text = drawn.get().replace(NOTHING, "-").encode("ascii", errors="replace").decode("ascii")
    out.print(text, end="", soft_wrap=True)


def _machine(view: RunView) -> SystemMetrics | None:
    """Figures of this machine, where the run is on it."""
    import time

    if view.state is not State.RUNNING:
        return None
    probe = Probe()
    time.sleep(LOOK_SECONDS)
    holder = read_holder(RunDirectory(view.path).lock)
    return probe.look(holder.pid if holder else None)
