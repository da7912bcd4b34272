"""`glotune study`: a study from its plan to its report; `study list`, `show` and `schema`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from glotune.cli.overrides import refuse_options

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from glotune.recipe.study_loading import ResolvedStudy
    from glotune.study.progress import Progress, Watcher

VERBS = ("list", "show", "schema")


def study(
    name: Annotated[
        str,
        typer.Argument(
            metavar="STUDY",
            help="A built-in study, a YAML file, the folder of a study to go on with, or: list, show NAME, schema.",
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="Recipe keys that all variants share, e.g. data.train=en.csv",
            callback=refuse_options,
        ),
    ] = None,
    scale: Annotated[str, typer.Option("--scale", "-s", help="full, tiny, or another that the study names.")] = "full",
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            min=1,
            show_default=False,
            help="Runs at a time; here they share the cores. [default: 1; on Ray: what the cluster has room for]",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The study's folder. [default: runs/NAME-SCALE]", show_default=False),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option("--seeds", help="Override the study's seeds: a number of seeds, or a list like 0,1,4.")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only say what difference the study can show, with how many seeds.")
    ] = False,
    on: Annotated[
        str | None,
        typer.Option("--on", help="Run on a Ray cluster: ray (this machine's) or ray://HOST:PORT."),
    ] = None,
    cpus: Annotated[
        float | None,
        typer.Option("--cpus", help="With --on: CPUs of each run. [default: 1]", min=1, show_default=False),
    ] = None,
    gpus: Annotated[
        float | None,
        typer.Option(
            "--gpus", help="With --on: GPUs of each run. [default: 1 where there are any]", min=0, show_default=False
        ),
    ] = None,
) -> None:
    """Train every variant of a study with every seed, and answer its claims with intervals.

    A study with a search finds the best recipe of a space first, and judges it on fresh seeds and unseen texts.

    Killed or interrupted, it goes on by the same command, or by its folder's name; finished runs are never repeated.
    """
    if name in VERBS:
        _tell(name, overrides or [])
        return
    from glotune.cli.console import say
    from glotune.errors import RunError, UserError
    from glotune.recipe.study_loading import load_study, load_written, resolve_study

    is_folder = (Path(name) / "study.yaml").is_file()
    if is_folder and not (out is not None and out.resolve() == Path(name).resolve()):  # else: the same command again
        _refuse_changes(name, scale, overrides, out, seeds)
        resolved, out = load_written(Path(name) / "study.yaml"), Path(name)
    else:
        resolved = resolve_study(load_study(name), scale, overrides or [], seeds=_seeds(seeds))

    if plan:
        _tell_plan(resolved)
        return
    from glotune.study.on_ray import Needs
    from glotune.study.run_study import run_study

    if on is None and (cpus, gpus) != (None, None):
        raise UserError("--cpus or --gpus without --on", expected="--on ray or --on ray://HOST:PORT beside them")
    with watch() as watcher:
        found = run_study(resolved, out, jobs=jobs, watcher=watcher, on=on, needs=Needs(cpus or 1, gpus))
    _show(found)
    if found.outcome.failed:
        say(f"{len(found.outcome.failed)} of {len(found.plan.runs)} runs have no result; the report says which.")
        raise RunError(f"{len(found.outcome.failed)} runs failed. Try them again by the same command")


def _refuse_changes(folder: str, scale: str, overrides: list[str] | None, out: Path | None, seeds: str | None) -> None:
    """A study that is gone on with is what it was."""
    from glotune.errors import UserError

    if overrides or out or seeds or scale != "full":
        raise UserError(
            f"{folder} is the folder of a study, and it is to be changed",
            expected="the folder alone, to go on with it as it was",
            remedy="To change it, name the study and another folder with --out",
        )


def _seeds(given: str | None) -> list[int] | None:
    """``5`` is five seeds from 0, ``0,1,4`` those three."""
    from glotune.errors import UserError

    if given is None:
        return None
    parts = [part.strip() for part in given.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise UserError(f"--seeds {given}", expected="a number of seeds, or a list like 0,1,4")
    numbers = [int(part) for part in parts]
    found = list(range(numbers[0])) if len(numbers) == 1 else numbers
    if not found or len(set(found)) != len(found):
        raise UserError(f"--seeds {given}", expected="at least one seed, none twice")
    return found


def _tell_plan(resolved: ResolvedStudy) -> None:
    from glotune.cli.console import show
    from glotune.study.power import plan_lines

    for line in plan_lines(resolved):
        show(line)


def _tell(verb: str, names: list[str]) -> None:
    from glotune.cli.console import out, show, show_json
    from glotune.errors import UserError
    from glotune.recipe.loading import file_schema
    from glotune.recipe.study import StudyRecipe
    from glotune.recipe.study_loading import builtin_studies, find_study, load_study

    if verb == "schema":
        show_json(file_schema(StudyRecipe))
    elif verb == "show":
        if len(names) != 1:
            raise UserError(f"{len(names)} names", expected="one: glotune study show NAME")
        show(find_study(names[0]).read_text(encoding="utf-8").rstrip())
    else:
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for heading in ("study", "variants", "claims", "scales", "what it asks"):
            table.add_column(heading, no_wrap=heading != "what it asks")
        for name, path in builtin_studies().items():
            each = load_study(path)
            scales = ", ".join(dict.fromkeys(["full", *each.scales]))
            table.add_row(name, str(len(each.variants)), str(len(each.claims)), scales, each.title)
        out.print(table)


def _show(found: Any) -> None:
    from glotune.cli.console import show

    for claim, answer in zip(found.plan.resolved.study.claims, found.summary.answers, strict=False):
        show(f"{answer.answer + ':':<14}{claim.name}. {answer.reason}")
    for note in found.summary.notes:
        show(note)
    show(f"study        {found.directory.path}")
    show(f"report       {found.summary.files.markdown}")
    show(f"page         {found.summary.files.page}")


@contextmanager
def watch() -> Iterator[Watcher]:
    """Shows a study on stderr: a bar over all runs on a terminal, a line per finished run elsewhere."""
    from rich.progress import BarColumn, Progress, TextColumn

    from glotune.cli.console import err

    if not err.is_terminal:
        yield Lines()
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[told]}"),
        console=err,
        transient=True,
    ) as bar:
        yield Bars(bar)


class Lines:
    """Plain lines, for logs and pipes."""

    def say(self, message: str) -> None:
        """Writes the message."""
        from glotune.cli.console import say

        say(message)

    def progress(self, progress: Progress) -> None:
        """Nothing: finished runs have lines of their own."""


class Bars:
    """One bar over the whole study; messages above it."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._task = bar.add_task("Study", total=1.0, told="")

    def say(self, message: str) -> None:
        """Prints the message above the bar."""
        self._bar.console.print(message, markup=False)

    def progress(self, progress: Progress) -> None:
        """Moves the bar."""
        from glotune.words import duration

        shares = sum(share for _, share in progress.running)
        running = ", ".join(f"{name} {share:.0%}" for name, share in progress.running)
        left = f", {duration(progress.seconds_left)} left" if progress.seconds_left is not None else ""
        self._bar.update(
            self._task,
            total=progress.total,
            completed=progress.done + shares,
            told=f"{progress.done} of {progress.total} runs{left}  {running}",
        )
