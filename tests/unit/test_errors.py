"""Errors in the hands of other programs: caught as what they are, and carried between processes."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from glotune.engine.loop import DivergedTraining
from glotune.engine.watch import CollapsedTraining
from glotune.errors import GlotuneError, InterruptedRun, MissingExtra, RunError, UserError
from glotune.run.directory import RunDirectory


def test_a_user_error_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="no such thing"):
        raise UserError("no such thing")
    assert not isinstance(RunError("the machine's fault"), ValueError)


@pytest.mark.parametrize(
    "error",
    [
        UserError("column 'lable'", where="en.csv", expected="'label'", remedy="Rename it"),
        MissingExtra("ray", "ray", "A cluster"),
        *(kind("it stopped") for kind in (GlotuneError, RunError, InterruptedRun, DivergedTraining, CollapsedTraining)),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_of_another_process_arrives_whole(error: GlotuneError) -> None:
    arrived = pickle.loads(pickle.dumps(error))
    assert type(arrived) is type(error)
    assert (str(arrived), vars(arrived)) == (str(error), vars(error))


def test_what_reads_numbers_and_json_swallows_no_user_error(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"schema": 999}))
    with pytest.raises(UserError, match=r"has schema 999.*Update glotune"):
        RunDirectory(tmp_path).read_manifest()
