"""What each part of the live monitor shows of a run."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from glotune.monitor import once, words
from glotune.monitor.charts import plot
from glotune.monitor.view import RunView
from glotune.run_state import State
from glotune.tracking.system import SystemFigures

STYLES = {
    State.RUNNING: "green",
    State.CRASHED: "bold red",
    State.FAILED: "bold red",
    State.INTERRUPTED: "yellow",
    State.ELSEWHERE: "yellow",
    State.COMPLETE: "",
}


def headings(narrow: bool) -> list[str]:
    """Columns of the runs table."""
    return ["run", "state", "macro F1", "done"] if narrow else [
        "run", "state", "verdict", "macro F1", "loss", "done", "left", "begun",
    ]  # fmt: skip


def row(view: RunView, narrow: bool) -> list[Text]:
    """Cells of the runs table."""
    state = Text(view.state.value, style=STYLES[view.state])
    score, done = Text(words.score(once.headline(view))), Text(words.percent(view.share_done))
    if narrow:
        return [Text(view.path.name[:24]), state, score, done]
    loss = view.steps[-1].loss if view.steps else None
    return [
        Text(view.path.name),
        state,
        Text(view.verdict or words.DASH),
        score,
        Text(words.score(loss)),
        done,
        Text(words.duration(view.pace.seconds_left)),
        Text(words.age(view.created)),
    ]


def facts(view: RunView, machine: SystemFigures | None, problems: Sequence[str]) -> Group:
    """Where the chosen run stands, alarms first."""
    lines: list[RenderableType] = [Text(line, style="bold red") for line in once.alarms(view)]
    if view.reason:
        lines.append(Text(f"{view.state.value}: {view.reason}"))
    lines.append(Text(once.facts(view)))
    if view.verdict_lines:
        lines.append(Text(f"verdict {view.verdict}: {' '.join(view.verdict_lines)}"))
    if machine is not None:
        lines.append(Text(once.machine(machine)))
    lines += [Text(problem, style="bold red") for problem in (*problems, *view.problems)]
    return Group(*lines)


def curves(view: RunView, width: int) -> Group:
    """Training loss, validation loss and learning rate."""
    series: list[tuple[str, Sequence[tuple[float, float]]]] = [
        ("training loss", [(point.step, point.loss) for point in view.steps]),
        ("validation loss (mean of languages)", view.validation_loss),
        ("learning rate", [(point.step, point.learning_rate) for point in view.steps]),
    ]
    parts: list[RenderableType] = []
    for name, points in series:
        last = f", now {words.figure(points[-1][1])}" if points else ""
        parts += [Text(name + last, style="bold"), Text("\n".join(plot(points, width, 7)), no_wrap=True), Text()]
    return Group(*parts)


def languages(view: RunView, width: int) -> RenderableType:
    """Every language's curve."""
    if not view.languages:
        return Text("Not evaluated yet.")
    return once.languages_table(view.languages, width, plain=False)


def checkpoints(view: RunView) -> RenderableType:
    """What it can be resumed from."""
    return once.checkpoints_table(view) if view.checkpoints else Text("No checkpoints.")


def log(view: RunView) -> Text:
    """The last lines, newest at the bottom; notices that are not in the log come first."""
    lines = [f"{notice.kind} at step {notice.step}: {notice.message}" for notice in view.notices]
    return Text("\n".join([*lines, *view.log]) or "The log is empty.")
