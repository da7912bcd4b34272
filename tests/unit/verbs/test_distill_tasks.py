"""A teacher of several labels, and one of scores: asked, learned from, and set beside its student."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glotune import train
from glotune.data.reading import read_texts
from glotune.data.unlabelled import read_unlabelled, with_unlabelled
from glotune.errors import UserError
from glotune.recipe import Recipe
from glotune.report.teaching import paired_scores
from glotune.run.data import load_run
from glotune.run.records import Decision
from glotune.tasks.label_sets import LabelSetReading
from glotune.tasks.of_recipe import reading_of
from glotune.tasks.scores import ScoreReading
from glotune.verbs.distill import decided
from glotune.verbs.predict import load
from glotune.verbs.reproduce import reproduce
from small_runs import multi_label_recipe, score_recipe, sentences, small_recipe, write_csv

RECIPES: dict[str, Callable[..., Recipe]] = {"multi_label": multi_label_recipe, "score": score_recipe}
ES = [row["text"] for row in sentences("es", 30, 2)]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Of each task a folder with two trained teachers, and texts without labels."""
    folder = tmp_path_factory.mktemp("tasks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLOTUNE_CACHE", str(folder / "cache"))
        for task, recipe in RECIPES.items():
            (folder / task).mkdir()
            for seed in (0, 1):
                train(recipe(folder / task, seed=seed), out=folder / task / "runs" / str(seed), report=False)
            rows = [{"text": row["text"], "note": "x"} for row in sentences("en", 20, 5)]
            write_csv(folder / task / "more.en.csv", rows)
        yield {task: folder / task for task in RECIPES}


@pytest.fixture(params=RECIPES)
def place(places: dict[str, Path], request: pytest.FixtureRequest) -> Path:
    return places[request.param]


def student(place: Path, teacher: Any, **overrides: Any) -> Recipe:
    return RECIPES[place.name](place, distill__teacher=teacher, **overrides)


def test_teacher_and_student_stand_side_by_side(place: Path, tmp_path: Path) -> None:
    texts = {"en": str(place / "more.en.csv")}
    run = train(student(place, str(place / "runs"), model__layers=1, distill__texts=texts), out=tmp_path / "student")
    assert run.manifest.distillation is not None
    assert (run.manifest.distillation.unlabelled_texts, len(run.manifest.distillation.teachers)) == (20, 2)
    data = load_run(run.directory)
    assert data.history.steps[-1].step == 2 * 5, "an epoch goes through all 80 of them"
    assert data.teacher is not None
    (row,) = paired_scores(data)
    metric = data.kind.metric
    assert row.difference == pytest.approx(row.student.scores[metric] - row.teacher.scores[metric])  # type: ignore[operator]
    assert row.interval is not None
    report = (run.path / "report" / "report.md").read_text()
    if place.name == "score":
        assert "Student | Teacher | Difference |" in report
        assert "the mean of their scores" in report
        assert "weight 0.5; weight of the labels 0.5" in report
        assert "temperature" not in report
    else:
        assert "Student, % | Teacher, % | Difference, points |" in report
        assert "the mean of their probabilities" in report
        assert "temperature 2, weight 0.5" in report
    assert reproduce(run.path, out=tmp_path / "again").is_equal


def test_the_teachers_records_are_its_own_answers(place: Path, tmp_path: Path) -> None:
    teacher = place / "runs" / "0"
    run = train(student(place, str(teacher), model__layers=1), out=tmp_path / "student", report=False)
    theirs = load_run(run.directory).teacher
    assert theirs is not None
    own = load_run(teacher).evaluations["test"]["es"]
    (found,) = theirs.evaluations["test"].values()
    labels = ("macro_f1", "subset_accuracy", "average_precision", "loss")
    same = ("pearson", "spearman", "rmse", "mae") if place.name == "score" else labels
    for name in same:
        assert found.scores[name] == pytest.approx(own.scores[name], abs=1e-5), f"{name}: by its own thresholds"


def test_soft_targets_alone_bring_a_student_to_its_teacher(place: Path, tmp_path: Path) -> None:
    teacher = str(place / "runs" / "0")

    def distance(run: Any) -> float:
        theirs, own = load(teacher).predict_proba(ES), load(run.path).predict_proba(ES)
        return float(np.abs(own - theirs).mean())

    recipe = student(place, teacher, distill__weight=1.0, seed=3)
    few = train(recipe, {"train.epochs": 1, "optimizer.learning_rate": 1e-5}, out=tmp_path / "few", report=False)
    many = train(recipe, {"train.epochs": 12, "evaluate.metric": "loss"}, out=tmp_path / "many", report=False)
    assert distance(many) < 0.8 * distance(few)


