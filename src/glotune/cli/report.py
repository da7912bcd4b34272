"""`glotune report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="A run directory, finished or not, a study, or a folder of runs.")],
    metric: Annotated[
        str | None,
        typer.Option(help="Metric by which the runs of a folder are compared. Default: macro_f1, of scores pearson."),
    ] = None,
    language: Annotated[
        str | None, typer.Option(help="Language that they are compared in, 'targets' or 'all'. Default: targets.")
    ] = None,
) -> None:
    """Write a run's report again: report.md, report.html and the pictures. A folder of runs gets one for all."""
    from glotune.cli.console import say, show
    from glotune.report import write_report
    from glotune.run.directory import RunDirectory
    from glotune.run.state import find_runs

    if (run / "study.yaml").is_file():
        from glotune.study.redraw import redraw_study

        _refuse_options(metric, language, "a study compares as its file says")
        summary = redraw_study(run)
        for note in summary.notes:
            say(note)
        show(str(summary.files.markdown))
        show(str(summary.files.page))
        return
    unread: list[str] = []
    is_run = (run / "manifest.json").is_file() or not run.is_dir()
    if is_run or not (find_runs(run, problems=unread) or unread):
        directory = RunDirectory.open(run)
        _refuse_options(metric, language, "the report of one run tells all of its metrics in all languages")
        if directory.read_manifest().kind == "pretrain":
            from glotune.report.pretraining import write_pretraining_report

            write_pretraining_report(directory)
            show(str(directory.report / "report.md"))
            return
        files = write_report(directory)
        say(f"{len(files.figures)} pictures in {files.folder / 'figures'}")
    else:
        from glotune.evidence.folder import write_folder_report

        files, notes = write_folder_report(run, metric, language)
        for note in notes:
            say(note)
    show(str(files.markdown))
    show(str(files.page))


def _refuse_options(metric: str | None, language: str | None, why: str) -> None:
    from glotune.errors import UserError

    given = [f"--{name} {value}" for name, value in (("metric", metric), ("language", language)) if value is not None]
    if given:
        raise UserError(f"{', '.join(given)}: {why}", expected="a folder of runs")
