import io
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from glotune.report.drawing import style
from glotune.report.drawing.curves import draw_curves, emptiest, spread, y_limits
from glotune.report.drawing.files import draw, write_figures
from glotune.report.drawing.panels import class_names, draw_cooccurrence
from glotune.report.figures.build import build_figures, names_of
from glotune.report.figures.curves import smoothed
from glotune.report.figures.growing import MOST, curve_of
from glotune.report.figures.labels import _errors
from glotune.report.figures.model import Cooccurrence, Curves, DotPanels, DotRow, Dots, Estimate, Series
from glotune.report.figures.panels import MAX_ROC_POINTS, wilson
from glotune.run.data import load_run
from glotune.stats.label_sets import label_sets
from made_runs import make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return load_run(make_run(tmp_path_factory.mktemp("runs") / "sound", "sound"))


@pytest.fixture(scope="module")
def figures(run):
    return build_figures(run)


def test_a_finished_cross_lingual_run_has_every_figure(figures):
    assert tuple(figures) == names_of("single_label")


def test_losses_show_training_each_language_and_chance(figures, run):
    panel = figures["losses"].panels[0]
    names = [(series.name, series.role, series.is_faint) for series in panel.series]
    assert names[:2] == [("train, each step", "train", True), ("train", "train", False)]
    assert [series.language for series in panel.series[2:]] == ["en", "ar", "bn", "hi"]
    assert panel.references[0].value == pytest.approx(math.log(3))
    assert panel.best_epoch == 6.0
    points = run.history.evaluations["validation", "bn"]
    assert panel.series[4].y == tuple(point.scores["loss"] for point in points)


def test_test_curves_stand_beside_validation(figures):
    titles = [panel.title for panel in figures["accuracies"].panels]
    assert titles == ["Accuracy, training and validation", "Accuracy, test while training"]
    assert figures["accuracies"].panels[0].series[0].role == "train"


def test_scores_carry_the_intervals_of_metrics_json(figures, run):
    panel = figures["accuracy_f1_comparison"].panels[0]
    by_name = {row.label: row for row in panel.rows}
    found = by_name["bn"].estimates[1]
    interval = run.main["bn"].intervals["macro_f1"]
    assert (found.value, found.low, found.high) == (run.main["bn"].scores["macro_f1"], interval.low, interval.high)
    values = [row.estimates[1].value for row in panel.rows]
    assert panel.rows[0].is_source
    assert values[1:] == sorted(values[1:], reverse=True)


def test_the_transfer_gap_is_source_minus_target_in_points(figures, run):
    rows = {row.label: row.gap for row in figures["transfer_gap"].rows}
    expected = 100 * (run.main["en"].scores["macro_f1"] - run.main["bn"].scores["macro_f1"])
    assert rows["bn"].value == pytest.approx(expected)
    assert rows["bn"].low < rows["bn"].value < rows["bn"].high
    targets = [rows[code].value for code in ("ar", "bn", "hi")]
    assert rows["average"].value == pytest.approx(np.mean(targets))


def test_final_comparison_has_the_four_stages(figures):
    panel = figures["final_comparison"].panels[0]
    assert panel.columns == ("training", "validation", "last test in training", "final test")
    source = next(row for row in panel.rows if row.label == "en")
    target = next(row for row in panel.rows if row.label == "bn")
    assert source.estimates[0] is not None
    assert target.estimates[0] is None  # nothing was trained in it


def test_roc_confusion_and_calibration_agree_with_the_predictions(figures, run):
    from sklearn.metrics import confusion_matrix, roc_auc_score

    table = run.predictions("test", "bn")
    roc = next(panel for panel in figures["roc_curve"].panels if panel.language == "bn")
    for index, line in enumerate(roc.lines):
        assert line.auc == pytest.approx(roc_auc_score(table.label_B == index, table.probabilities_BC[:, index]))
        assert len(line.true_positive_rate) <= MAX_ROC_POINTS
        assert (line.true_positive_rate[0], line.true_positive_rate[-1]) == (0.0, 1.0)
    confusion = next(panel for panel in figures["confusion_matrix"].panels if panel.language == "bn")
    assert confusion.counts == tuple(map(tuple, confusion_matrix(table.label_B, table.predicted_B).tolist()))
    calibration = next(panel for panel in figures["calibration"].panels if panel.language == "bn")
    assert sum(each.accuracy.n for each in calibration.bins) == len(table)
    assert calibration.ece == pytest.approx(run.main["bn"].scores["ece"])


def test_the_warmup_ends_at_the_highest_rate(figures):
    rate = figures["learning_rate"]
    assert rate.warmup_end == 12
    assert rate.peak == pytest.approx(2e-4)


