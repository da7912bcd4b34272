"""A notebook shows the run by itself; whatever is no notebook keeps silent."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import glotune
from glotune.engine.observer import Bars, Silent, in_notebook, watching
from small_runs import small_recipe


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a kernel has in memory; without ipywidgets its bars are text."""
    ipython = ModuleType("IPython")
    ipython.get_ipython = lambda: SimpleNamespace(config={"IPKernelApp": {}})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "ipykernel.zmqshell", ModuleType("ipykernel.zmqshell"))


def test_only_a_notebook_is_shown_what_nobody_asked_for(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.delitem(sys.modules, "ipykernel.zmqshell", raising=False)
    assert isinstance(watching(None), Silent)
    request.getfixturevalue("notebook")
    assert in_notebook()
    assert isinstance(watching(None), Bars)
    own = Silent()
    assert watching(own) is own


@pytest.mark.usefixtures("notebook")
def test_a_run_in_a_notebook_shows_its_steps_and_losses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    glotune.train(small_recipe(tmp_path), out=tmp_path / "run", report=False)
    shown = capsys.readouterr()
    assert "Train: 100%" in shown.err
    assert "8/8" in shown.err
    last = shown.err.rpartition("Train: 100%")[2]
    assert "loss " in last
    assert "tokens/s" in last
    assert "epoch 1: training loss" in shown.out
    assert "epoch 2/2, step 8: validation loss" in shown.out


def test_bars_of_short_stages_go_and_totals_may_change(capsys: pytest.CaptureFixture[str]) -> None:
    bars = Bars()
    bars.progress("evaluate", 1, 4, {})
    bars.progress("evaluate", 2, 2, {})
    assert not bars._bars
    bars.log("a line")
    shown = capsys.readouterr()
    assert "1/2" in shown.err, "the total that was told last"
    assert shown.err.endswith("\r"), "the bar is wiped out"
    assert shown.out == "a line\n"
