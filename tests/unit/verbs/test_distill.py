"""A run with a teacher, from the recipe to the report; and every mistake with one, refused before there is a run."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from glotune import train
from glotune.data.reading import read_texts
from glotune.engine.observer import Silent
from glotune.errors import InterruptedRun, UserError
from glotune.recipe import Recipe
from glotune.report.content import gather
from glotune.report.teaching import paired_scores
from glotune.run.data import load_run
from glotune.run.records import RunStatus
from glotune.tasks.distillation import Distillation
from glotune.tasks.single_label import SingleLabel
from glotune.verbs import teachers
from glotune.verbs.predict import load
from glotune.verbs.preview import preview
from glotune.verbs.reproduce import reproduce
from glotune.verbs.resume import resume
from small_runs import sentences, small_recipe, write_csv


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a trained teacher of two seeds, and texts without labels."""
    folder = tmp_path_factory.mktemp("distill")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLOTUNE_CACHE", str(folder / "cache"))
        for seed in (0, 1):
            train(small_recipe(folder, seed=seed), out=folder / "study" / "runs" / f"teacher-{seed}", report=False)
        (folder / "es.txt").write_text("buena comida\nmala sala\ngente linda\n", encoding="utf-8")
        rows = [{"text": row["text"], "note": "x"} for row in sentences("en", 20, 5)]
        write_csv(folder / "more.en.csv", rows)
        yield folder


@pytest.fixture
def teacher(place: Path) -> Path:
    return place / "study" / "runs" / "teacher-0"


def student(place: Path, teacher: Any, **overrides: Any) -> Recipe:
    return small_recipe(place, model__layers=1, distill__teacher=teacher, **overrides)


# ---- what a run with a teacher is ---------------------------------------------------------------------


@pytest.mark.extras
def test_teacher_and_student_stand_side_by_side(place: Path, teacher: Path, tmp_path: Path) -> None:
    texts = {"es": str(place / "es.txt"), "en": str(place / "more.en.csv")}
    run = train(student(place, str(teacher), distill__texts=texts, distill__weight=0.7), out=tmp_path / "student")
    record = run.manifest.distillation
    assert record is not None
    assert (record.unlabelled_texts, len(record.data), len(record.teachers)) == (23, 2, 1)
    log = run.directory.log.read_text()
    assert "asked" in log
    assert "83 training texts" in log, "60 with a label, 23 without"
    data = load_run(run.directory)
    assert data.history.steps[-1].step == 2 * 6, "an epoch goes through all of them"
    assert data.teacher is not None
    said, theirs = load(teacher).predict_proba([row["text"] for row in sentences("es", 30, 2)]), data.teacher
    assert np.allclose(theirs.predictions("test", "es").probabilities_BC, said, atol=1e-6)  # type: ignore[union-attr]
    (row,) = paired_scores(data)
    assert row.difference == pytest.approx(row.student.scores["macro_f1"] - row.teacher.scores["macro_f1"])  # type: ignore[operator]
    assert row.interval is not None
    assert row.interval.low <= row.difference <= row.interval.high
    known = load_run(teacher).evaluations["test"]["es"].scores
    assert theirs.evaluations["test"]["es"].scores == pytest.approx(known, abs=1e-6)
    content = gather(data)
    report = (run.path / "report" / "report.md").read_text()
    assert content.against_teacher is not None
    assert "## Student against teacher" in report
    assert "temperature 2, weight 0.7; weight of the labels 0.3" in report
    assert "**Unlabelled texts** | 23" in report
    page = (run.path / "report" / "report.html").read_text()
    assert "Student against teacher: size and speed" in page
    measured = run.directory.read_teacher_comparison()
    assert measured is not None
    assert measured.student.parameters < measured.teacher.parameters
    assert measured.wall.student > 0 < measured.wall.teacher


def test_a_teachers_records_are_held_by_their_hashes(place: Path, teacher: Path, tmp_path: Path) -> None:
    run = train(student(place, str(teacher)), out=tmp_path / "student", report=False)
    outputs = run.manifest.outputs
    assert outputs is not None
    assert "teacher/comparison.json" in outputs
    shutil.copy(run.directory.predictions / "test.es.parquet", run.directory.teacher / "predictions")
    data = load_run(run.directory)
    assert paired_scores(data) == []
    assert any("is not what the run wrote" in problem for problem in data.problems)