@pytest.mark.parametrize("kind", ["running", "diverged", "collapsed"])
def test_figures_that_a_run_can_t_have_are_left_out_and_the_others_drawn(tmp_path, kind):
    run = load_run(make_run(tmp_path / kind, kind, epochs=2, languages={"en": 0.8, "bn": 0.6}))
    figures = build_figures(run)
    assert {"losses", "learning_rate", "dashboard"} <= set(figures)
    assert ("roc_curve" in figures) == (kind == "collapsed")
    for data in figures.values():
        draw(data).savefig(io.BytesIO(), format="png", dpi=30)


def test_one_language_has_no_gap_and_two_classes_have_one_roc_line(tmp_path):
    run = load_run(make_run(tmp_path / "one", "sound", languages={"en": 0.8}, labels=("humor", "not_humor"), epochs=1))
    figures = build_figures(run)
    assert "transfer_gap" not in figures
    assert [line.label for line in figures["roc_curve"].panels[0].lines] == ["not_humor"]
    for data in figures.values():
        draw(data)


def test_files_are_the_same_bytes_each_time_and_svg_holds_no_date(figures, tmp_path):
    chosen = {name: figures[name] for name in ("transfer_gap", "losses")}
    first, second = write_figures(chosen, tmp_path / "a"), write_figures(chosen, tmp_path / "b")
    for one, other in zip(first, second, strict=True):
        assert one.png.read_bytes() == other.png.read_bytes()
        assert one.svg.read_bytes() == other.svg.read_bytes()
        assert b"<dc:date>" not in one.svg.read_bytes()
    from PIL import Image

    assert Image.open(first[0].png).width == 1660  # twice the README column


def test_labels_in_other_scripts_become_class_ids_and_formulas_stay_text():
    assert style.latin("ইতিবাচক", "class 2") == "class 2"
    assert style.latin("négatif", "class 0") == "négatif"
    assert style.latin("$\\frac{$", "x") == "$\\frac{$"
    assert style.RC["text.parse_math"] is False


@pytest.mark.extras
def test_drawing_survives_hostile_labels(tmp_path):
    labels = ("$\\badmath{$", "ইতিবাচক", "<b>|x|</b>")
    run = load_run(
        make_run(tmp_path / "hostile", "sound", labels=labels, epochs=1, n=60, languages={"en": 0.8, "bn": 0.6})
    )
    for data in build_figures(run).values():
        draw(data).savefig(io.BytesIO(), format="svg")


def test_thinning_keeps_the_mean_and_the_ends():
    x = np.arange(1, 5001, dtype=float)
    y = np.sin(x / 300)
    thin = curve_of(zip(x, y, strict=True))
    assert MOST / 2 <= len(thin.points) <= MOST + 3
    assert thin.x[-1] == 5000
    assert np.mean(thin.y) == pytest.approx(y.mean(), abs=1e-2)
    assert curve_of(zip(x[:10], y[:10], strict=True)).x == tuple(x[:10])


def test_a_note_stands_where_the_fewest_lines_are():
    line = Series("en", "validation", (0.0, 1.0, 2.0, 3.0), (0.5, 0.5, 1.0, 1.0), "en")
    curves = Curves("Loss", "nats", (line,), is_percent=False)
    assert emptiest(curves, 1.0, (0.0, 3.0), (0.95, 1.05), compact=False) == 0.02
    assert emptiest(curves, 1.0, (0.0, 3.0), (0.45, 0.55), compact=False) == 0.98


def test_correlations_below_zero_lie_inside_the_axis():
    low, high = y_limits([Curves("r", "r", (Series("en", "validation", (1.0, 2.0), (-0.3, 0.4)),), is_percent=False)])
    assert low < -0.3 < 0.4 < high
    low, _ = y_limits([Curves("Loss", "nats", (Series("en", "validation", (1.0, 2.0), (0.0, 0.4)),), is_percent=False)])
    assert low == 0.0, "what is never negative begins at 0"


@given(st.lists(st.tuples(st.floats(-100, 100), st.integers(1, 64)), min_size=1, max_size=60))
def test_smoothing_stays_inside_the_values(steps):
    values, texts = (np.asarray(column, dtype=float) for column in zip(*steps, strict=True))
    found = smoothed(values, texts)
    assert len(found) == len(values)
    assert found.min() >= min(values) - 1e-9
    assert found.max() <= max(values) + 1e-9


@given(st.lists(st.floats(0, 100), min_size=1, max_size=7), st.floats(0.1, 5))
def test_labels_at_line_ends_do_not_overlap(values, step):
    placed = spread(sorted(values), step, 100.0)
    assert all(upper - lower >= step - 1e-9 for lower, upper in itertools.pairwise(placed))
    assert placed[-1] <= 100.0 + 1e-9


