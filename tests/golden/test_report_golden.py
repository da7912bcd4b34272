"""The whole report of a fixed run. After a wanted change, write it anew with GLOTUNE_UPDATE_GOLDEN=1."""

import os
from pathlib import Path

from glotune.report.content import gather
from glotune.report.figures.build import FigureFile, build_figures
from glotune.report.markdown import render_markdown
from glotune.run.data import load_run
from made_runs import make_run

GOLDEN = Path(__file__).parent / "report.md"


def test_the_whole_report_of_a_fixed_run(tmp_path):
    run = load_run(make_run(tmp_path / "golden", "sound", name="golden", n=120, epochs=3, hostile=True, baselines=True))
    figures = [FigureFile(name, name, Path(name), Path(name)) for name in build_figures(run)]
    text = render_markdown(gather(run), figures)
    if os.environ.get("GLOTUNE_UPDATE_GOLDEN"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()