def test_a_weight_of_0_is_training_without_a_teacher(place: Path, teacher: Path, tmp_path: Path) -> None:
    alone = train(small_recipe(place, model__layers=1), out=tmp_path / "alone", report=False)
    taught = train(student(place, str(teacher), distill__weight=0.0), out=tmp_path / "taught", report=False)
    for name in alone.metrics["test"]["es"]:
        one, other = (run.metrics["test"]["es"][name] for run in (alone, taught))
        if isinstance(one, float):
            assert other == pytest.approx(one, abs=1e-4), name


def test_a_students_soft_loss_alone_brings_it_to_its_teacher(place: Path, teacher: Path, tmp_path: Path) -> None:
    """More epochs of soft targets alone: its answers on new texts go to those of the teacher."""

    def distance(run: Any) -> float:
        data = load_run(run.directory)
        assert data.teacher is not None
        one, other = (each.outcomes("test", "es").probabilities_BC for each in (data, data.teacher))
        return float(np.abs(one - other).mean())

    recipe = small_recipe(place, distill__teacher=str(teacher), distill__weight=1.0)
    few = train(recipe, {"train.epochs": 1, "optimizer.learning_rate": 1e-5}, out=tmp_path / "few", report=False)
    many = train(recipe, {"train.epochs": 12, "evaluate.metric": "loss"}, out=tmp_path / "many", report=False)
    assert distance(many) < distance(few)


