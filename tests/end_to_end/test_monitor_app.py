"""The live monitor, driven by Textual's pilot: every key, narrow terminals, no colour, runs that come and go."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from glotune.run.lock import locked
from glotune.run.records import RunStatus
from made_events import event
from made_runs import make_run

pytestmark = pytest.mark.extras
pytest.importorskip("textual", reason="needs the extra 'monitor'")

from textual.widgets import TabbedContent  # noqa: E402

from glotune.monitor.app import MonitorApp  # noqa: E402
from glotune.monitor.table import RunsTable  # noqa: E402


def drive(place: Path, script: Callable[[Any, Any], Awaitable[None]], size: tuple[int, int] = (110, 40)) -> None:
    async def play() -> None:
        app = MonitorApp(place)
        async with app.run_test(size=size) as pilot:
            await looked(app, pilot)
            await script(app, pilot)

    asyncio.run(play())


async def looked(app: Any, pilot: Any) -> None:
    """Waits until a look that began now is drawn."""
    await pilot.pause()
    screen = app.screen_stack[1]
    before, deadline = screen._views, time.monotonic() + 30
    while screen._views is before:
        assert time.monotonic() < deadline
        screen._fleet.expire()
        screen.look()
        await pilot.pause(0.05)


def shown(app: Any) -> str:
    """The text on the screen, line by line."""
    return "\n".join("".join(segment.text for segment in strip) for strip in app.screen._compositor.render_strips())


def table(app: Any) -> list[list[str]]:
    cells: list[list[str]] = app.screen_stack[1].query_one(RunsTable).cells
    return cells


def test_a_running_run_with_every_tab(tmp_path: Path) -> None:
    run = make_run(tmp_path / "live", "running")
    run.log.write_text("the log speaks\n")
    (run.checkpoints / "step-00000040").mkdir(parents=True)
    (run.checkpoints / "step-00000040" / "weights.safetensors").write_bytes(b"x" * 2048)

    async def script(app: Any, pilot: Any) -> None:
        assert table(app)[0][:2] == ["live", "running"]
        assert "step 60 of 120, epoch 3 of 6" in shown(app)
        assert "training loss, now" in shown(app)
        await pilot.press("2")
        await pilot.pause()
        assert "en (source)" in shown(app)
        await pilot.press("3")
        await pilot.pause()
        assert "step-00000040  40    2.0 KiB" in shown(app)
        await pilot.press("4")
        await pilot.pause()
        assert "the log speaks" in shown(app)
        run.append_events([event("step", 61, loss=0.5), event("alert", 61, what="collapsed", message="one class only")])
        await looked(app, pilot)
        assert "ALERT step 61: one class only" in shown(app)
        assert table(app)[0][2] == "collapsed?"
        run.update_manifest(status=RunStatus.COMPLETE)
        await looked(app, pilot)
        assert table(app)[0][1] == "complete"
        assert app.screen.query_one(TabbedContent).active == "log"

    with locked(run.lock):
        drive(run.path, script)


def test_many_runs_are_chosen_by_keys_and_new_ones_appear(tmp_path: Path) -> None:
    for kind in ("sound", "collapsed"):
        make_run(tmp_path / kind, kind)  # type: ignore[arg-type]

    async def script(app: Any, pilot: Any) -> None:
        assert [row[0] for row in table(app)] == ["collapsed", "sound"]
        assert "verdict collapsed" in shown(app)
        await pilot.press("n")
        await pilot.pause()
        assert "verdict sound" in shown(app)
        make_run(tmp_path / "another", "diverged")
        await looked(app, pilot)
        assert [row[0] for row in table(app)] == ["another", "collapsed", "sound"]
        assert "verdict sound" in shown(app), "the chosen run stays chosen"
        await pilot.press("p", "p")
        await pilot.pause()
        assert "verdict diverged" in shown(app)

    drive(tmp_path, script)


@pytest.mark.parametrize("size", [(40, 16), (60, 24), (200, 60)])
def test_any_terminal_shows_state_and_score(tmp_path: Path, size: tuple[int, int]) -> None:
    make_run(tmp_path / "a-run", "overfit")

    async def script(app: Any, pilot: Any) -> None:
        assert "a-run" in shown(app)
        assert "complete" in shown(app)
        assert all(len(line) <= size[0] for line in shown(app).splitlines())
        await pilot.resize_terminal(100, 30)
        await pilot.pause()
        assert "verdict" in shown(app)

    drive(tmp_path, script, size)


def test_scores_are_not_called_f1(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "running")
    run.update_manifest(task="score", source_languages=["en"])
    run.append_events([event("evaluation", 60, key="validation/en", n=10, loss=0.5, pearson=0.4321, macro_f1=0.9)])
    (run.checkpoints / "step-00000060").mkdir(parents=True)

    async def script(app: Any, pilot: Any) -> None:
        assert "0.4321" in table(app)[0]
        assert "score" in shown(app)
        for tab in "123?":
            await pilot.press("question_mark" if tab == "?" else tab)
            await pilot.pause()
            assert "F1" not in shown(app)
            assert ("Pearson's r" in shown(app)) == (tab in "23")

    drive(tmp_path, script)


def test_without_colour_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path / "run", "running")
    monkeypatch.setenv("NO_COLOR", "1")

    async def script(app: Any, pilot: Any) -> None:
        assert app.no_color
        assert "CRASHED: its process is gone" in shown(app)
        assert table(app)[0][1] == "crashed"

    drive(tmp_path, script)


def test_help_opens_and_closes_and_q_quits(tmp_path: Path) -> None:
    async def script(app: Any, pilot: Any) -> None:
        assert "No runs in" in shown(app)
        await pilot.press("question_mark")
        await pilot.pause()
        assert "choose a run" in shown(app)
        await looked(app, pilot)  # the screen below goes on
        await pilot.press("escape")
        await pilot.pause()
        assert "choose a run" not in shown(app)
        await pilot.press("q")
        await pilot.pause()
        assert app.return_code == 0

    drive(tmp_path, script)


def test_an_unreadable_run_is_named_beside_the_others(tmp_path: Path) -> None:
    make_run(tmp_path / "good", "sound")
    make_run(tmp_path / "bad", "sound").manifest_path.write_text("{")

    async def script(app: Any, pilot: Any) -> None:
        assert [row[0] for row in table(app)] == ["good"]
        assert "can't be read as a manifest" in shown(app).replace("\n", " ")

    drive(tmp_path, script, (200, 40))
