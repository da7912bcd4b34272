from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glotune.errors import UserError
from glotune.verbs.predict import Prediction, format_of, whole_file, writer
from glotune.verbs.predict_inputs import Inputs, Row, require_source
from made_files import piped


def write(path: Path, content: str | bytes) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def rows(inputs: Inputs) -> list[Row]:
    return list(inputs.rows())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("texts.txt", "\ufeffone\r\ntwo, with comma\nthree"),
        ("texts.csv", 'text,label\none,x\n"two, with comma",y\nthree,z\n'),
        ("texts.tsv", "label\ttext\nx\tone\ny\ttwo, with comma\nz\tthree\n"),
        ("texts.jsonl", '{"text": "one", "label": {"a": 1}}\n{"text": "two, with comma"}\n{"text": "three"}\n'),
    ],
)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str, content: str) -> None:
    found = rows(Inputs(write(tmp_path / name, content)))
    assert found == [Row(1, "one"), Row(2, "two, with comma"), Row(3, "three")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("63", b"one\ntwo, with comma\nthree\n"),
        ("texts.csv", b'text,label\none,x\n"two, with comma",y\nthree,z\n'),
        ("texts.CSV.GZ", gzip.compress(b'text,label\none,x\n"two, with comma",y\nthree,z\n', mtime=0)),
        ("texts.jsonl", b'{"text": "one"}\n{"text": "two, with comma"}\n{"text": "three"}\n'),
    ],
)
def test_a_pipe_is_read_as_a_file_is(tmp_path: Path, name: str, content: bytes) -> None:
    with piped(content, tmp_path / name) as pipe:
        require_source(str(pipe))
        assert rows(Inputs(str(pipe))) == [Row(1, "one"), Row(2, "two, with comma"), Row(3, "three")]


def test_the_place_of_a_bad_byte_in_a_pipe_is_told(tmp_path: Path) -> None:
    found = pytest.raises(UserError, match=r"row 2: byte 9 \(0xFF\) is not UTF-8")
    with piped(b"text\none\n\xff\n", tmp_path / "t.csv") as pipe, found:
        rows(Inputs(str(pipe)))


def test_pairs_come_from_two_columns(tmp_path: Path) -> None:
    source = write(tmp_path / "p.csv", "a,b\none,two\n")
    assert rows(Inputs(source, text="a", text_pair="b")) == [Row(1, ("one", "two"))]
    with pytest.raises(UserError, match="text lines hold no pairs"):
        rows(Inputs(write(tmp_path / "p.txt", "one\n"), text_pair="b"))


