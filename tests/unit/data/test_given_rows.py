"""``glotune.train(data=...)``: every kind of rows becomes the same texts, under names that a run can keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from glotune.data.given_rows import given_rows
from glotune.data.texts import TextData
from glotune.errors import UserError
from glotune.recipe import Recipe, load_recipe
from made_files import content

ROWS = [{"text": f"text {number}", "label": ("bad", "good")[number % 2]} for number in range(30)]
FRAME = pd.DataFrame(ROWS)
BASE = Recipe.model_validate(
    {"name": "given", "model": {"name": "any"}, "data": {"train": "x.csv", "test": "y.csv", "source_languages": ["en"]}}
)


def read(data: Any, **keys: Any) -> TextData:
    with given_rows(data) as given:
        return given.read(load_recipe(BASE, given.keys, keys))


def dataset(frame: pd.DataFrame = FRAME) -> datasets.Dataset:
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])}
    )
    ids = [("bad", "good").index(label) for label in frame["label"]]
    return datasets.Dataset.from_dict({"text": frame["text"].tolist(), "label": ids}, features=features)


class Polarized:
    """As much of another library's frame as is asked of one: its columns, some of them, and the Arrow stream."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    @property
    def columns(self) -> list[str]:
        return list(self._table.column_names)

    def __getitem__(self, names: list[str]) -> Polarized:
        return Polarized(self._table.select(names))

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._table.__arrow_c_stream__(requested_schema)


@pytest.mark.parametrize(
    "rows",
    [
        FRAME,
        FRAME.set_index(np.arange(30) * 3),
        FRAME.assign(label=FRAME["label"].astype("category"), junk=[object()] * 30),
        pa.Table.from_pylist(ROWS),
        Polarized(pa.Table.from_pylist(ROWS)),
        dataset(),
        dataset(FRAME.iloc[::-1]).select(range(29, -1, -1)),
        (FRAME["text"], FRAME["label"].to_numpy()),
        (FRAME["text"].tolist(), FRAME["label"].tolist()),
    ],
    ids=["frame", "index", "category", "arrow", "polars", "dataset", "selected", "series", "lists"],
)
def test_every_kind_of_rows_is_the_same_texts(rows: Any) -> None:
    expected, found = read(FRAME), read(rows)
    assert found.data_hash == expected.data_hash
    assert content(found.splits["train"]) == content(expected.splits["train"])
    assert [source.path for source in found.sources] == ["data/train.parquet"]
    assert "test" not in found.splits, "the rows take the place of all that the recipe names"


def test_splits_and_languages_are_named_by_keys() -> None:
    found = read({"train": {"en": FRAME}, "dev": {"en": FRAME[:6]}, "test": {"bn": FRAME[:4], "sw": FRAME[4:9]}})
    assert {name: len(split) for name, split in found.splits.items()} == {"train": 30, "validation": 6, "test": 9}
    assert found.splits["test"].language_names == ["bn", "sw"]
    assert read(datasets.DatasetDict({"train": dataset(), "test": dataset()})).splits["test"].language_names == ["en"]


def test_overrides_add_to_the_rows(tmp_path: Path) -> None:
    FRAME[:4].to_csv(tmp_path / "bn.csv", index=False)
    found = read(FRAME, data__test__bn=str(tmp_path / "bn.csv"))
    assert len(found.splits["test"]) == 4


def test_numbers_pairs_weights_and_other_column_names() -> None:
    frame = pd.DataFrame(
        {"premise": FRAME["text"], "hypothesis": FRAME["text"], 0: [1, 2] * 15, "trust": [0.5, 2] * 15}
    )
    columns = {"text": "premise", "text_pair": "hypothesis", "label": "0", "weight": "trust"}
    found = read({"train": frame, "test": frame.drop(columns="trust")}, data__columns=columns)
    assert found.labels == ["1", "2"]
    assert found.splits["train"].has_pairs
    assert set(found.splits["train"].weights.tolist()) == {0.5, 2.0}  # type: ignore[union-attr]
    pairs = list(zip(FRAME["text"], FRAME["text"], strict=True))
    assert read((pairs, [1, 2] * 15), data__columns__text_pair="text_pair").splits["train"].has_pairs


