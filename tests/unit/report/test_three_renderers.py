"""Pictures, page and terminal show the same computed lines: none of them works out a number of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from glotune.monitor.watcher import Watcher
from glotune.report.content import gather
from glotune.report.figures.build import build_figures
from glotune.report.figures.model import CurvePanels, Curves, LearningRate
from glotune.report.page import run_payload
from glotune.run.data import RunData, load_run
from made_runs import make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunData:
    return load_run(make_run(tmp_path_factory.mktemp("made") / "run", "sound", sources=("en", "bn")))


def panels(run: RunData, name: str) -> tuple[Curves, ...]:
    found = build_figures(run)[name]
    assert isinstance(found, CurvePanels)
    return found.panels


@pytest.mark.parametrize(
    ("name", "metric", "splits"),
    [
        ("losses", "loss", ["validation"]),
        ("accuracies", "accuracy", ["validation", "test"]),
        ("f1_scores", "macro_f1", ["validation", "test"]),
    ],
)
def test_the_page_has_the_lines_of_the_pictures(run: RunData, name: str, metric: str, splits: list[str]) -> None:
    drawn, shown = panels(run, name), run_payload(gather(run), 0, 5)["history"]["curves"][metric]
    assert [panel.split for panel in drawn] == splits
    for panel, payload in zip(drawn, shown, strict=False):
        lines = [line for line in panel.series if not line.is_faint]
        assert [(each["language"], each["x"], each["y"]) for each in payload["lines"]] == [
            (line.language, line.x, line.y) for line in lines
        ]
        assert payload["title"] == panel.title
        assert [each["value"] for each in payload["references"]] == [each.value for each in panel.references]
    assert all(payload["title"] for payload in shown)


def test_the_terminal_has_the_lines_of_the_pictures(run: RunData) -> None:
    view = Watcher(run.directory).look()
    for split, panel in zip(("validation", "test"), panels(run, "f1_scores"), strict=True):
        told = {row.code: row.values for row in view.languages if row.split == split}
        assert told == {line.language: line.y for line in panel.series if line.language}
        assert list(told)[:2] == ["bn", "en"], "source languages first"
    (losses,) = panels(run, "losses")
    assert view.loss.y == next(line.y for line in losses.series if line.is_faint)
    each = [line.y for line in losses.series if line.language]
    assert [loss for _, loss in view.validation_loss] == pytest.approx(
        [sum(at) / len(each) for at in zip(*each, strict=True)]
    )
    rate = build_figures(run)["learning_rate"]
    assert isinstance(rate, LearningRate)
    assert (view.learning_rate.x, view.learning_rate.y) == (rate.steps, rate.rate)


def test_a_test_split_seen_once_is_no_curve_anywhere(tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path / "run", "sound", epochs=1))
    assert [panel.split for panel in panels(run, "f1_scores")] == ["validation"]
    shown = run_payload(gather(run), 0, 5)["history"]["curves"]["macro_f1"]
    assert [panel["split"] for panel in shown] == ["validation"]
