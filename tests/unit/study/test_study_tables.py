"""The tables that only a study has, from made-up runs and costs."""

from pathlib import Path

import pytest

from glotune.evidence.cells import NOTHING, Cell, Column, ComparisonTable
from glotune.evidence.variants import group
from glotune.recipe.study import StudyRecipe
from glotune.recipe.study_loading import resolve_study
from glotune.run.data import load_run
from glotune.study.evidence import costs_of
from glotune.study.plan import PlannedRun, StudyPlan
from glotune.study.tables import costs_table, factor, matrix_tables, without_empty_columns
from made_runs import make_run


def plan_of(folds: int | None = None) -> StudyPlan:
    study = StudyRecipe.model_validate(
        {
            "name": "made",
            "recipe": {"model": {"name": "folder"}, "data": {"train": "en.csv"}},
            "variants": {"a": {}, "b": {"train.epochs": 9}},
            "seeds": 2,
            "folds": folds,
        }
    )
    resolved = resolve_study(study)
    runs = [
        PlannedRun(f"{name}-seed{seed}" + (f"-fold{fold}" if fold else ""), name, seed, fold, recipe)
        for seed in study.seeds
        for name, recipe in resolved.variants.items()
        for fold in (range(1, folds + 1) if folds else [None])
    ]
    return StudyPlan(resolved, tuple(runs), {})


def test_costs_of_folds_are_added_up_and_sizes_are_the_largest() -> None:
    plan = plan_of(folds=2)
    results = {
        "a-seed0-fold1": {"run": "x", "train_seconds": 10.0, "peak_memory_bytes": 5e8, "texts_per_second": 100.0},
        "a-seed0-fold2": {"run": "y", "train_seconds": 14.0, "peak_memory_bytes": 7e8, "texts_per_second": 300.0},
        "a-seed1-fold1": {"train_seconds": 10.0},
    }
    assert costs_of(plan, results, "a", 0) == {
        "train_seconds": 24.0,
        "peak_memory_bytes": 7e8,
        "texts_per_second": 200.0,
    }
    assert costs_of(plan, results, "a", 1) == {}, "a fold is missing"
    assert costs_of(plan, results, "b", 0) == {}


def test_a_cost_that_one_run_could_not_measure_is_left_out() -> None:
    plan = plan_of()
    results = {"a-seed0": {"total_seconds": None, "train_seconds": 3.0, "jobs": 2}, "a-seed1": {"train_seconds": 5.0}}
    assert "total_seconds" not in costs_of(plan, results, "a", 0)
    table = costs_table(plan, results, "cpu")
    cells = dict(zip([column.name for column in table.columns], table.rows[0], strict=True))
    assert cells["Time in steps"] == Cell("4 s", 4.0)
    assert cells["Whole run"].text == NOTHING
    assert "2 runs shared the machine" in table.notes[0]
    assert "device memory" in costs_table(plan, results, "cuda").notes[0]


@pytest.fixture
def by_source(tmp_path: Path) -> list[Path]:
    languages = {"en": {"en": 0.9, "bn": 0.5, "ar": 0.6}, "bn": {"en": 0.6, "bn": 0.8, "ar": 0.5}}
    return [
        make_run(
            tmp_path / f"{source}-{seed}", name=f"from-{source}", seed=seed, n=90, sources=(source,), languages=scores
        ).path
        for source, scores in languages.items()
        for seed in (0, 1)
    ]


def test_variants_with_different_sources_make_a_matrix(by_source: list[Path]) -> None:
    runs = [load_run(path) for path in by_source]
    (table,) = matrix_tables(group(runs), "accuracy", "test")
    assert [column.name for column in table.columns][:4] == ["Trained on", "Bangla (bn)", "English (en)", "Arabic (ar)"]
    assert [row[0].text for row in table.rows] == ["Bangla (bn)", "English (en)"]
    expected = sum(run.score("test", "accuracy", ["bn"]) or 0 for run in runs[:2]) / 2
    assert table.rows[1][1].value == pytest.approx(expected)
    others = [table.rows[1][1].value or 0, table.rows[1][3].value or 0]
    assert table.rows[1][4].value == pytest.approx(sum(others) / 2)


def test_variants_with_one_source_make_none(by_source: list[Path]) -> None:
    runs = [load_run(path) for path in by_source[:2]]
    assert matrix_tables(group(runs), "accuracy", "test") == []


def test_columns_without_a_figure_are_left_out_and_named() -> None:
    columns = (Column("Run", is_numeric=False), Column("Last test in training Loss"), Column("Final test Loss"))
    rows = ((Cell("a"), Cell(NOTHING), Cell("0.9", 0.9)), (Cell("b"), Cell(NOTHING), Cell(NOTHING)))
    table = without_empty_columns(ComparisonTable("Runs", columns, rows))
    assert [column.name for column in table.columns] == ["Run", "Final test Loss"]
    assert [len(row) for row in table.rows] == [2, 2]
    assert "No run of this study has: Last test in training Loss. The final test is the only one" in table.notes[-1]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1.2345, "× 1.23"), (950.0, "× 950"), (8e6, "over × 1,000"), (0.002, "× 0.002"), (3e-9, "under × 0.001")],
)
def test_a_bound_beyond_reason_is_given_as_such(value: float, shown: str) -> None:
    assert factor(value) == shown
