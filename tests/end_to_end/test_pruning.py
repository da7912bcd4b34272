"""A run whose pruner says that it is not worth going on with, and a run that leaves its test texts unread."""

from __future__ import annotations

from pathlib import Path

import pytest

from glotune.engine.loop import PrunedTraining
from glotune.run.directory import RunDirectory
from glotune.run.records import RunStatus
from glotune.run.state import State, state_of
from glotune.verbs.resume import resume
from glotune.verbs.train import train
from small_runs import small_recipe


class Impatient:
    """Lets a run go on until an epoch, and keeps what it was asked."""

    def __init__(self, until: int) -> None:
        self.until = until
        self.asked: list[tuple[int, float]] = []

    def goes_on(self, epoch: int, value: float) -> bool:
        self.asked.append((epoch, value))
        return epoch < self.until


def test_a_pruned_run_stops_cleanly_and_says_so(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path, train__epochs=4, data__hide_test=True, evaluate__baselines=False)
    pruner = Impatient(until=2)
    with pytest.raises(PrunedTraining):
        train(recipe, out=tmp_path / "run", pruner=pruner)
    run = RunDirectory.open(tmp_path / "run")
    manifest = run.read_manifest()
    assert (manifest.status, manifest.reason) == (RunStatus.PRUNED, "pruned after epoch 2 of 4")
    assert state_of(run) is State.PRUNED
    assert not run.metrics_path.exists()
    assert [epoch for epoch, _ in pruner.asked] == [1, 2]
    assert pruner.asked == sorted(pruner.asked), "the best value so far never falls"

    again = Impatient(until=2)
    with pytest.raises(PrunedTraining):
        resume(run.path, pruner=again)
    assert again.asked == pruner.asked[1:], "taken up before the epoch's end, it is asked the same again"

    patient = Impatient(until=9)
    whole = resume(run.path, report=False, pruner=patient)
    assert whole.manifest.status is RunStatus.COMPLETE
    assert [epoch for epoch, _ in patient.asked] == [2, 3], "after the last epoch nothing is asked"
    assert "validation" in whole.metrics
    assert "test" not in whole.metrics, "the test texts were left out"
