"""A pretraining run where a classifier is wanted: one answer, whatever was to be done with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from glotune.errors import UserError
from glotune.hub.card import model_card
from glotune.run.directory import RunDirectory
from glotune.verbs.average import average
from glotune.verbs.calibrate import calibrate
from glotune.verbs.evaluate import evaluate
from glotune.verbs.opening import open_place
from glotune.verbs.reproduce import reproduce
from made_runs import make_run


@pytest.mark.parametrize(
    "use",
    [
        evaluate,
        model_card,
        open_place,
        reproduce,
        lambda run: average([run, run.parent / "other"]),
        lambda run: calibrate(RunDirectory.open(run)),
    ],
    ids=["evaluate", "push", "predict", "reproduce", "average", "calibrate"],
)
def test_a_pretraining_run_is_named_as_one(tmp_path: Path, use: Callable[[Path], object]) -> None:
    make_run(tmp_path / "other", "sound")
    run = make_run(tmp_path / "encoder", "sound")
    run.update_manifest(kind="pretrain")
    run.recipe.write_text("objective: {mlm: 1.0}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"encoder is a pretraining run: it has no classifier.*a run of glotune train"):
        use(run.path)
