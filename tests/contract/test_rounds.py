"""C6 for self-training: a run in rounds that was ended anywhere goes on as if nothing had happened."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from glotune import train
from glotune.engine.observer import Silent
from glotune.errors import InterruptedRun
from glotune.evidence.equality import differences
from glotune.recipe import Recipe
from glotune.run.records import RunStatus
from glotune.run.teaching import Round
from glotune.verbs import sealed_rounds, self_training
from glotune.verbs.lifecycle import Run
from glotune.verbs.resume import resume
from small_runs import rounds_recipe

EXTRAS = pytest.mark.extras


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("rounds")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLOTUNE_CACHE", str(folder / "cache"))
        patch.setattr(self_training, "is_one_class", lambda *_: False)
        yield folder


@pytest.fixture(scope="module")
def recipe(place: Path) -> Recipe:
    return rounds_recipe(place, train__epochs=2, checkpoints__every=5)


@pytest.fixture(scope="module")
def whole(place: Path, recipe: Recipe) -> Run:
    found = train(recipe, out=place / "whole", report=False)
    assert [each.number for each in rounds_of(found)] == [0, 1, 2]
    return found


def rounds_of(run: Run) -> list[Round]:
    """Without their times."""
    record = run.manifest.self_training
    assert record is not None
    return [each.model_copy(update={"wall": {}}) for each in record.rounds]


def assert_equal(whole: Run, again: Run) -> None:
    assert again.manifest.status is RunStatus.COMPLETE
    assert differences(whole.directory, again.directory) == []
    assert rounds_of(again) == rounds_of(whole)
    kept = [run.manifest.self_training.kept for run in (whole, again)]  # type: ignore[union-attr]
    assert kept[0] == kept[1]
    for number in range(3):
        for name in ("labels.parquet", "predictions/test.es.parquet"):
            one, other = ((run.path / "rounds" / str(number) / name).read_bytes() for run in (whole, again))
            assert one == other, f"round {number}: {name}"
    assert again.manifest.verdict == whole.manifest.verdict
    assert again.manifest.changes == whole.manifest.changes
    assert not list(again.path.glob("rounds/.*")), "nothing is left over"


class Stops(Silent):
    """Asks the run to stop after a step of a round, as a signal does."""

    def __init__(self, number: int, step: int) -> None:
        self.number, self.step, self.now = number, step, -1

    def log(self, message: str) -> None:
        self.now += message.startswith("self-training: round") and " of at most " in message

    def progress(self, stage: str, done: int, total: int, metrics: Any) -> None:
        if stage == "train" and (self.now, done) == (self.number, self.step):
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(
    ("number", "step"), [pytest.param(0, 7, marks=EXTRAS), (1, 3), pytest.param(2, 8, marks=EXTRAS)]
)
def test_a_run_that_was_stopped_in_a_round_goes_on(
    whole: Run, recipe: Recipe, tmp_path: Path, number: int, step: int
) -> None:
    with pytest.raises(InterruptedRun, match=f"after step {step}"):
        train(recipe, out=tmp_path / "run", observer=Stops(number, step), report=False)
    again = resume(tmp_path / "run", report=False)
    assert again.manifest.attempt == 2
    assert_equal(whole, again)


class Killed(BaseException):
    """Ends a run where it stands: nothing handles it."""


def killed_at(call: int, function: Callable[..., Any], *, after: bool = False) -> Callable[..., Any]:
    """The same function, at whose n-th call the process dies, before or after."""
    count = 0

    def wrapped(*args: Any, **keywords: Any) -> Any:
        nonlocal count
        count += 1
        if count == call and not after:
            raise Killed
        found = function(*args, **keywords)
        if count == call:
            raise Killed
        return found

    return wrapped


@pytest.mark.parametrize(
    ("name", "call", "after"),
    [
        pytest.param("self_training.cached_answers", 1, True, marks=EXTRAS),  # labelled, not sealed
        pytest.param("sealed_rounds.linked", 2, True, marks=EXTRAS),  # half-sealed
        ("self_training.clear", 1, False),  # sealed, not cleared
        pytest.param("self_training.clear", 2, True, marks=EXTRAS),  # cleared, not counted
        pytest.param("sealed_rounds.linked", 4, False, marks=EXTRAS),  # all made, none put back
        ("sealed_rounds.linked", 4, True),  # put back, not said
        pytest.param("self_training.start_trackers", 1, True, marks=EXTRAS),  # said, not complete
    ],
)  # fmt: skip
def test_a_run_that_was_killed_between_rounds_goes_on(
    whole: Run, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, call: int, after: bool
) -> None:
    with monkeypatch.context() as patch:
        module, function = name.split(".")
        place = {"self_training": self_training, "sealed_rounds": sealed_rounds}[module]
        patch.setattr(place, function, killed_at(call, getattr(place, function), after=after))
        with pytest.raises(Killed):
            train(recipe, out=tmp_path / "run", report=False)
    (tmp_path / "run" / "rounds" / ".1.left-over.tmp").mkdir(parents=True, exist_ok=True)  # as kill -9 leaves it
    assert_equal(whole, resume(tmp_path / "run", report=False))
