"""Runs in rounds, from the recipe to the report; and every mistake with one, refused before there is a run."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from glotune import Classifier, train
from glotune.data.reading import read_texts
from glotune.data.unlabelled import read_unlabelled, with_pseudo_labels
from glotune.engine.observer import Silent
from glotune.errors import UserError
from glotune.evidence.equality import differences
from glotune.hub.card import model_card
from glotune.monitor.watcher import Watcher
from glotune.recipe import Recipe, load_recipe, recipe_hash
from glotune.report.conditions import conditions_of
from glotune.report.content import gather
from glotune.report.markdown import render_markdown
from glotune.report.page import render_page
from glotune.run.data import load_run
from glotune.run.directory import RunDirectory
from glotune.run.records import RunStatus
from glotune.study.measures import measured
from glotune.study.plan import check_texts
from glotune.tasks.pseudo_labels import is_one_class
from glotune.verbs import self_training
from glotune.verbs.lifecycle import Run
from glotune.verbs.predict import load
from glotune.verbs.preview import preview
from glotune.verbs.reproduce import reproduce
from glotune.verbs.resume import resume
from glotune.verbs.sealed_rounds import read_labels
from glotune.verbs.self_training import open_rounds
from small_runs import LABELS, rounds_recipe, sentences, small_recipe, unlabelled, write_csv


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("rounds")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLOTUNE_CACHE", str(folder / "cache"))
        patch.setattr(self_training, "is_one_class", lambda *_: False)
        yield folder


class Watches(Silent):
    """Looks at a run as ``glotune monitor`` does, when a round begins and when it ends."""

    def __init__(self, path: Path) -> None:
        self.path, self.steps = path, list[int]()
        self.watcher: Watcher | None = None

    def log(self, message: str) -> None:
        if message.startswith("self-training: round"):
            self.watcher = self.watcher or Watcher(RunDirectory(self.path))
            self.steps.append(self.watcher.look().step)


@pytest.fixture(scope="module")
def watched(place: Path) -> Watches:
    return Watches(place / "run")


@pytest.fixture(scope="module")
def run(place: Path, watched: Watches) -> Run:
    return train(rounds_recipe(place), out=place / "run", observer=watched, report=False)


# ---- what a run in rounds is --------------------------------------------------------------------------


def test_round_0_is_the_ordinary_run(place: Path, run: Run) -> None:
    plain = load_recipe(rounds_recipe(place), {"self_training": None, "data.unlabelled": {}})
    alone = train(plain, out=place / "alone", report=False)
    first = run.path / "rounds" / "0"
    for name in ("predictions/test.es.parquet", "predictions/validation.en.parquet", "metrics.json"):
        assert (first / name).read_bytes() == (alone.path / name).read_bytes(), name


def test_the_run_is_its_best_round(run: Run) -> None:
    record = run.manifest.self_training
    assert record is not None
    values = [each.value for each in record.rounds]
    assert len(values) == 3
    assert record.kept == int(np.argmax(values))
    kept = run.path / "rounds" / str(record.kept)
    for name in ("predictions/test.es.parquet", "metrics.json", "events.jsonl"):
        assert (kept / name).read_bytes() == (run.path / name).read_bytes(), name
    ended = json.loads((kept / "round.json").read_text())
    assert run.manifest.best_step == ended["best_step"]
    assert run.manifest.verdict is not None
    assert run.manifest.verdict.status == ended["verdict"]["status"]
    data = load_run(run.path)
    assert data.altered == ()
    assert data.history.best["value"] == values[record.kept]
    said = load(run.path).predict_proba([row["text"] for row in sentences("es", 30, 2)])
    assert np.allclose(data.predictions("test", "es").probabilities_BC, said, atol=1e-5)  # type: ignore[union-attr]
    assert not list(run.path.glob("rounds/*/model")), "the weights of other rounds are gone"


def test_whoever_watches_sees_each_round_from_its_first_step(run: Run, watched: Watches) -> None:
    assert run.manifest.self_training is not None
    made = [each.steps for each in run.manifest.self_training.rounds]
    assert watched.steps == [0, made[0], 0, made[1], 0, made[2]]
    assert watched.watcher is not None
    found = watched.watcher.look()
    assert found.step == made[run.manifest.self_training.kept or 0]


def test_each_round_learns_from_the_best_model_before_it(run: Run) -> None:
    record = run.manifest.self_training
    assert record is not None
    for each in record.rounds[1:]:
        before = record.rounds[: each.number]
        assert each.teacher is not None
        assert before[each.teacher].value == max(round_.value for round_ in before)
        answers = read_labels(run.directory, each.teacher)[0].argmax(axis=1)
        labels, trained = read_labels(run.directory, each.number)
        for language, own in (("en", slice(0, 40)), ("es", slice(40, 80))):
            counts = np.bincount(answers[own][trained[own]], minlength=3).tolist()
            assert each.selected[language] == dict(zip(LABELS, counts, strict=True))
        assert each.num_texts == trained.sum()
        previous = read_labels(run.directory, each.number - 1)[0].argmax(axis=1)
        assert each.agreement == pytest.approx((labels.argmax(axis=1) == previous).mean())
        steps = -(-(60 + each.num_texts) // 16) * 6
        assert each.steps == steps, "an epoch goes through both"
    ended = [json.loads((run.path / "rounds" / str(number) / "round.json").read_text()) for number in (0, 1)]
    used = [next(change for change in each["changes"] if change["kind"] == "trim_vocabulary") for each in ended]
    assert used[0]["details"]["rows"] < used[1]["details"]["rows"], "their tokens are in the vocabulary"
    table = parquet.read_table(run.path / "rounds" / "1" / "labels.parquet")
    assert table.column_names == ["data_hash", "row", "language", "predicted", "probabilities", "trained"]
    assert table["data_hash"][0].as_py() == record.data[0].sha256
    assert table["row"].to_pylist() == [*range(1, 41), *range(1, 41)]
    assert table["language"].to_pylist() == ["en"] * 40 + ["es"] * 40


def test_the_report_tells_every_round(run: Run) -> None:
    data = load_run(run.path)
    record = run.manifest.self_training
    assert record is not None
    content = gather(data)
    report, page = render_markdown(content, []), render_page([content], "rounds")
    assert "## Self-training" in report
    assert f"The run is round {record.kept}, the best by macro-F1 on the validation texts of the source" in report
    assert content.rounds is not None
    assert [row[0] for row in content.rounds.rows] == [
        f"{each.number}{', kept' if each.number == record.kept else ''}" for each in record.rounds
    ]
    assert content.pseudo_labels is not None
    for row, each in zip(content.pseudo_labels.rows[1::2], record.rounds[1:], strict=True):
        counts = each.selected["es"].values()
        assert row == (str(each.number), "Spanish (es)", str(sum(counts)), *map(str, counts))
    assert "Rounds of self-training" in page
    assert any("more.es.txt" in row[0] for row in content.sources.rows)  # type: ignore[union-attr]
    seconds = measured(run.directory)["train_seconds"]
    assert seconds == pytest.approx(record.train_seconds), "a comparison of times counts all rounds"
    assert seconds > data.history.train_seconds()  # type: ignore[operator]


def test_a_run_in_rounds_says_its_regime(run: Run) -> None:
    data = load_run(run.path)
    (conditions,) = conditions_of([data], "test", ["es"])
    assert [each.word for each in conditions] == ["uses target texts: es"]
    assert "self-training on unlabelled texts in Spanish (es): no target label was used" in gather(data).selection
    assert "labelled by the model itself" in str(model_card(run.path))
    assert data.sources == ["en"], "what it labelled itself makes no source language"
    profile = json.loads(run.directory.data_profile.read_text())
    assert "es" not in profile["splits"]["train"], "the profile is of texts with a label"


@pytest.mark.extras
def test_a_run_in_rounds_is_reproduced(run: Run, tmp_path: Path) -> None:
    again = reproduce(run.path, out=tmp_path / "again")
    assert again.is_equal, again.numbers
    assert again.run is not None
    rounds = [each.manifest.self_training.rounds for each in (run, again.run)]  # type: ignore[union-attr]
    assert [each.model_copy(update={"wall": {}}) for each in rounds[0]] == [
        each.model_copy(update={"wall": {}}) for each in rounds[1]
    ]


@pytest.mark.extras
def test_hard_labels_are_labelled_rows(place: Path, run: Run, tmp_path: Path) -> None:
    """A round with ``soft: false`` is a run on the same texts with these labels in a file."""
    record = run.manifest.self_training
    assert record is not None
    recipe = rounds_recipe(place, self_training={"rounds": 1, "soft": False})
    hard = train(recipe, out=tmp_path / "hard", report=False)
    answers, trained = read_labels(hard.directory, 0)[0].argmax(axis=1), read_labels(hard.directory, 1)[1]
    files = {}
    for language, first in (("en", 0), ("es", 40)):
        texts = (place / f"more.{language}.txt").read_text(encoding="utf-8").splitlines()
        rows = [{"text": texts[at], "label": LABELS[answers[first + at]]} for at in range(40) if trained[first + at]]
        files[language] = str(write_csv(tmp_path / f"pseudo.{language}.csv", rows))
    labelled = {"en": [str(place / "train.csv"), files["en"]], "es": files["es"]}
    keys = {"data.train": labelled, "self_training": None, "data.unlabelled": {}, "data.source_languages": None}
    plain = train(load_recipe(recipe, keys), out=tmp_path / "plain", report=False)
    one, other = ((path / "predictions" / "test.es.parquet") for path in (hard.path / "rounds" / "1", plain.path))
    assert parquet.read_table(one)["probabilities"] == parquet.read_table(other)["probabilities"]


def test_soft_labels_are_learned_as_votes_are(place: Path) -> None:
    recipe = rounds_recipe(place)
    texts = read_texts(recipe.data, recipe.seed)
    found = read_unlabelled(dict(recipe.data.unlabelled), recipe.data, "data.unlabelled")
    shares = np.array([[0.2, 0.7, 0.1], [0.6, 0.3, 0.1]], np.float32)
    joined = with_pseudo_labels(texts, found, np.array([5, 2]), shares, soft=True).splits["train"]
    assert joined.labels[-2:].tolist() == [1, 0]
    assert np.array_equal(joined.shares[-2:], shares)  # type: ignore[index]
    own = joined.shares[:60]  # type: ignore[index]
    assert np.array_equal(own.argmax(axis=1), texts.splits["train"].labels)
    assert (own.max(axis=1) == 1).all()
    wanted = [found.texts.table["text"][at].as_py() for at in (5, 2)]
    assert joined.table["text"].to_pylist()[-2:] == wanted
    assert with_pseudo_labels(texts, found, np.array([5]), shares[:1], soft=False).splits["train"].votes is None


def test_labels_of_one_class_end_the_rounds(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_training, "is_one_class", is_one_class)
    recipe = rounds_recipe(place, train__epochs=1, optimizer__learning_rate=1e-6)
    run = train(recipe, out=tmp_path / "run", report=False)
    record = run.manifest.self_training
    assert record is not None
    assert (len(record.rounds), record.kept) == (1, 0)
    assert re.match(r"pseudo-labels collapsed: 100.0 % of those for round 1 are '\w+'", record.ended)
    assert "pseudo-labels collapsed" in gather(load_run(run.path)).rounds_note


@pytest.mark.extras
def test_the_last_round_may_be_kept_and_its_labels_aligned(place: Path, tmp_path: Path) -> None:
    rounds = {"rounds": 2, "share": 0.5, "keep": "last", "align": True}
    run = train(rounds_recipe(place, self_training=rounds), out=tmp_path / "run", report=False)
    record = run.manifest.self_training
    assert record is not None
    assert (record.kept, [each.teacher for each in record.rounds]) == (2, [None, 0, 1])
    labels = np.array([LABELS.index(row["label"]) for row in sentences("en", 60, 0)])
    shares_UC = read_labels(run.directory, 1)[0]
    codes = read_unlabelled(dict(load_run(run.path).recipe.data.unlabelled), load_run(run.path).recipe.data, "")
    for code in np.unique(codes.texts.language_ids):
        mean_C = shares_UC[codes.texts.language_ids == code].mean(axis=0)
        assert np.allclose(mean_C, np.bincount(labels, minlength=3) / len(labels), atol=1e-4)
    content = gather(load_run(run.path))
    assert "The run is round 2, the last." in content.rounds_note
    assert "learned from the last model before" in dict(content.training)["Self-training"]
    assert "class shares of the labelled texts" in dict(content.training)["Self-training"]


@pytest.mark.extras
def test_rounds_that_would_repeat_end(place: Path, tmp_path: Path) -> None:
    """Round 1 learns from every text, and is not better: round 2 would learn the same from the same teacher."""
    recipe = rounds_recipe(place, self_training={"rounds": 5, "share": 1.0, "select": "confidence"}, train__epochs=9)
    run = train(recipe, out=tmp_path / "run", report=False)
    record = run.manifest.self_training
    assert record is not None
    assert len(record.rounds) < 6
    assert record.ended.startswith("nothing new to learn")
    assert [each.teacher for each in record.rounds][-1] == record.kept


@pytest.mark.extras
@pytest.mark.parametrize(
    "keys",
    [
        {"model__freeze": {"embeddings": True, "layers": 1}},
        {"average": {"last": 2, "keep": "always"}},
        {"model__lora": {"rank": 2}},
        {"data__augment": {"word_dropout": 0.3}, "loss__consistency": {"weight": 1.0}},
        {"adversarial": {"method": "fgm"}},
        {"evaluate__tune_thresholds": "macro_f1", "loss__class_weights": "balanced"},
        {"speed__trim_vocabulary": False, "train__batching": "fixed"},
        {"train__on_collapse": "retry", "optimizer__learning_rate": 1e-6},
    ],
)  # fmt: skip
def test_rounds_go_with_other_keys(place: Path, tmp_path: Path, keys: dict[str, Any]) -> None:
    recipe = rounds_recipe(place, **{"self_training": {"rounds": 1}, **keys})
    run = train(recipe, out=tmp_path / "run", report=False)
    assert run.manifest.status is RunStatus.COMPLETE
    assert run.manifest.self_training is not None
    assert load(run.path).predict(["buena comida"])
    assert differences(run.directory, reproduce(run.path, out=tmp_path / "again").run.directory) == []  # type: ignore[union-attr]


def test_the_plan_forecasts_all_rounds(place: Path) -> None:
    plan = preview(rounds_recipe(place)).plan
    assert plan.wall["rounds_seconds"] > 3 * plan.wall["seconds"] * 0.99


@pytest.mark.extras
def test_a_classifier_takes_texts_without_labels(place: Path) -> None:
    rows = sentences("en", 60)
    found = Classifier(
        rounds_recipe(place).model.name, language="en", self_training={"rounds": 1, "share": 0.5}, train__epochs=6,
        optimizer__learning_rate=3e-3, evaluate__baselines=False,
    )  # fmt: skip
    more = unlabelled(place, "es").read_text(encoding="utf-8").split("\n")[:-1]
    found.fit([row["text"] for row in rows], [row["label"] for row in rows], unlabelled={"es": more})
    record = load_run(found.run_).manifest.self_training
    assert record is not None
    assert record.texts == {"es": 40}
    assert record.data[0].path == "data/unlabelled.es.parquet"
    assert set(found.predict(more)) <= set(LABELS)


# ---- what is refused ----------------------------------------------------------------------------------


def test_a_text_that_is_tested_on_is_refused(place: Path, tmp_path: Path) -> None:
    text = sentences("es", 30, 2)[3]["text"]
    for spelt in (text, f"  {text} "):
        (tmp_path / "es.txt").write_text(f"otra cosa\n{spelt}\n", encoding="utf-8")
        with pytest.raises(UserError, match=r"1 of 2 unlabelled texts are test texts \(row 2 of .*es\.txt\)"):
            train(rounds_recipe(place, data__unlabelled={"es": str(tmp_path / "es.txt")}), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_text_that_is_validated_on_is_refused_whatever_its_language(place: Path, tmp_path: Path) -> None:
    (tmp_path / "es.txt").write_text(sentences("en", 24, 1)[0]["text"] + "\n", encoding="utf-8")
    with pytest.raises(UserError, match="1 of 1 unlabelled texts are validation texts"):
        check_texts([rounds_recipe(place, data__unlabelled={"es": str(tmp_path / "es.txt")})])
    with pytest.raises(UserError, match="1 of 1 unlabelled texts are validation texts"):
        train(rounds_recipe(place, data__unlabelled={"es": str(tmp_path / "es.txt")}), out=tmp_path / "run")


def test_near_copies_of_held_out_texts_are_left_out_and_counted(place: Path, tmp_path: Path) -> None:
    long = next(row["text"] for row in sentences("es", 30, 2) if len(row["text"]) > 60)
    lines = [row["text"] + " de verdad" for row in sentences("es", 12, 9)]
    (tmp_path / "es.txt").write_text("\n".join([*lines, f"{long.upper()}!! 77", ""]), encoding="utf-8")
    recipe = rounds_recipe(place, data__unlabelled={"es": str(tmp_path / "es.txt")})
    texts = read_texts(recipe.data, recipe.seed)
    rounds = open_rounds(recipe, texts)
    assert rounds is not None
    assert rounds.record.texts == {"es": 12}
    assert "1 of 13 texts of data.unlabelled are near copies of validation or test texts" in rounds.record.warnings[0]
    (tmp_path / "es.txt").write_text(f"{long.upper()}!!\n", encoding="utf-8")
    with pytest.raises(UserError, match="all 1 texts are near copies"):
        open_rounds(recipe, texts)


def test_a_folder_of_plain_text_files_is_read_by_its_names(place: Path, tmp_path: Path) -> None:
    folder = tmp_path / "more"
    folder.mkdir()
    (folder / "es_train.txt").write_text("una mesa\ndos mesas\n")
    (folder / "es_test.txt").write_text("tres mesas\n")
    write_csv(folder / "en_train.csv", [{"text": "a table"}])
    data = rounds_recipe(place).data
    found = read_unlabelled(str(folder), data, "data.unlabelled").texts.table
    assert found.select(["text", "language"]).to_pylist() == [
        {"text": "una mesa", "language": "es"},
        {"text": "dos mesas", "language": "es"},
        {"text": "a table", "language": "en"},
    ]
    assert read_unlabelled({"es": [str(folder / "es_test.txt")]}, data, "data.unlabelled").texts.rows_by_language()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"es": ""}, "holds no text|is empty"),
        ({"es": "nowhere"}, "nowhere|does not exist|no file"),
        ({"es": "buena\n", "sw": "language,text\nes,buena comida\n"}, "sw"),
    ],
)  # fmt: skip
def test_files_without_texts_are_refused(place: Path, tmp_path: Path, files: dict[str, str], message: str) -> None:
    named = {}
    for language, content in files.items():
        path = tmp_path / f"{language}.{'csv' if ',' in content else 'txt'}"
        if content != "nowhere":
            path.write_text(content, encoding="utf-8")
        named[language] = str(path)
    with pytest.raises(UserError, match=message):
        train(rounds_recipe(place, data__unlabelled=named), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"self_training": None}, "data.unlabelled is for self_training"),
        ({"data.unlabelled": {}}, "self_training needs data.unlabelled"),
        ({"self_training.rounds": 0}, "self_training.rounds"),
        ({"self_training.share": 0.0}, "self_training.share"),
        ({"self_training.share": 1.5}, "self_training.share"),
        ({"self_training.select": "lucky"}, "self_training.select"),
        ({"distill.teacher": "runs/x"}, "each bring a teacher"),
        ({"evaluate.on": "target"}, "validation texts of the source languages"),
        ({"task": "multi_label"}, "self_training is for the task single_label"),
        ({"task": "score"}, "self_training is for the task single_label"),
    ],
)  # fmt: skip
def test_keys_that_do_not_fit_are_named(place: Path, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        load_recipe(rounds_recipe(place), keys)


def test_a_run_goes_on_with_the_texts_that_it_began_with_alone(place: Path, run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.path, tmp_path / "copy")
    copy = load_run(tmp_path / "copy").directory
    copy.update_manifest(status=RunStatus.INTERRUPTED)
    before = (place / "more.es.txt").read_text(encoding="utf-8")
    try:
        (place / "more.es.txt").write_text(before + "una frase que no estaba\n", encoding="utf-8")
        with pytest.raises(UserError, match="the unlabelled texts changed since the run began"):
            resume(copy.path)
    finally:
        (place / "more.es.txt").write_text(before, encoding="utf-8")


def test_recipes_of_earlier_versions_stay_the_recipes_that_they_were(place: Path) -> None:
    plain = small_recipe(place)
    content = plain.model_dump(mode="json")
    del content["self_training"], content["data"]["unlabelled"]
    assert recipe_hash(Recipe.model_validate(content)) == recipe_hash(plain)