@pytest.mark.extras
def test_a_studys_seeds_teach_as_one_and_their_answers_are_kept(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = student(place, str(place / "study"))
    run = train(recipe, out=tmp_path / "first")
    assert run.manifest.distillation is not None
    assert len(run.manifest.distillation.teachers) == 2
    assert "the mean of their probabilities" in (run.path / "report" / "report.md").read_text()
    monkeypatch.setattr(teachers, "write_answers", lambda *_: pytest.fail("they are in the cache"))
    again = train(recipe, out=tmp_path / "second", report=False)
    assert "in the cache" in again.directory.log.read_text()
    weights = [(each.path / "model" / "model.safetensors").read_bytes() for each in (run, again)]
    assert weights[0] == weights[1]


def test_teachers_one_by_one_are_the_teachers_of_the_folder(place: Path, tmp_path: Path) -> None:
    names = [str(place / "study" / "runs" / f"teacher-{seed}") for seed in (0, 1)]
    run = train(student(place, names), out=tmp_path / "listed", report=False)
    assert run.manifest.distillation is not None
    assert [each.name for each in run.manifest.distillation.teachers] == names


def test_a_models_folder_with_its_labels_in_another_order_teaches_by_name(
    place: Path, teacher: Path, tmp_path: Path
) -> None:
    turned = tmp_path / "turned"
    shutil.copytree(teacher / "model", turned)
    config = json.loads((turned / "config.json").read_text())
    config["id2label"] = {"0": "plain", "1": "bad", "2": "good"}
    config["label2id"] = {name: int(number) for number, name in config["id2label"].items()}
    (turned / "config.json").write_text(json.dumps(config))
    run = train(student(place, str(turned)), out=tmp_path / "student", report=False)
    data = load_run(run.directory)
    assert data.teacher is not None
    theirs = data.teacher.outcomes("test", "es").probabilities_BC
    said = load(turned).predict_proba([row["text"] for row in sentences("es", 30, 2)])
    assert np.allclose(theirs, said[:, [1, 2, 0]], atol=1e-6), "bad, good, plain"


def test_an_interrupted_student_goes_on_bit_for_bit(
    place: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = student(place, str(teacher), distill__texts={"es": str(place / "es.txt")}, checkpoints__every=2)
    whole = train(recipe, out=tmp_path / "whole", report=False)
    with pytest.raises(InterruptedRun):
        train(recipe, out=tmp_path / "parts", observer=Stops(), report=False)
    monkeypatch.setattr(teachers, "write_answers", lambda *_: pytest.fail("they are in the cache"))
    again = resume(tmp_path / "parts", report=False)
    assert again.manifest.attempt == 2
    weights = [(each.path / "model" / "model.safetensors").read_bytes() for each in (whole, again)]
    assert weights[0] == weights[1]
    assert again.directory.read_teacher_comparison() is not None


class Stops(Silent):
    """Asks the run to stop after its fifth step, as a signal does."""

    def progress(self, stage: str, done: int, total: int, metrics: Any) -> None:
        if stage == "train" and done == 5:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_student_is_reproduced(place: Path, teacher: Path, tmp_path: Path) -> None:
    run = train(student(place, str(teacher)), out=tmp_path / "student", report=False)
    assert reproduce(run.path, out=tmp_path / "again").is_equal


def test_a_run_goes_on_with_its_own_teacher_alone(place: Path, teacher: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(teacher / "model", own)
    run = train(student(place, str(own)), out=tmp_path / "student", report=False)
    run.directory.update_manifest(status=RunStatus.INTERRUPTED)
    (own / "tokenizer_config.json").write_text("{}")
    with pytest.raises(UserError, match="the teachers changed since the run began"):
        resume(run.path)


@pytest.mark.extras
def test_unlabelled_texts_that_are_tested_on_are_told(place: Path, teacher: Path, tmp_path: Path) -> None:
    recipe = student(place, str(teacher), distill__texts={"es": str(place / "es.csv")})
    run = train(recipe, out=tmp_path / "student")
    assert "30 of 30 test texts stand among the unlabelled texts" in (run.path / "report" / "report.md").read_text()


def test_a_preview_asks_the_teacher_and_leaves_no_run(place: Path, teacher: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    assert preview(student(place, str(teacher))).plan.device == "cpu"
    assert sorted(tmp_path.iterdir()) == before


def test_the_task_is_asked_by_the_engine_as_every_other(place: Path, teacher: Path) -> None:
    assert not issubclass(Distillation, SingleLabel), "it holds a classifier, and overrides nothing of it"


def test_a_recipe_without_a_teacher_is_the_recipe_it_was(place: Path) -> None:
    from glotune.recipe import recipe_hash, recipe_yaml
    from glotune.recipe.keys import variant_key

    recipe = small_recipe(place)
    text = recipe_yaml(recipe)
    assert "distill: null\n" in text
    assert variant_key(text) == variant_key(text.replace("distill: null\n", ""))
    taught = student(place, "somewhere")
    assert recipe_hash(taught) != recipe_hash(small_recipe(place, model__layers=1))


# ---- mistakes -----------------------------------------------------------------------------------------


def refused(recipe: Recipe, out: Path) -> str:
    """What is said; no run is left behind."""
    with pytest.raises(UserError) as caught:
        train(recipe, out=out, report=False)
    assert caught.value.exit_code == 2
    assert not out.exists() or (out / "keep").exists()
    return str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("weight", 1.5, "distill.weight: found 1.5, expected a number of at most 1"),
        ("weight", -0.1, "distill.weight: found -0.1, expected a number of at least 0"),
        ("temperature", 0, "distill.temperature: found 0, expected a number above 0"),
        ("temperatur", 2, "did you mean 'distill.temperature'|did you mean 'temperature'"),
    ],
)
def test_numbers_out_of_bounds(place: Path, key: str, value: float, said: str) -> None:
    with pytest.raises(UserError, match=said):
        student(place, "teacher", **{f"distill__{key}": value})


def test_a_section_without_a_teacher(place: Path) -> None:
    with pytest.raises(UserError, match=r"distill\.teacher: missing"):
        small_recipe(place, distill__weight=0.5)


def test_no_such_teacher(place: Path, teacher: Path, tmp_path: Path) -> None:
    said = refused(student(place, str(teacher.parent / "teachr-0")), tmp_path / "out")
    assert "there is no folder" in said
    assert "Did you mean 'teacher-0'?" in said


def test_a_folder_without_a_model_or_run(place: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no model and no complete run" in refused(student(place, str(tmp_path / "empty")), tmp_path / "out")


def test_a_run_without_a_model(place: Path, teacher: Path, tmp_path: Path) -> None:
    copied = tmp_path / "bare"
    shutil.copytree(teacher, copied)
    shutil.rmtree(copied / "model")
    assert "holds no saved model" in refused(student(place, str(copied)), tmp_path / "out")


def test_a_damaged_teacher(place: Path, teacher: Path, tmp_path: Path) -> None:
    copied = tmp_path / "damaged"
    shutil.copytree(teacher / "model", copied)
    weights = copied / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    said = refused(student(place, str(copied)), tmp_path / "out")
    assert said.startswith("distill.teacher: ")
    assert str(copied) in said


def test_an_encoder_without_a_head(place: Path, tmp_path: Path) -> None:
    encoder = small_recipe(place).model.name
    assert "distill.teacher" in refused(student(place, encoder), tmp_path / "out")


@pytest.mark.parametrize(("change", "said"), [("goood", "Did you mean 'goood'?"), ("superb", "Map the labels")])
def test_other_labels(place: Path, teacher: Path, tmp_path: Path, change: str, said: str) -> None:
    copied = tmp_path / "other"
    shutil.copytree(teacher / "model", copied)
    config = json.loads((copied / "config.json").read_text())
    config["id2label"] = {number: change if name == "good" else name for number, name in config["id2label"].items()}
    (copied / "config.json").write_text(json.dumps(config))
    found = refused(student(place, str(copied)), tmp_path / "out")
    assert f"the label '{change}', the texts do not" in found
    assert "bad, good, plain" in found
    assert said.replace("goood", "good") in found


def test_fewer_labels_than_the_texts(place: Path, tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path)
    for name in ("train", "dev", "es"):
        path = tmp_path / f"{name}.csv"
        lines = [line for line in path.read_text().splitlines(keepends=True) if not line.rstrip().endswith("plain")]
        path.write_text("".join(lines))
    train(recipe, out=tmp_path / "two", report=False)
    assert "the texts have the label 'plain', the teacher does not" in refused(
        student(place, str(tmp_path / "two")), tmp_path / "out"
    )


def test_a_teacher_of_pairs(place: Path, tmp_path: Path) -> None:
    train(small_recipe(tmp_path, pairs=True), out=tmp_path / "pairs", report=False)
    assert "was trained on pairs of texts" in refused(student(place, str(tmp_path / "pairs")), tmp_path / "out")


@pytest.mark.parametrize("inside", ["", "model"])
def test_a_run_is_not_its_own_teacher(place: Path, tmp_path: Path, inside: str) -> None:
    out = tmp_path / "own"
    out.mkdir()
    (out / "keep").touch()
    assert "is the run itself" in refused(student(place, str(out / inside)), out)


def test_unlabelled_texts_without_a_column_of_texts(place: Path, teacher: Path, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "odd.csv", [{"txet": "good food", "note": "x"}])
    said = refused(student(place, str(teacher), distill__texts={"en": str(path)}), tmp_path / "out")
    assert str(path) in said
    assert "'text'" in said
    assert "txet" in said


def test_unlabelled_texts_that_are_not_there(place: Path, teacher: Path, tmp_path: Path) -> None:
    said = refused(student(place, str(teacher), distill__texts={"en": "nowhere.csv"}), tmp_path / "out")
    assert "distill.texts" in said


def test_a_diverged_teacher_is_refused_by_its_answers(place: Path, teacher: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    copied = tmp_path / "nan"
    shutil.copytree(teacher / "model", copied)
    weights = load_file(copied / "model.safetensors")
    name = next(name for name in weights if name.startswith("classifier"))
    weights[name] = torch.full_like(weights[name], torch.nan)
    save_file(weights, copied / "model.safetensors", {"format": "pt"})
    assert "not finite" in refused(student(place, str(copied)), tmp_path / "out")


def test_unlabelled_rows_of_other_splits_stay_unread(place: Path, tmp_path: Path) -> None:
    from glotune.data.unlabelled import read_unlabelled

    (tmp_path / "folder").mkdir()
    for language, split in (("en", "train"), ("es", "test")):
        rows = [{"text": f"text {number}", "split": split} for number in range(4)]
        write_csv(tmp_path / "folder" / f"{language}.csv", rows)
    data = small_recipe(place).data
    assert read_unlabelled(str(tmp_path / "folder"), data, "distill.texts").texts.language_names == ["en"]
    with pytest.raises(UserError, match="no row belongs to the training split; the files say test"):
        read_unlabelled(str(tmp_path / "folder" / "es.csv"), data, "distill.texts")


def test_unlabelled_rows_weigh_one_each(place: Path) -> None:
    from glotune.data.unlabelled import UNLABELLED, read_unlabelled, with_unlabelled

    rows = [{**row, "trust": "3"} for row in sentences("en", 30)]
    path = write_csv(place / "weighted.csv", rows)
    recipe = small_recipe(place, data__train={"en": str(path)}, data__columns__weight="trust")
    texts = read_texts(recipe.data, 0)
    more = read_unlabelled(
        {"en": str(place / "more.en.csv"), "es": str(place / "es.txt")}, recipe.data, "distill.texts"
    )
    joined = with_unlabelled(texts, more).splits["train"]
    assert joined.weights is not None
    assert joined.weights.tolist() == [3.0] * 30 + [1.0] * 23
    assert joined.labels[30:].tolist() == [UNLABELLED] * 23
    assert joined.language_names == ["en", "es"]
