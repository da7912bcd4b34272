"""Writes the report of a run, or of several side by side, into a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glotune.report.content import gather
from glotune.report.drawing.files import write_figures
from glotune.report.figures.build import FIGURE_NAMES, FigureFile, build_figures, captions_of
from glotune.report.figures.model import FigureData
from glotune.report.figures.study import STUDY_CAPTIONS, build_study_figures
from glotune.report.markdown import render_markdown
from glotune.report.page import render_page
from glotune.run.data import RunData, load_run
from glotune.run.directory import RunDirectory, write_atomically


@dataclass(frozen=True)
class ReportFiles:
    """What was written."""

    folder: Path
    markdown: Path
    page: Path
    figures: tuple[FigureFile, ...]


def write_report(run: RunDirectory | str | Path) -> ReportFiles:
    """Draws and writes ``report/`` of a run: report.md, report.html and figures/NAME.png and .svg.

    Works on an unfinished run too, with what it has so far. Pictures of an earlier report that this one
    can't draw are removed; everything else is replaced file by file.

    Raises:
        UserError: it is no run directory, or its manifest can't be read.
    """
    data = load_run(run)
    content = gather(data)
    folder = data.directory.report
    figures = write_figures(build_figures(data), folder / "figures", captions_of(data))
    _remove_stale(folder / "figures", figures)
    markdown, page = folder / "report.md", folder / "report.html"
    write_atomically(markdown, render_markdown(content, figures))
    write_atomically(page, render_page([content], content.title))
    return ReportFiles(folder, markdown, page, tuple(figures))


def write_study_report(
    folder: Path,
    runs: Sequence[RunData],
    title: str,
    markdown: str,
    tables: Sequence[dict[str, Any]] = (),
    further: Mapping[str, FigureData] | None = None,
) -> ReportFiles:
    """Writes the report of several runs: the given Markdown with pictures below it, and one page with a pick of runs.

    Args:
        folder: where report.md and report.html go; made if absent.
        runs: loaded runs, in the order that the page lists them.
        title: of the page.
        markdown: the text of report.md; pictures of the variants side by side are put at its end.
        tables: at the head of the page, each ``{"title", "columns": [{"name", "numeric", "note"}], "rows": [[{"text",
            "value", "best", "href"}]], "notes": [...]}``, e.g. from `glotune.evidence.as_page_table`. A ``href`` must
            be a place in the study's folder or an address that may be followed.
        further: figures that are not of the runs, by name; `STUDY_CAPTIONS` has their captions.
    """
    folder.mkdir(parents=True, exist_ok=True)
    built = {**build_study_figures(runs), **(further or {})}
    figures = write_figures(built, folder / "figures", STUDY_CAPTIONS)
    _remove_stale(folder / "figures", figures)
    report, page = folder / "report.md", folder / "report.html"
    write_atomically(report, markdown.rstrip("\n") + "\n" + _pictures(figures))
    write_atomically(page, render_page([gather(run) for run in runs], title, tables))
    return ReportFiles(folder, report, page, tuple(figures))


def _pictures(figures: Sequence[FigureFile]) -> str:
    if not figures:
        return ""
    links = [f"![{figure.caption}](figures/{figure.name}.png)\n" for figure in figures]
    return "\n".join(["\n## Pictures\n", *links])


def _remove_stale(folder: Path, figures: Sequence[FigureFile]) -> None:
    drawn = {figure.name for figure in figures}
    for name in FIGURE_NAMES:
        if name not in drawn:
            (folder / f"{name}.png").unlink(missing_ok=True)
            (folder / f"{name}.svg").unlink(missing_ok=True)
