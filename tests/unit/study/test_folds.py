"""k folds by data keys alone: stratified, equal texts on one side, every text tested once."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glotune.data.reading import read_texts
from glotune.errors import UserError
from glotune.recipe import Recipe
from glotune.run.record import DataSource
from glotune.study.directory import StudyDirectory
from glotune.study.folds import draw_folds, fold_file
from glotune.study.out_of_fold import origins
from made_runs import make_run
from small_runs import sentences, write_csv


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40)), min_size=8, max_size=120),
    st.integers(2, 5),
    st.integers(0, 3),
)
def test_equal_texts_share_a_fold_and_strata_are_spread(rows: list[tuple[int, int]], folds: int, seed: int) -> None:
    strata_B, key_B = (np.array(column) for column in zip(*rows, strict=True))
    if len(np.unique(key_B)) < folds:
        with pytest.raises(UserError, match="different texts"):
            draw_folds(strata_B, key_B, folds, np.random.default_rng(seed))
        return
    fold_B = draw_folds(strata_B, key_B, folds, np.random.default_rng(seed))
    assert set(fold_B) <= set(range(folds))
    for key in np.unique(key_B):
        assert len(set(fold_B[key_B == key])) == 1
    again_B = draw_folds(strata_B, key_B, folds, np.random.default_rng(seed))
    assert (fold_B == again_B).all()
    _, first, group = np.unique(key_B, return_index=True, return_inverse=True)
    largest = np.bincount(group).max()
    for stratum in np.unique(strata_B[first]):
        counts = np.bincount(fold_B[strata_B[first][group] == stratum], minlength=folds)
        assert counts.max() - counts.min() <= largest


def recipe_over(folder: Path, **data: object) -> Recipe:
    rows = sentences("en", 60)
    rows[10] = rows[0]
    rows[20] = {**rows[0], "text": f" {rows[0]['text'].upper()}"}
    content = {
        "train": {"en": str(write_csv(folder / "train.csv", rows))},
        "test": {"es": str(write_csv(folder / "es.csv", sentences("es", 12)))},
        **data,
    }
    return Recipe.model_validate({"name": "made", "model": {"name": "folder"}, "data": content})


def test_every_text_is_tested_once_and_never_trained_on_then(tmp_path: Path) -> None:
    recipe = recipe_over(tmp_path)
    folds = fold_file(recipe, 4, 0, tmp_path / "folds")
    tested: list[int] = []
    for number in range(1, 5):
        texts = read_texts(folds.recipe(recipe, number).data, seed=0)
        test = texts.splits["test"]
        english = test.language_ids == test.language_names.index("en")
        tested += test.rows[english].tolist()
        for split in ("train", "validation"):
            assert not set(texts.splits[split].keys) & set(test.keys[english])
        assert (~english).sum() == 12, "a language that is not trained on is predicted by every run"
        assert texts.labels == ["bad", "good", "plain"]
        assert texts.source_languages == ["en"]
    assert sorted(tested) == list(range(1, 61))
    table = pq.read_table(folds.path)
    where = set(zip(table["file"].to_pylist(), table["row"].to_pylist(), strict=True))
    assert len(where) == 72, "each text says where it came from"
    assert fold_file(recipe, 4, 0, tmp_path / "folds").path == folds.path
    assert fold_file(recipe, 4, 1, tmp_path / "folds").path != folds.path


def test_a_named_validation_stays_and_shares_are_cut_by_the_runs(tmp_path: Path) -> None:
    dev = str(write_csv(tmp_path / "dev.csv", sentences("en", 9, 1)))
    recipe = recipe_over(tmp_path, validation={"en": dev}, train_rows=20, max_length=16)
    folds = fold_file(recipe, 3, 0, tmp_path / "folds")
    texts = read_texts(folds.recipe(recipe, 1).data, seed=0)
    assert len(texts.splits["validation"]) == 9
    assert len(texts.splits["train"]) == 20
    assert folds.recipe(recipe, 1).data.max_length == 16


def test_pairs_keep_both_texts(tmp_path: Path) -> None:
    train = write_csv(tmp_path / "pairs.csv", sentences("en", 30, pairs=True))
    recipe = Recipe.model_validate(
        {
            "name": "made",
            "model": {"name": "folder"},
            "data": {"train": {"en": str(train)}, "columns": {"text_pair": "text_pair"}},
        }
    )
    folds = fold_file(recipe, 3, 0, tmp_path / "folds")
    texts = read_texts(folds.recipe(recipe, 2).data, seed=0)
    assert texts.splits["test"].has_pairs


def test_rows_of_one_id_share_a_fold(tmp_path: Path) -> None:
    rows = [{"doc": f"d{at // 3}", **row} for at, row in enumerate(sentences("en", 60))]
    keys = {"train": {"en": str(write_csv(tmp_path / "train.csv", rows))}, "columns": {"id": "doc"}}
    recipe = Recipe.model_validate({"name": "made", "model": {"name": "none"}, "data": keys})
    folds = fold_file(recipe, 4, 0, tmp_path / "folds")
    for number in range(1, 5):
        splits = read_texts(folds.recipe(recipe, number).data, seed=0).splits
        found = {name: set(split.table["id"].to_pylist()) for name, split in splits.items()}
        assert found["test"]
        assert sum(map(len, found.values())) == len(set().union(*found.values())) == 20


def test_ids_of_their_own_change_no_fold(tmp_path: Path) -> None:
    rows = [{"number": str(at), **row} for at, row in enumerate(sentences("en", 60))]
    rows[7] = {**rows[3], "number": "7"}
    made = []
    for columns in ({}, {"id": "number"}):
        keys = {"train": {"en": str(write_csv(tmp_path / "train.csv", rows))}, "columns": columns}
        recipe = Recipe.model_validate({"name": "made", "model": {"name": "none"}, "data": keys})
        made.append(pq.read_table(fold_file(recipe, 4, 0, tmp_path / "folds").path)["split"].to_pylist())
    assert made[0] == made[1]


def test_few_shot_rows_belong_to_no_fold(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="few_shot"):
        fold_file(recipe_over(tmp_path, few_shot={"es": 4}), 3, 0, tmp_path / "folds")


@pytest.mark.parametrize("validation", [False, True])
@pytest.mark.parametrize("tested", [False, True])
def test_folds_train_with_the_weights_of_their_rows(tmp_path: Path, validation: bool, tested: bool) -> None:
    rows = [{**row, "trust": str(1 + number % 3)} for number, row in enumerate(sentences("en", 60))]
    file = str(write_csv(tmp_path / "train.csv", rows))
    data: dict[str, object] = {"train": {"en": file}, "columns": {"weight": "trust"}}
    if validation:
        data["validation"] = {"en": str(write_csv(tmp_path / "dev.csv", sentences("en", 20, 1)))}
    if tested:  # in another language, without weights
        data["test"] = {"es": str(write_csv(tmp_path / "es.csv", sentences("es", 12)))}
    recipe = Recipe.model_validate({"name": "weighted", "model": {"name": "none"}, "data": data})
    one = fold_file(recipe, 3, 0, tmp_path).recipe(recipe, 1)
    train = read_texts(one.data, 0).splits["train"]
    assert train.weights is not None
    known = {row["text"]: float(row["trust"]) for row in rows}
    assert train.weights.tolist() == [known[text] for text in train.table["text"].to_pylist()]


def test_labels_named_like_columns_of_the_fold_file_keep_names_and_values(tmp_path: Path) -> None:
    names = ["text", "row", "row_", "file", "weight", "language", "split", "id"]
    rows = []
    for at, row in enumerate(sentences("en", 256)):
        cells = {name: str((at >> place) % 2) for place, name in enumerate(names)}
        rows.append({"review": row["text"], "doc": f"d{at // 2}", "trust": "2", **cells})
    columns = {"text": "review", "labels": names, "id": "doc", "weight": "trust", "language": "code", "split": "part"}
    keys = {"train": {"en": str(write_csv(tmp_path / "train.csv", rows))}, "columns": columns}
    recipe = Recipe.model_validate({"name": "made", "task": "multi_label", "model": {"name": "none"}, "data": keys})
    folds = fold_file(recipe, 2, 0, tmp_path / "folds")
    texts = read_texts(folds.recipe(recipe, 1).data, 0, "multi_label")
    assert texts.labels == names
    assert texts.targets is not None
    known = {row["review"]: (row["doc"], [float(row[name]) for name in names]) for row in rows}
    for split in texts.splits.values():
        table = split.table
        for text, doc, target in zip(table["text"].to_pylist(), table["id"].to_pylist(), split.labels, strict=True):
            assert (doc, texts.targets[target].tolist()) == known[text]
    assert set(texts.splits["train"].weights) == {2.0}
    table = pq.read_table(folds.path)
    assert table.column_names[-2:] == ["file_", "row__"], "where a text came from"
    assert sorted(table["row__"].to_pylist()) == list(range(1, 257))


def test_the_origins_of_rows_are_found_beside_word_lists(tmp_path: Path) -> None:
    study = StudyDirectory(tmp_path / "study")
    study.create()
    recipe = recipe_over(tmp_path)
    folds = fold_file(recipe, 2, 0, study.folds)
    run = make_run(study.out_of_fold / "base-seed0", n=30)
    named = [tmp_path / "words.tsv", folds.path, tmp_path / "more.tsv"]
    run.update_manifest(data=[DataSource(path=str(path), sha256="0" * 64, rows=1) for path in named])
    found = origins(run)
    assert len(found) == 72
    assert found[1] == (str(tmp_path / "train.csv"), 1)
    assert found[72] == (str(tmp_path / "es.csv"), 12)