@given(st.integers(1, 500), st.data())
def test_wilson_holds_the_share(n, data):
    share = data.draw(st.integers(0, n)) / n
    low, high = wilson(share, n)
    assert 0 <= low <= share + 1e-12
    assert share - 1e-12 <= high <= 1


@pytest.mark.parametrize(("are_languages", "named"), [(False, 9), (True, 6)])
def test_nine_variants_are_named_and_look_unlike_each_other_nine_languages_are_not(are_languages, named):
    """A study's variants are what its reader compares; a run's languages would hide its sources."""
    lines = tuple(
        Series(f"v{place}", "validation", (1.0, 2.0), (0.1, 0.1 + place / 20), f"v{place}") for place in range(9)
    )
    figure = Figure()
    axes = figure.subplots()
    draw_curves(axes, Curves("F1", "F1", lines, are_languages=are_languages))
    shown = {text.get_text().split()[0] for text in axes.texts} & {line.name for line in lines}
    assert len(shown) == named
    looks = {(line.get_color(), line.get_linestyle()) for line in axes.lines if line.get_linewidth() == 2.0}
    assert len(looks) == named
    assert ("3 more languages" in axes.get_xlabel()) == are_languages


def legend_of(drawn):
    return [text.get_text() for text in drawn.legends[0].get_texts()]


def test_every_stage_in_the_legend_has_its_points_where_targets_alone_were_tested(tmp_path):
    """English is trained and validated on, Bangla and Hindi are tested: the usual zero-shot run."""
    languages = {"en": 0.8, "bn": 0.6, "hi": 0.7}
    made = make_run(
        tmp_path / "run", languages=languages, validated=("en",), tested=("bn", "hi"), n=60, epochs=2,
        test_while_training=False,
    )  # fmt: skip
    data = build_figures(load_run(made))["final_comparison"]
    for panel in data.panels:
        assert panel.columns == ("training", "validation", "final test")
        held = {row.label: [each is not None for each in row.estimates] for row in panel.rows}
        assert held == {"en": [True, True, False], "hi": [False, False, True], "bn": [False, False, True]}
        assert [row.label for row in panel.rows] == ["en", "hi", "bn"]
    assert legend_of(draw(data)) == ["training", "validation", "final test"]


def test_a_column_without_points_is_in_no_legend():
    rows = (DotRow("en", (Estimate(0.5), None)), DotRow("bn", (Estimate(0.4), None)))
    panels = DotPanels((Dots("F1", "percent", ("kept", "empty"), rows),))
    drawn = draw(panels)
    assert legend_of(drawn) == ["kept"]
    heights = [line.get_ydata()[0] for line in drawn.axes[0].lines if line.get_label() == "kept"]
    assert heights == [0.0]  # alone in its row, in its middle


def test_the_score_in_training_of_several_sources_stands_once(tmp_path):
    made = make_run(tmp_path / "run", languages={"en": 0.8, "de": 0.7}, sources=("en", "de"), n=60, epochs=1)
    panel = build_figures(load_run(made))["final_comparison"].panels[0]
    assert [row.label for row in panel.rows if row.estimates[0] is not None] == ["all sources"]


@pytest.mark.parametrize(
    ("choices", "panels"),
    [({"languages": {"en": 0.8}}, 5), ({"kind": "running"}, 3), ({"languages": {"en": 0.8, "bn": 0.6}}, 6)],
)
def test_no_place_of_the_dashboard_stays_empty(tmp_path, choices, panels):
    drawn = draw(build_figures(load_run(make_run(tmp_path / "run", epochs=2, n=60, **choices)))["dashboard"])
    assert len(drawn.axes) == panels
    columns = drawn.axes[0].get_gridspec().ncols
    taken = [place for ax in drawn.axes for place in ax.get_subplotspec().get_geometry()[2:]]
    assert len({*range(columns * drawn.axes[0].get_gridspec().nrows)} - set(taken)) == 0
    assert all(ax.get_visible() for ax in drawn.axes)


def test_a_warning_about_the_gaps_is_not_cut_off_in_the_dashboard(tmp_path):
    run = load_run(make_run(tmp_path / "run", "collapsed", epochs=2, n=60, languages={"en": 0.8, "bn": 0.6}))
    drawn = draw(build_figures(run)["dashboard"])
    gaps = next(ax for ax in drawn.axes if ax.get_title(loc="left").startswith("Transfer gap"))
    assert gaps.get_title(loc="left") == "Transfer gap from en"
    assert gaps.get_xlabel().endswith("meaningless: collapsed")


def test_one_epoch_shows_its_training_point(tmp_path):
    run = load_run(make_run(tmp_path / "run", epochs=1, n=60, languages={"en": 0.8}, test_while_training=False))
    drawn = draw(build_figures(run)["f1_scores"])
    assert {line.get_marker() for line in drawn.axes[0].lines if len(line.get_xdata()) == 1} == {"o"}
    assert sum(len(line.get_xdata()) == 1 for line in drawn.axes[0].lines) == 2  # train and en


