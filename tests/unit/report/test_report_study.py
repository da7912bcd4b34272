import io

import numpy as np
import pytest

from glotune.report import write_study_report
from glotune.report.drawing.files import draw
from glotune.report.figures.study import build_study_figures
from glotune.run.data import load_run
from made_runs import make_run

LANGUAGES = {"en": 0.8, "bn": 0.65, "hi": 0.6}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    made = [
        make_run(folder / "a-0", "sound", name="no-warmup", languages=LANGUAGES, seed=0, epochs=3),
        make_run(folder / "a-1", "sound", name="no-warmup", languages=LANGUAGES, seed=1, epochs=3),
        make_run(folder / "b", "sound", name="longer", languages=LANGUAGES, epochs=4),
        make_run(folder / "c", "collapsed", name="dead", languages=LANGUAGES, epochs=3),
    ]
    return [load_run(run) for run in made]


def test_variants_stand_side_by_side_with_intervals(runs):
    panel = build_study_figures(runs)["final_comparison"].panels[1]
    assert [row.label for row in panel.rows] == ["no-warmup", "longer", "dead (collapsed)"]
    assert panel.columns == ("validation (mean of 2 target languages)", "test (mean of 2 target languages)")
    over_seeds, over_texts = panel.rows[0].estimates[1], panel.rows[1].estimates[1]
    expected = np.mean([run.main[code].scores["macro_f1"] for run in runs[:2] for code in ("bn", "hi")])
    assert over_seeds.value == pytest.approx(expected)
    assert over_seeds.low < over_seeds.value < over_seeds.high
    assert over_texts.value == pytest.approx(np.mean([runs[2].main[code].scores["macro_f1"] for code in ("bn", "hi")]))
    assert over_texts.low < over_texts.value < over_texts.high
    assert not panel.are_languages


def test_curves_are_means_over_languages_and_seeds(runs):
    panel = build_study_figures(runs)["losses"].panels[0]
    line = panel.series[0]
    values = [run.history.evaluations["validation", code][0].scores["loss"] for run in runs[:2] for code in LANGUAGES]
    assert line.x == (1.0, 2.0, 3.0)
    assert line.y[0] == pytest.approx(np.mean(values))
    assert panel.series[1].x[-1] == 4.0


def test_variant_names_are_not_taken_for_languages(runs):
    figure = draw(build_study_figures(runs)["final_comparison"])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=40)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[0] == "no-warmup"  # "no" is Norwegian


def test_one_variant_has_no_picture_and_the_report_links_those_there_are(runs, tmp_path):
    assert build_study_figures(runs[:2]) == {}
    files = write_study_report(tmp_path / "report", runs, "a study", "# a study\n")
    assert files.markdown.read_text().startswith("# a study\n\n## Pictures\n\n![")
    assert {figure.name for figure in files.figures} == {"final_comparison", "f1_scores", "losses"}
    again = write_study_report(tmp_path / "report", runs[:2], "a study", "# a study\n")
    assert again.markdown.read_text() == "# a study\n"
    assert list((tmp_path / "report" / "figures").iterdir()) == []