@pytest.mark.parametrize("rows", [FRAME, pa.Table.from_pylist(ROWS), dataset()], ids=["frame", "arrow", "dataset"])
def test_one_column_may_be_read_in_two_roles(rows: Any) -> None:
    found = read(rows, data__columns__id="text")
    assert found.splits["train"].table["id"].to_pylist() == found.splits["train"].table["text"].to_pylist()
    assert set(read(rows, data__columns__language="label", data__source_languages=None).source_languages) == {
        "bad",
        "good",
    }


def test_lists_of_labels_are_read_as_their_names() -> None:
    labels = [["joy", "calm"], ["anger", "calm"]] * 15
    with given_rows((FRAME["text"], labels)) as given:
        recipe = load_recipe(BASE, given.keys, {"task": "multi_label"})
        assert given.read(recipe).labels == ["anger", "calm", "joy"]


def test_a_missing_label_is_a_counted_row() -> None:
    found = read(FRAME.assign(label=[None, *FRAME["label"][1:]]))
    assert found.warnings[0] == "1 row of data/train.parquet skipped: no label (row 1)"
    assert [(row.path, row.row) for row in found.skipped] == [("data/train.parquet", 1)]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"train": FRAME, "tset": FRAME}, "data has rows under 'tset'.*Did you mean 'test'"),
        ({"test": FRAME}, "data has test and no training rows"),
        ({"train": FRAME, "dev": FRAME, "validation": FRAME}, "two splits that mean validation"),
        ({"train": {"../en": FRAME}}, "can't be part of a file name"),
        (5, "data/train.parquet is of the type int.*a DataFrame"),
        (dataset().to_iterable_dataset(), "of the type IterableDataset"),
        (FRAME.rename(columns={"text": "txt"}), "data/train.parquet has no column 'text'.*Did you mean 'txt'"),
        (FRAME[:0], "data/train.parquet is empty"),
        (FRAME.assign(text=[1, *FRAME["text"][1:]]), "data/train.parquet: the rows can't be written as a table"),
        ((["a"], [1, 2]), "1 texts and 2 labels"),
        (([("a", "b")] * 4, [1, 2, 1, 2]), "pairs of texts.*data__columns__text_pair='text_pair'"),
        ((["a", "b"], np.array([[1, 0], [0, 1]])), r"a table of labels, of shape \(2, 2\).*a column for each label"),
        ((["a", "b"], [[1, 0], [0, 1]]), r"a table of labels, of shape \(2, 2\)"),
        ((["a", "b"], pd.DataFrame({"joy": [True, False], "anger": [True, True]})), "a table of labels"),
        ((["a", "b"], np.array([[0.5], [2.5]])), r"a table of labels, of shape \(2, 1\)"),
        ((["a", "b\ud83d"], [1, 2]), "^data/train.parquet, row 2: half of a surrogate pair in column 'text'"),
        ((["a", "b"], ["c\ud83d", "d"]), "^data/train.parquet, row 1: half of a surrogate pair in column 'label'"),
        (
            FRAME.astype(object).assign(text=pd.Series(["\ud83d", *FRAME["text"][1:]], dtype=object)),
            "^data/train.parquet, row 1: half of a surrogate pair in column 'text'",
        ),
        ({"train": {1: FRAME}}, "the language 1 is of the type int"),
        (FRAME.assign(label=["\0", *FRAME["label"][1:]]), "^data/train.parquet, row 1: a NUL character"),
    ],
)
def test_what_is_no_rows_is_refused(data: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(data)


def test_rows_that_an_override_sets_aside_are_not_left_unread() -> None:
    with pytest.raises(UserError, match=r"data gives train rows, and a key sets data\.train too"):
        read(FRAME, data__train="en.csv")
