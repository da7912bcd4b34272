"""The doctor's page: one self-contained HTML file."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from glotune.data.doctor import Diagnosis
from glotune.whole_files import write_output
from glotune.words import count, named


def render(diagnosis: Diagnosis, title: str) -> str:
    """The page as HTML; whatever the texts hold is shown as text."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["named"] = named
    environment.filters["number"] = count
    source = resources.files("glotune.data").joinpath("doctor_page.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source).render(diagnosis=diagnosis, title=title)


def write_page(diagnosis: Diagnosis, title: str, path: Path) -> None:
    """Writes the page, whole or not at all; raises UserError where it can't be written."""
    write_output(path, render(diagnosis, title))