def test_a_weight_of_0_is_training_without_a_teacher(place: Path, tmp_path: Path) -> None:
    alone = train(RECIPES[place.name](place, model__layers=1), out=tmp_path / "alone", report=False)
    recipe = student(place, str(place / "runs" / "0"), model__layers=1, distill__weight=0.0)
    taught = train(recipe, out=tmp_path / "taught", report=False)
    for name, value in alone.metrics["test"]["es"].items():
        if isinstance(value, float):
            assert taught.metrics["test"]["es"][name] == pytest.approx(value, abs=1e-4), name


def test_texts_without_labels_are_annotated_with_nothing(place: Path) -> None:
    recipe = RECIPES[place.name](place)
    texts = read_texts(recipe.data, 0, recipe.task)
    joined = with_unlabelled(texts, read_unlabelled({"en": str(place / "more.en.csv")}, recipe.data, "distill.texts"))
    assert joined.targets is not None
    found = joined.targets[joined.splits["train"].labels]
    assert np.isnan(found[60:]).all()
    assert not np.isnan(found[:60]).all(axis=1).any()
    assert np.array_equal(joined.targets[:-1], texts.targets, equal_nan=True)


def test_row_weights_beside_texts_without_labels(place: Path, tmp_path: Path) -> None:
    texts, keys = {"en": str(place / "more.en.csv")}, {"data__columns__weight": "trust"}
    if place.name == "multi_label":
        keys["loss__pos_weight"] = "balanced"
    recipe = student(place, str(place / "runs" / "0"), distill__texts=texts, train__epochs=1, **keys)
    run = train(recipe, out=tmp_path / "student", report=False)
    labelled = read_texts(recipe.data, 0, recipe.task)
    joined = with_unlabelled(labelled, read_unlabelled(texts, recipe.data, "distill.texts"))
    own, beside = reading_of(recipe, labelled), reading_of(recipe, joined)
    if isinstance(own, ScoreReading) and isinstance(beside, ScoreReading):
        assert run.manifest.decision is not None
        assert run.manifest.decision.means == pytest.approx(own.means_L)
        assert run.manifest.decision.deviations == pytest.approx(own.deviations_L)
    else:
        assert isinstance(own, LabelSetReading)
        assert isinstance(beside, LabelSetReading)
        assert beside.pos_weights_L == pytest.approx(own.pos_weights_L)
        assert not np.allclose(own.pos_weights_L, 1.0)


# ---- how the teachers' mean is answered ---------------------------------------------------------------


def test_the_mean_of_the_teachers_thresholds_decides() -> None:
    own = Decision(thresholds=[0.9, 0.9], fitted_on=["en"])
    found = decided("multi_label", own, [np.array([0.2, 0.5]), np.array([0.4, 0.5])])
    assert found is not None
    assert found.thresholds == pytest.approx([0.3, 0.5])
    assert found.fitted_on == ["en"], "texts that thresholds were fitted on are cross-fitted"
    assert decided("single_label", None, [None, np.array([0.4, 0.5])]) is None, "the most probable class"
    assert decided("score", own, [None]) is own


# ---- mistakes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("task", "other"), [("multi_label", "score"), ("score", "multi_label")])
def test_a_teacher_of_another_task(places: dict[str, Path], tmp_path: Path, task: str, other: str) -> None:
    with pytest.raises(
        UserError, match=rf"answers another task \({other}\)\. Expected a teacher of the run's own task, {task}"
    ):
        train(student(places[task], str(places[other] / "runs" / "0")), out=tmp_path / "out", report=False)
    assert not (tmp_path / "out").exists()


def test_a_teacher_of_several_labels_for_single_ones(places: dict[str, Path], tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path, distill__teacher=str(places["multi_label"] / "runs" / "0"))
    with pytest.raises(UserError, match="a teacher of the run's own task, single_label"):
        train(recipe, out=tmp_path / "out", report=False)


def test_a_teacher_of_other_scores(places: dict[str, Path], tmp_path: Path) -> None:
    place = places["score"]
    recipe = student(place, str(place / "runs" / "0"), data__columns__labels=["funny"])
    with pytest.raises(UserError, match="the label 'rude', the texts do not"):
        train(recipe, out=tmp_path / "out", report=False)


def test_scores_have_no_temperature(places: dict[str, Path]) -> None:
    with pytest.raises(UserError, match=r"distill\.temperature is for the task single_label or multi_label"):
        student(places["score"], "teacher", distill__temperature=1.0)
