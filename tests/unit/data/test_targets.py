"""Several labels for each text, and what of them can't be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from glotune.data.reading import read_evaluation_texts, read_texts
from glotune.data.targets import parts_of, strata_of
from glotune.data.texts import TextData
from glotune.errors import UserError
from glotune.recipe.kinds import TaskName
from glotune.recipe.schema import Data, Recipe

HEADER = "text,anger,joy,language,split"
ROWS = ["one,1,0,en,train", "two,0,1,en,train", "three,,1,de,train", "four,0,0,de,train", "five,1,1,en,dev"]


def read(
    folder: Path, content: str | list[str], name: str = "a.csv", task: TaskName = "multi_label", **keys: Any
) -> TextData:
    (folder / name).write_text(content if isinstance(content, str) else "\n".join([HEADER, *content]) + "\n")
    columns = {"columns": {"labels": ["anger", "joy"]}, **keys}
    return read_texts(Data.model_validate({"train": str(folder / name), **columns}), 0, task)


def rows_of(texts: TextData, split: str = "train") -> dict[str, list[float | None]]:
    """Text -> its targets, None where there is none."""
    table = texts.splits[split].table
    assert texts.targets is not None
    found = texts.targets[texts.splits[split].labels]
    return {
        text: [None if np.isnan(value) else float(value) for value in row]
        for text, row in zip(table["text"].to_pylist(), found, strict=True)
    }


def test_a_column_for_each_label(tmp_path: Path) -> None:
    texts = read(tmp_path, ROWS)
    assert texts.labels == ["anger", "joy"]
    assert rows_of(texts) == {"one": [1, 0], "two": [0, 1], "three": [None, 1], "four": [0, 0]}
    assert rows_of(texts, "validation") == {"five": [1, 1]}


@pytest.mark.parametrize(
    ("yes", "no"), [("1", "0"), ("1.0", "0.0"), ("true", "false"), ("TRUE", "False"), (" 1", "0 ")]
)
def test_yes_and_no_are_written_in_several_ways(tmp_path: Path, yes: str, no: str) -> None:
    texts = read(tmp_path, [f"one,{yes},{no},en,train", f"two,{no},{yes},en,train", "five,1,1,en,dev"])
    assert rows_of(texts) == {"one": [1, 0], "two": [0, 1]}


def test_one_column_with_a_delimiter(tmp_path: Path) -> None:
    rows = ["one,joy|anger,train", "two,anger,train", "three,|,train", "four, joy | anger ,train", "five,joy,dev"]
    content = "\n".join(["text,label,split", *rows])
    texts = read(tmp_path, content, columns={"delimiter": "|"}, source_languages=["en"])
    assert texts.labels == ["anger", "joy"]
    assert rows_of(texts) == {"one": [1, 1], "two": [1, 0], "three": [0, 0], "four": [1, 1]}


def test_a_mapping_names_labels_and_their_order(tmp_path: Path) -> None:
    content = "text,label,split\none,j;a,train\ntwo,a,train\nfive,j,dev\n"
    texts = read(
        tmp_path, content, columns={"delimiter": ";"}, source_languages=["en"], labels={"j": "joy", "a": "anger"}
    )
    assert texts.labels == ["joy", "anger"]
    assert rows_of(texts) == {"one": [1, 1], "two": [0, 1]}


def test_lists(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"text": "one", "label": ["joy", "anger"], "split": "train"},
        {"text": "two", "label": [], "split": "train"},
        {"text": "three", "label": None, "split": "train"},
        {"text": "five", "label": ["joy"], "split": "dev"},
    ]
    wanted = {"one": [1, 1], "two": [0, 0]}
    lines = "\n".join(map(json.dumps, rows))
    texts = read(tmp_path, lines, "a.jsonl", columns={}, source_languages=["en"])
    assert rows_of(texts) == wanted
    assert [row.reason for row in texts.skipped] == ["no label"]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    data = Data(train=str(tmp_path / "a.parquet"), source_languages=["en"])
    assert rows_of(read_texts(data, 0, "multi_label")) == wanted


def test_the_hash_knows_the_labels_and_further_texts_are_read_under_them(tmp_path: Path) -> None:
    texts = read(tmp_path, ROWS)
    other = read(tmp_path, [ROWS[0].replace("1,0", "1,1"), *ROWS[1:]])
    assert texts.data_hash != other.data_hash
    assert texts.data_hash == read(tmp_path, ROWS).data_hash
    data = Data.model_validate({"train": "gone.csv", "columns": {"labels": ["anger", "joy"]}})
    found = read_evaluation_texts(str(tmp_path / "a.csv"), data, texts.labels, "multi_label", split="validation")
    assert rows_of(found, "validation") == {"five": [1, 1]}


@pytest.mark.parametrize(
    ("header", "columns", "wanted"),
    [
        ("anger,joy", ["joy", "anger"], [1, 0]),
        ("anger,joy", ["joy"], [None, 0]),
        ("anger,joy", ["anger\u200b"], [1, None]),
        ("zorn,freude", ["zorn", "freude"], [1, 0]),
        ("anger,freude", ["anger", "freude"], [1, 0]),
    ],
)
@pytest.mark.parametrize("task", ["multi_label", "score"])
def test_columns_of_further_files_are_found_by_name(
    tmp_path: Path, task: TaskName, header: str, columns: list[str], wanted: list[float | None]
) -> None:
    (tmp_path / "b.csv").write_text(f"text,{header}\none,1,0\n")
    data = Data.model_validate({"train": "gone.csv", "columns": {"labels": columns}, "source_languages": ["en"]})
    found = read_evaluation_texts(str(tmp_path / "b.csv"), data, ["anger", "joy"], task)
    assert rows_of(found, "test") == {"one": wanted}


@pytest.mark.parametrize("columns", [["freude"], ["joy", "zorn"], ["anger", "joy", "fear"]])
@pytest.mark.parametrize("task", ["multi_label", "score"])
def test_columns_of_further_files_that_are_not_the_models(tmp_path: Path, task: TaskName, columns: list[str]) -> None:
    (tmp_path / "b.csv").write_text(f"text,{','.join(columns)}\none{',1' * len(columns)}\n")
    data = Data.model_validate({"train": "gone.csv", "columns": {"labels": columns}, "source_languages": ["en"]})
    with pytest.raises(UserError, match=r"data\.columns\.labels.*any of anger, joy"):
        read_evaluation_texts(str(tmp_path / "b.csv"), data, ["anger", "joy"], task)


def test_one_column_of_scores_among_those_of_the_model(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("text,joy,stars\none,3.5,2\n")

    def scores(column: str, names: list[str]) -> dict[str, list[float | None]]:
        data = Data.model_validate({"train": "gone.csv", "columns": {"label": column}, "source_languages": ["en"]})
        return rows_of(read_evaluation_texts(str(tmp_path / "b.csv"), data, names, "score"), "test")

    assert scores("joy", ["anger", "joy"]) == {"one": [None, 3.5]}
    assert scores("stars", ["label"]) == {"one": [2]}
    with pytest.raises(UserError, match=r"data\.columns\.label: the column stars"):
        scores("stars", ["anger", "joy"])


def test_strata_go_by_the_rarest_label() -> None:
    targets = np.array([[1, 0, 1], [1, 1, 0], [0, 0, 0], [1, np.nan, 0]], np.float32)
    ids = np.array([0, 1, 1, 2, 3, 3])
    assert strata_of(targets, ids).tolist() == [0, 1, 1, 3, 2, 2]


def refusal(folder: Path, content: str | list[str], **keys: Any) -> str:
    with pytest.raises(UserError) as caught:
        read(folder, content, **keys)
    return str(caught.value)


def test_columns_that_do_not_exist(tmp_path: Path) -> None:
    said = refusal(tmp_path, ROWS, columns={"labels": ["angr", "joy"]})
    assert "no column 'angr'" in said
    assert "Did you mean 'anger'?" in said
    assert "data.columns.labels" in said
    assert "data.columns.labels=[anger, joy]" in refusal(tmp_path, ROWS, columns={"labels": ["angr", "joyy"]})


@pytest.mark.parametrize("value", ["2", "yes", "-1", "0.5", "nan"])
def test_other_values_than_yes_and_no(tmp_path: Path, value: str) -> None:
    said = refusal(tmp_path, [*ROWS, f"six,1,{value},en,train"])
    assert f"the value '{value}' in the column 'joy'" in said
    assert "a.csv, row 6" in said
    assert ("task: score" in said) == (value not in ("yes",))


def test_a_language_without_annotations(tmp_path: Path) -> None:
    said = refusal(tmp_path, [*ROWS, "six,,,fr,train", "seven,,,fr,train"])
    assert "'fr'" in said
    assert "no row of" in said


def test_a_label_that_nobody_annotated_or_that_never_applies(tmp_path: Path) -> None:
    said = refusal(tmp_path, [row.replace(",1,", ",,").replace(",0,", ",,") for row in ROWS])
    assert "no training row has anything in 'anger'" in said
    assert "Leave 'anger' out of data.columns.labels" in said
    rows = ["one,0,1,en,train", "two,0,0,en,train", "five,0,1,en,dev"]
    assert "no training row has the label 'anger' (2 say that it does not apply)" in refusal(tmp_path, rows)


def test_an_unknown_label_of_a_column(tmp_path: Path) -> None:
    content = "text,label,split\none,joy|angr,train\nfive,joy,dev\n"
    said = refusal(tmp_path, content, columns={"delimiter": "|"}, source_languages=["en"], labels=["joy", "anger"])
    assert "unknown label 'angr'" in said
    assert "a.csv, row 1" in said
    assert "anger" in said


def test_one_class_per_text_points_to_several_labels(tmp_path: Path) -> None:
    rows = [
        f"text {number},{'joy|anger' if number % 3 else ('joy', 'anger')[number % 2]},train" for number in range(12)
    ]
    (tmp_path / "a.csv").write_text("\n".join(["text,label,split", *rows, "five,joy,dev"]) + "\n")
    told: list[str] = []
    read_texts(Data(train=str(tmp_path / "a.csv"), source_languages=["en"]), 0, on_warning=told.append)
    assert any("labels hold '|'" in each and "task: multi_label, data.columns.delimiter: '|'" in each for each in told)
    lines = '{"text": "one", "label": ["joy", "anger"], "split": "train"}'
    (tmp_path / "a.jsonl").write_text(lines)
    with pytest.raises(UserError, match="task: multi_label"):
        read_texts(Data(train=str(tmp_path / "a.jsonl"), source_languages=["en"]), 0)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"loss": {"pos_weight": "balanced"}}, "loss.pos_weight is for the task multi_label"),
        (
            {"data": {"train": "a.csv", "columns": {"labels": ["a"]}}},
            "data.columns.labels is for the task multi_label or",
        ),
        (
            {"task": "multi_label", "loss": {"class_weights": "balanced"}},
            "loss.class_weights is for the task single_label",
        ),
        ({"task": "multi_label", "evaluate": {"metric": "accuracy"}}, "evaluate.metric accuracy is none of the task"),
        ({"task": "multi_label", "data": {"train": "a.csv", "levels": [0, 1]}}, "data.levels is for the task score"),
        (
            {"task": "multi_label", "data": {"train": "a.csv", "columns": {"labels": ["a"]}, "labels": {"a": "b"}}},
            r"data\.labels is set beside data\.columns\.labels",
        ),
        (
            {"task": "multi_label", "data": {"train": "a.csv", "columns": {"labels": ["a"]}, "labels": ["a"]}},
            r"data\.labels is set beside data\.columns\.labels",
        ),
        (
            {"task": "multi_label", "data": {"train": "a.csv", "columns": {"labels": ["a"], "delimiter": "|"}}},
            r"data\.columns\.delimiter cuts the one column",
        ),
        ({"task": "score", "evaluate": {"metric": "kappa"}}, "evaluate.metric is kappa.* there are no data.levels"),
    ],
)
def test_keys_of_another_task(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Recipe.model_validate({"name": "a", "model": {"name": "b"}, "data": {"train": "a.csv"}, **keys})


@pytest.mark.parametrize(
    ("value", "delimiter", "names"),
    [
        (",", ", ", []),
        ("joy,", ", ", ["joy"]),
        ("joy, anger", ", ", ["joy", "anger"]),
        ("1,5", ", ", ["1,5"]),
        ("| joy", " | ", ["joy"]),
        ("joy anger", " ", ["joy", "anger"]),
    ],
)
def test_a_delimiter_with_blanks_is_known_at_the_ends_of_a_cell_that_was_stripped(
    value: str, delimiter: str, names: list[str]
) -> None:
    assert parts_of(value, delimiter) == names