def test_a_wrong_column_names_the_option_and_the_nearest(tmp_path: Path) -> None:
    source = write(tmp_path / "t.csv", "txet,label\none,x\n")
    with pytest.raises(UserError, match=r"Did you mean 'txet'\?.*Set --text"):
        rows(Inputs(source))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.txt", "one\n \nthree\n", "row 2: an empty text"),
        ("t.csv", 'text\none\n""\n', "row 2: an empty text"),
        ("t.txt", b"one\n\xff\n", r"row 2: byte 4 \(0xFF\) is not UTF-8"),
        ("t.csv", 'text\none\n"two\n', "row 2: a quoted field that is never closed"),
        ("t.jsonl", '{"text": "one"}\n{"txet": "two"}\n', "row 2"),
        ("t.jsonl", '{"text": "one"}\nnot json\n', "row 2: no valid JSON"),
        ("t.csv", "", "is empty"),
    ],
)
def test_bad_input_is_refused_with_its_row(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        rows(Inputs(write(tmp_path / name, content)))


def test_empty_texts_can_be_left_out_and_are_listed(tmp_path: Path) -> None:
    inputs = Inputs(write(tmp_path / "t.txt", "one\n\nthree\n \n"), skip_empty=True)
    assert rows(inputs) == [Row(1, "one"), Row(3, "three")]
    assert inputs.skipped == [2, 4]


@pytest.mark.parametrize("text", ["\u200b", "\ufeff\u200d "])
def test_a_text_of_zero_width_characters_is_empty(tmp_path: Path, text: str) -> None:
    for name, head in (("t.txt", ""), ("t.csv", "text\n")):
        source = write(tmp_path / name, f"{head}one\n{text}\nthree\n")
        assert [row.number for row in rows(Inputs(source, skip_empty=True))] == [1, 3]
        with pytest.raises(UserError, match="row 2: an empty text"):
            rows(Inputs(source))


def test_a_stray_quote_swallows_rows_unless_quotes_mean_nothing(tmp_path: Path) -> None:
    source = write(tmp_path / "t.tsv", 'id\ttext\n1\tone\n2\t"two\n3\tthree"\n4\tfour\n')
    inputs = Inputs(source)
    assert [row.text for row in rows(inputs)] == ["one", "two\n3\tthree", "four"]
    assert [(row.row, row.lines) for row in inputs.swallowing] == [(2, 1)]
    inputs = Inputs(source, quoting="none")
    assert [row.text for row in rows(inputs)] == ["one", '"two', 'three"', "four"]
    assert inputs.swallowing == []


def test_broken_quoting_names_the_option(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--quoting none"):
        rows(Inputs(write(tmp_path / "t.csv", 'text\none\n"two\n')))


@pytest.mark.parametrize("content", ['text\none\n"two\n', "tweet,label\none,x\n", "text,label\none,x,y\n"])
def test_where_nothing_can_be_set_no_option_is_named(tmp_path: Path, content: str) -> None:
    with pytest.raises(UserError) as caught:
        rows(Inputs(write(tmp_path / "t.csv", content), is_fixed=True))
    assert "--" not in str(caught.value)
    assert not any(word in str(caught.value.remedy) for word in ("Set ", "set ", "data."))


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    write(tmp_path / "texts.csv", "")
    with pytest.raises(UserError, match=r"Did you mean 'texts\.csv'"):
        require_source(str(tmp_path / "text.csv"))
    require_source("-")


LABELS = ["no", 'yes, "quoted"']
PREDICTION = Prediction(LABELS[1], {LABELS[0]: 0.25, LABELS[1]: 0.75})


@given(st.text(st.characters(exclude_categories=("Cs",))))
def test_what_is_written_reads_back(text: str) -> None:
    for row in (Row(7, text), Row(8, (text, "second"))):
        pairs = isinstance(row.text, tuple)
        as_json, as_csv = io.StringIO(newline=""), io.StringIO(newline="")
        writer(as_json, "jsonl", LABELS, pairs)(row, PREDICTION)
        record = json.loads(as_json.getvalue())
        assert (record["row"], record["text"], record["label"]) == (row.number, text, LABELS[1])
        assert record["probabilities"] == PREDICTION.probabilities
        writer(as_csv, "csv", LABELS, pairs)(row, PREDICTION)
        as_csv.seek(0)
        header, values = csv.reader(as_csv)
        read = dict(zip(header, values, strict=True))
        assert (read["text"], read["label"], read[f"probability_{LABELS[0]}"]) == (text, LABELS[1], "0.25")
        assert ("text_pair" in read) == pairs


def test_the_format_follows_the_name() -> None:
    assert format_of(None, None) == format_of(Path("x.jsonl"), None) == "jsonl"
    assert format_of(Path("x.CSV"), None) == "csv"
    assert format_of(Path("x.csv"), "jsonl") == "jsonl"


def test_a_failure_leaves_the_older_file_and_no_other(tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    target.write_text("older")
    with pytest.raises(ZeroDivisionError), whole_file(target) as file:
        file.write("half" * (1 // 0))
    assert target.read_text() == "older"
    assert list(tmp_path.iterdir()) == [target]


def test_a_place_that_can_not_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="can't be written"), whole_file(tmp_path / "no" / "out.csv"):
        pass
    with pytest.raises(UserError, match="is a folder"), whole_file(tmp_path):
        pass
