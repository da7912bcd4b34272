"""What a run wrote, held by its hashes; texts left out; leaks read without the rest of the profile."""

import json

import numpy as np
import pytest

from glotune.errors import UserError
from glotune.run.data import load_run
from glotune.run.directory import RunDirectory
from made_runs import make_run

SMALL = {"languages": {"en": 0.8, "bn": 0.6}, "n": 40, "epochs": 1}


@pytest.fixture
def made(tmp_path) -> RunDirectory:
    return make_run(tmp_path / "run", "sound", leaked=5, **SMALL)


def test_a_finished_run_is_as_it_was_written(made):
    run = load_run(made)
    assert run.altered == ()
    assert set(made.hashes()) == {
        "recipe.yaml", "metrics.json", "data_profile.json",
        *(f"predictions/{split}.{code}.parquet" for split in ("test", "validation") for code in ("en", "bn")),
    }  # fmt: skip
    assert run.require_scores() is run


def test_what_was_changed_added_or_deleted_is_named(made):
    made.data_profile.write_text(made.data_profile.read_text() + " ")
    (made.predictions / "test.hi.parquet").write_bytes((made.predictions / "test.bn.parquet").read_bytes())
    (made.predictions / "test.en.parquet").unlink()
    run = load_run(made)
    assert run.altered == ("data_profile.json", "predictions/test.en.parquet", "predictions/test.hi.parquet")
    with pytest.raises(UserError, match=r"test\.hi\.parquet is not what the run wrote"):
        run.outcomes("test", "hi")
    with pytest.raises(UserError, match=r"data_profile\.json is not what the run wrote"):
        run.require_scores()
    assert run.outcomes("test", "bn").num_texts == 40
    with pytest.raises(UserError, match=r"holds no predictions for test/en.*glotune reproduce"):
        run.outcomes("test", "en")


def test_a_run_without_hashes_vouches_for_nothing_and_is_read(made):
    content = json.loads(made.manifest_path.read_text())
    del content["outputs"]
    made.manifest_path.write_text(json.dumps(content))
    made.metrics_path.write_text(made.metrics_path.read_text() + " ")
    run = load_run(made)
    assert not run.has_hashes
    assert run.altered == ()
    assert run.require_scores() is run


def test_texts_left_out_are_in_no_score(made):
    run, rows = load_run(made), load_run(made).leaked["test"]["bn"]
    assert rows == run.data.leaked["test"]["bn"] == [1, 2, 3, 4, 5]
    table = run.predictions("test", "bn")
    listed = run.leaked_among(table)
    places = np.flatnonzero(listed[table.order_B])
    assert np.array_equal(table.row_B[table.order_B][places], rows)
    left = run.leaving_out({("test", "bn"): places})
    assert left.texts("test", ["bn", "en"]) == run.texts("test", ["bn", "en"]) - 5
    expected = table.without(listed)
    assert left.outcomes("test", "bn").num_texts == 35
    assert np.array_equal(left.outcomes("test", "bn").confusion_CC, expected.confusion_CC)
    assert left.score("test", "accuracy", ["bn"]) == pytest.approx(
        expected.confusion_CC.trace() / expected.confusion_CC.sum()
    )
    assert left.score("test", "accuracy", ["en"]) == run.score("test", "accuracy", ["en"])


def test_a_profile_that_can_t_be_read_has_no_leaks(made):
    for content in ('{"leaked": {"test": {"bn": [1, 2', '{"leaked": 5}', "", '{"splits": {}}'):
        made.data_profile.write_text(content)
        assert load_run(made).leaked == {}