SEVENTEEN = ("ar", "bn", "de", "en", "es", "fi", "fr", "hi", "id", "it", "ja", "ko", "pt", "ru", "sw", "tr", "zh")


def test_of_many_languages_the_pictures_show_the_extremes_not_the_alphabets_first(tmp_path):
    shares = {code: 0.9 if code == "en" else 0.35 + 0.03 * place for place, code in enumerate(reversed(SEVENTEEN))}
    made = make_run(tmp_path / "run", languages=shares, validated=("en",), n=40, epochs=1, test_while_training=False)
    run = load_run(made)
    order = sorted(set(shares) - {"en"}, key=lambda code: (-run.main[code].scores["macro_f1"], code))
    figures = build_figures(run)
    for name in ("confusion_matrix", "roc_curve", "calibration"):
        data = figures[name]
        assert [panel.language for panel in data.panels] == ["en", *order[:6], *order[-5:]]
        assert data.left_out == tuple(order[6:-5])


def test_the_sources_named_among_many_are_their_extremes():
    lines = tuple(
        Series(code, "validation", (1.0, 2.0), (0.1, 0.3 + place / 40), code, is_source=True)
        for place, code in enumerate(SEVENTEEN)
    )
    axes = Figure().subplots()
    draw_curves(axes, Curves("F1", "F1", lines))
    shown = {text.get_text().split()[0] for text in axes.texts}
    assert shown == {*SEVENTEEN[:3], *SEVENTEEN[-3:]}


def test_a_language_has_one_colour_in_all_panels_of_a_figure(tmp_path):
    languages = {"en": 0.8, "ar": 0.6, "bn": 0.5}
    made = make_run(tmp_path / "run", languages=languages, validated=("en", "bn"), tested=("ar", "bn"), n=60, epochs=2)
    drawn = draw(build_figures(load_run(made))["accuracies"])
    colours = [{text.get_text().split()[0]: text.get_color() for text in ax.texts} for ax in drawn.axes]
    assert colours[0]["bn"] == colours[1]["bn"]
    assert len({colours[0]["en"], colours[0]["bn"], colours[1]["ar"]}) == 3


def test_class_names_stay_apart_and_a_roc_line_bears_its_own():
    names = class_names(["very dissatisfied with the food", "very dissatisfied with the staff", "\u0987", "neutral"])
    assert len(set(names)) == 4
    assert names[2:] == ["class 2", "neutral"]
    assert len(set(class_names(["a long name that ends alike 1 x", "a long name that ends alike 2 x"]))) == 2


def test_the_roc_line_of_two_classes_in_another_script_is_that_of_the_second(tmp_path):
    labels = ("\u09a8\u09c7\u09a4\u09bf", "\u0987\u09a4\u09bf")
    run = load_run(make_run(tmp_path / "run", labels=labels, languages={"en": 0.8}, epochs=1, n=60))
    drawn = draw(build_figures(run)["roc_curve"])
    assert drawn.axes[0].get_legend().get_texts()[0].get_text().startswith("class 1 ")


def test_of_many_classes_the_best_and_the_worst_curves_are_named(tmp_path):
    labels = tuple(f"label{place}" for place in range(13))
    run = load_run(make_run(tmp_path / "run", labels=labels, languages={"en": 0.7}, epochs=1, n=240))
    data = build_figures(run)["roc_curve"]
    aucs = sorted((line.auc for line in data.panels[0].lines), reverse=True)
    named = [text.get_text() for text in draw(data).axes[0].get_legend().get_texts()]
    assert named[-1] == "9 classes between"
    assert [text.split()[-1] for text in named[:-1]] == [f"{auc:.3f}" for auc in (*aucs[:2], *aucs[-2:])]


def test_a_label_that_a_language_was_not_annotated_with_has_no_share_of_errors():
    """Afrikaans has no surprise: an empty row that says so, and not one without errors."""
    labels = np.array([[1, 0, -1], [0, 1, -1], [1, 1, -1]])
    panel = _errors("afr", label_sets(labels, np.full(labels.shape, 0.5), np.zeros(labels.shape, bool)))
    assert panel.blank == (2,)
    figure = Figure(figsize=(6, 4))
    draw_cooccurrence(figure, Cooccurrence("test", ("anger", "joy", "surprise"), (panel,)))
    (ax,) = figure.axes
    said = [text.get_text() for text in ax.texts]
    assert said.count("not annotated") == 1
    assert sorted(said) == sorted(["2", "2", "50 %\n1", "50 %\n1", "not annotated"])
