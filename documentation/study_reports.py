"""``python -m documentation.study_reports STUDY``: keeps a finished study's report as docs/examples/NAME.

Its numbers and pictures alone: the page (report.html) shows texts of whoever ran it, and the runs are not kept.
"""

from __future__ import annotations

import argparse
import re
import shutil
from pathlib import Path

from documentation.example_report import ROOT, reduce

EXAMPLES = ROOT / "docs" / "examples"
TO_A_RUN = re.compile(r"\[[^\]]*\]\(<?\.\./runs/[^)]*\)")
OF_A_FOLDER = ("Interactive, with every run", "Go on with it")
"""Lines that lead into the study's folder begin so."""


def keep(study: Path, examples: Path = EXAMPLES) -> Path:
    """Copies the report of a study's folder without what leads back into that folder; what stood there is replaced."""
    report, example = study / "report", examples / study.name
    shutil.rmtree(example, ignore_errors=True)
    (example / "figures").mkdir(parents=True)
    (example / "report.md").write_text(without_runs((report / "report.md").read_text("utf-8")), encoding="utf-8")
    shutil.copyfile(report / "claims.json", example / "claims.json")
    for picture in sorted((report / "figures").glob("*.png")):
        reduce(picture, example / "figures" / picture.name)
    return example


def without_runs(markdown: str) -> str:
    """A study's report without columns of links into its runs, and without sentences about its folder."""
    kept: list[str] = []
    table: list[str] = []
    for line in [*markdown.splitlines(), ""]:
        if line.startswith("|"):
            table.append(line)
            continue
        kept += _without_links(table)
        table = []
        if not line.startswith(OF_A_FOLDER):
            kept.append(line)
    text = "\n".join(kept).replace("\\<", "&lt;")  # the site's Markdown does not know \< as an escape
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


def _without_links(table: list[str]) -> list[str]:
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table]
    linked = {place for row in rows for place, cell in enumerate(row) if TO_A_RUN.search(cell)}
    return ["|" + "|".join(cell for place, cell in enumerate(row) if place not in linked) + "|" for row in rows]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path, nargs="+", help="folder of a finished study")
    for study in parser.parse_args().study:
        keep(study)
