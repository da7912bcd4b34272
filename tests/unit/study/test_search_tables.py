"""The report of a search: its trials, what pruning saved, the winner's score beside the one it was chosen by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from glotune.evidence.cells import ComparisonTable
from glotune.recipe.search import Search
from glotune.recipe.space import axes_of
from glotune.report.drawing.files import draw
from glotune.report.figures.search import search_slices
from glotune.run.data import RunData, load_run
from glotune.run.trials import SearchRecord, Trial
from glotune.study.search_tables import ORACLE, found_table, search_table
from made_runs import make_run

SEARCH = Search.model_validate(
    {
        "space": {
            "optimizer.learning_rate": {"low": 1e-5, "high": 1e-3, "log": True},
            "model.freeze": [{"embeddings": False}, {"embeddings": True, "layers": 2}],
        },
        "budget": {"runs": 5},
    }
)
AXES = axes_of(SEARCH)
FREE, FROZEN = AXES[1].choices or ()


def record(**changed: Any) -> SearchRecord:
    made: dict[str, Any] = {
        "content": {"seed": 1000}, "recipe": "", "metric": "macro_f1", "on": "source", "higher_is_better": True,
        "first_rung": 1, "winner": 2, "ended": "its budget of 5 trials is used",
    }  # fmt: skip
    return SearchRecord.model_validate({**made, **changed})


def trial(number: int, rate: float, freeze: Any, **changed: Any) -> Trial:
    values = {"optimizer.learning_rate": rate, "model.freeze": freeze}
    made = Trial(number=number, values=values, state="complete", epochs=4.0, verdict="sound", seconds=10.0)
    return made.model_copy(update=changed)


TRIALS = [
    trial(0, 2e-5, FREE, value=0.6, is_plain=True),
    trial(1, 5e-4, FREE, value=0.3, state="pruned", epochs=1.0, verdict=None),
    trial(2, 1e-4, FROZEN, value=0.95),
    trial(3, 9e-4, FROZEN, value=0.97, verdict="collapsed"),
    trial(4, 8e-4, FREE, state="failed", reason="its disk was full", value=None, verdict=None),
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[RunData]:
    folder = tmp_path_factory.mktemp("fresh")
    made = []
    for name, share in (("plain", 0.6), ("winner", 0.8)):
        for seed in range(2):
            languages = {"en": share, "bn": share - 0.1}
            path = folder / f"{name}-seed{seed}"
            made.append(load_run(make_run(path, name=name, seed=seed, n=90, epochs=2, languages=languages)))
    return made


def column(table: ComparisonTable, name: str) -> list[str]:
    place = [each.name for each in table.columns].index(name)
    return [row[place].text for row in table.rows]


def test_the_sound_ones_come_first_and_what_pruning_saved_is_told() -> None:
    table = search_table(record(), TRIALS, AXES, 4, Path("../search"))
    assert column(table, "Trial") == [
        "trial-0002 (winner)", "trial-0000 (plain)", "trial-0003", "trial-0001", "trial-0004",
    ]  # fmt: skip
    assert column(table, "Outcome") == ["complete, sound", "complete, sound", "collapsed", "pruned",
                                        "failed: its disk was full"]  # fmt: skip
    assert column(table, "Macro-F1, source validation") == ["95.0", "60.0", "97.0", "30.0", "–"]
    assert column(table, "optimizer.learning_rate")[0] == "0.0001"
    assert table.rows[0][0].href == "../search/runs/trial-0002/recipe.yaml"
    notes = " ".join(table.notes)
    assert "5 trials: 2 complete, 1 pruned, 1 collapsed, 1 failed; 50 s of optimizer steps" in notes
    assert "1 of 5 were left early. They would have been trained for 3 epochs more" in notes
    assert ORACLE not in table.notes


def test_the_winner_s_worth_stands_beside_what_it_was_chosen_by(runs: list[RunData]) -> None:
    own = {"optimizer.learning_rate": 2e-5, "model.freeze": FREE}
    table = found_table(record(), TRIALS, runs, own)
    plain, winner = column(table, "Plain: Macro-F1"), column(table, "Winner: Macro-F1")
    assert (plain[0], winner[0]) == ("60.0", "95.0"), "of the search, one seed"
    assert [row[0].text.partition(":")[0] for row in table.rows] == ["In the search", *["Fresh seeds"] * 3]
    fresh = {run.name: [each.main["bn"].scores["macro_f1"] for each in runs if each.name == run.name] for run in runs}
    assert winner[3].startswith(f"{100 * sum(fresh['winner']) / 2:.1f} [")
    gap = 100 * (sum(fresh["winner"]) - sum(fresh["plain"])) / 2
    assert column(table, "Winner minus plain")[3] == f"{gap:+.1f}"
    notes = " ".join(table.notes)
    assert "optimizer.learning_rate 0.0001 (plain: 2e-05)" in notes
    assert "the winner lost" in notes, "95 was luck"


def test_an_oracle_is_called_one_in_every_output(runs: list[RunData]) -> None:
    oracle = record(on="target")
    assert search_table(oracle, TRIALS, AXES, 4, Path("../search")).notes[0] == ORACLE
    assert found_table(oracle, TRIALS, runs, dict.fromkeys(SEARCH.space)).notes[0] == ORACLE
    slices = search_slices(oracle, TRIALS, AXES)
    assert slices is not None
    assert "oracle" in slices.y_label


def test_the_picture_has_a_point_for_each_trial_with_a_score() -> None:
    slices = search_slices(record(), TRIALS, AXES)
    assert slices is not None
    rate, freeze = slices.panels
    assert [point.outcome for point in rate.points] == ["complete", "pruned", "complete", "unsound"]
    assert [point.x for point in freeze.points] == [0.0, 0.0, 1.0, 1.0]
    assert freeze.choices == ("embeddings: off", "embeddings: on, layers: 2")
    assert rate.is_log
    assert [point.is_winner for point in rate.points] == [False, False, True, False]
    axes = draw(slices).axes
    assert [ax.get_title(loc="left") for ax in axes[:2]] == ["optimizer.learning_rate", "model.freeze"]
    assert axes[0].get_xscale() == "log"
    assert search_slices(record(), TRIALS[4:], AXES) is None
