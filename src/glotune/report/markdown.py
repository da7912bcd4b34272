"""report.md, ready to be a README."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import jinja2

from glotune.report.content import ReportContent
from glotune.report.figures.build import FigureFile, missed
from glotune.words import escaped

TEMPLATES = Path(__file__).parent / "templates"


@cache
def environment() -> jinja2.Environment:
    """Templates from this package; a name that a template misspells is an error."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown: the filter `md` escapes what is not ours
    )
    made.filters["md"] = lambda value: escaped(str(value))
    return made


def render_markdown(content: ReportContent, figures: list[FigureFile], has_page: bool = True) -> str:
    """The report as Markdown; pictures are linked as ``figures/NAME.png``."""
    drawn = {figure.name: figure for figure in figures}
    text = (
        environment()
        .get_template("report.md.j2")
        .render(
            content=content,
            run=content.run,
            figures=drawn,
            page=has_page,
            absent=missed(content.run, drawn),
        )
    )
    lines = [line.rstrip() for line in text.splitlines()]
    kept = [line for place, line in enumerate(lines) if line or place == 0 or lines[place - 1]]
    return "\n".join(kept).strip() + "\n"
