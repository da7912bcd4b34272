"""Annotators' votes in columns, and what of them can't be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from glotune.data.reading import read_evaluation_texts, read_texts
from glotune.data.texts import TextData
from glotune.errors import UserError
from glotune.recipe.schema import Data, Recipe

HEADER = "text,no,one,two,split"
ROWS = ["a,3,0,0,train", "b,1,2,1,train", "c,2,1,1,train", "d,0,0,5,train", "e,,,,train", "f,1,3,0,dev"]
VOTES = {"dull": "no", "funny": ["one", "two"]}


def read(folder: Path, content: list[str], told: list[str] | None = None, **columns: Any) -> TextData:
    (folder / "a.csv").write_text("\n".join([HEADER, *content]) + "\n")
    keys = {"train": str(folder / "a.csv"), "columns": {"votes": VOTES} | columns, "source_languages": ["es"]}
    return read_texts(Data.model_validate(keys), 0, on_warning=None if told is None else told.append)


def votes_of(texts: TextData, split: str = "train") -> dict[str, list[float]]:
    found = texts.splits[split]
    assert found.votes is not None
    return dict(zip(found.table["text"].to_pylist(), found.votes.tolist(), strict=True))


def test_votes_are_added_up_by_class_and_most_make_the_label(tmp_path: Path) -> None:
    told: list[str] = []
    texts = read(tmp_path, ROWS, told)
    assert texts.labels == ["dull", "funny"]
    assert votes_of(texts) == {"a": [3, 0], "b": [1, 3], "c": [2, 2], "d": [0, 5]}
    assert texts.splits["train"].labels.tolist() == [0, 1, 0, 1]
    assert votes_of(texts, "validation") == {"f": [1, 3]}
    assert texts.targets is None, "a text is of one class, as everywhere"
    assert [row.reason for row in texts.skipped] == ["no label"]
    assert any("1 of 4 train texts have as many votes for another class" in each for each in told)


def test_shares_are_votes_too_and_the_hash_knows_them(tmp_path: Path) -> None:
    first = read(tmp_path, ["a,0.75,0.25,0,train", "b,0,0.5,0.5,train", "f,0,1,0,dev"])
    assert votes_of(first) == {"a": [0.75, 0.25], "b": [0, 1]}
    other = read(tmp_path, ["a,0.7,0.3,0,train", "b,0,0.5,0.5,train", "f,0,1,0,dev"])
    assert first.data_hash != other.data_hash, "the same labels, other votes"


def test_votes_from_lines_of_json_and_for_a_trained_model(tmp_path: Path) -> None:
    rows = [{"text": "a", "no": 3, "one": 0, "two": 0}, {"text": "b", "no": 1.0, "one": 2, "two": 0}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = Data.model_validate({"train": "gone.csv", "columns": {"votes": VOTES}, "source_languages": ["es"]})
    found = read_evaluation_texts(str(tmp_path / "a.jsonl"), data, ["funny", "dull"])
    assert votes_of(found, "test") == {"a": [0, 3], "b": [2, 1]}, "in the order of the model's classes"
    with pytest.raises(UserError, match=r"names the classes dull, funny.*those of the model: bad, good"):
        read_evaluation_texts(str(tmp_path / "a.jsonl"), data, ["bad", "good"])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("x,0,0,0,train", "votes that sum to 0"),
        ("x,1,-1,0,train", "the votes '-1' in the column 'one'"),
        ("x,1,nan,0,train", "the votes 'nan' in the column 'one'"),
        ("x,1,inf,0,train", "the votes 'inf' in the column 'one'"),
        ("x,1,many,0,train", "the votes 'many' in the column 'one'"),
        ("x,1,,0,train", "no votes in the column 'one'"),
    ],
)
def test_what_is_no_vote_is_told_with_its_row(tmp_path: Path, row: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        read(tmp_path, [*ROWS, row])
    assert said in str(caught.value)
    assert "a.csv, row 7" in str(caught.value)


def test_a_class_may_lack_majorities_and_not_votes(tmp_path: Path) -> None:
    texts = read(tmp_path, ["a,3,1,0,train", "b,4,0,1,train", "f,1,3,0,dev"])
    assert texts.splits["train"].labels.tolist() == [0, 0]
    with pytest.raises(UserError, match="no training row has votes for 'funny'"):
        read(tmp_path, ["a,3,0,0,train", "b,4,0,0,train", "f,1,3,0,dev"])


def test_columns_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        read(tmp_path, ROWS, votes={"dull": "no", "funny": ["onne", "two"]})
    said = str(caught.value)
    assert "no column 'onne'" in said
    assert "data.columns.votes" in said
    assert "'one'" in said
    with pytest.raises(UserError, match=r"no column 'nope'.*no column 'onne'.*data.columns.votes="):
        read(tmp_path, ROWS, votes={"dull": "nope", "funny": ["onne", "two"]})


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"data": {"columns": {"votes": {"a": "x", "b": "x"}}}}, "votes names the column 'x' twice"),
        ({"data": {"columns": {"votes": {"a": "x"}}}}, "at least 2 items"),
        ({"data": {"columns": {"votes": VOTES}, "labels": ["dull", "funny"]}}, "whose keys are the labels"),
        ({"data": {"columns": {"votes": VOTES}}, "task": "score", "evaluate": {"metric": "pearson"}}, "single_label"),
    ],
)
def test_recipes_that_can_not_be_meant(keys: dict[str, Any], said: str) -> None:
    data = {"train": "a.csv", **keys["data"]}
    with pytest.raises(ValueError, match=said):
        Recipe.model_validate({"name": "a", "model": {"name": "b"}, **keys, "data": data})
