"""What each part of the live monitor shows of a run."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.text import Text

from glotune.monitor import once
from glotune.monitor.view import RunView
from glotune.report.figures.growing import curve_of
from glotune.report.terminal import plot
from glotune.run.state import State
from glotune.run.system import SystemMetrics
from glotune.words import NOTHING, age, duration, percent, score

STYLES = {
    State.RUNNING: "green",
    State.CRASHED: "bold red",
    State.FAILED: "bold red",
    State.INTERRUPTED: "yellow",
    State.ELSEWHERE: "yellow",
    State.PRUNED: "",
    State.COMPLETE: "",
}


def headings(narrow: bool) -> list[str]:
    """Columns of the runs table."""
    return ["run", "state", "score", "done"] if narrow else [
        "run", "state", "verdict", "score", "loss", "done", "left", "begun",
    ]  # fmt: skip


def row(view: RunView, narrow: bool) -> list[Text]:
    """Cells of the runs table."""
    state = Text(view.state.value, style=STYLES[view.state])
    best, done = Text(score(once.headline(view))), Text(percent(view.share_done, 0))
    if narrow:
        return [Text(view.path.name), state, best, done]
    return [
        Text(view.path.name),
        state,
        Text(view.verdict or NOTHING),
        best,
        Text(score(view.loss.last)),
        done,
        Text(duration(view.pace.seconds_left)),
        Text(age(view.created)),
    ]


def facts(view: RunView, machine: SystemMetrics | None, problems: Sequence[str]) -> list[Text]:
    """Where the chosen run stands, alarms first."""
    lines = [Text(line, style="bold red") for line in once.alarms(view)]
    if view.reason:
        lines.append(Text(f"{view.state.value}: {view.reason}"))
    lines.append(Text(once.facts(view)))
    if view.verdict_lines:
        lines.append(Text(f"verdict {view.verdict}: {' '.join(view.verdict_lines)}"))
    if machine is not None:
        lines.append(Text(once.machine(machine)))
    lines += [Text(problem, style="bold red") for problem in (*problems, *view.problems)]
    return lines


def curves(view: RunView, width: int) -> list[Text]:
    """Training loss, validation loss and learning rate."""
    series = [
        ("training loss", view.loss),
        ("validation loss (mean of languages)", curve_of(view.validation_loss)),
        ("learning rate", view.learning_rate),
    ]
    lines = []
    for name, curve in series:
        last = f", now {once.figure(curve.last)}" if view.newest is not None and curve.points else ""
        lines += [Text(name + last, style="bold"), *map(Text, plot(curve, width, 7)), Text()]
    return lines


def languages(view: RunView, width: int) -> RenderableType:
    """Every language's curve."""
    if not view.languages:
        return Text("Not evaluated yet.")
    return once.languages_table(view.languages, width, plain=False)


def checkpoints(view: RunView) -> RenderableType:
    """What it can be resumed from."""
    return once.checkpoints_table(view) if view.checkpoints else Text("No checkpoints.")


def log(view: RunView) -> list[Text]:
    """The last lines, newest at the bottom; notices that are not in the log come first."""
    lines = [f"{notice.kind} at step {notice.step}: {notice.message}" for notice in view.notices]
    return [Text(line) for line in (*lines, *view.log)] or [Text("The log is empty.")]
