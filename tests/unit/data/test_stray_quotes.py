"""Rows that a stray quote swallows are named, and read one by one with data.quoting: none."""

from pathlib import Path

import pytest

from glotune.data.reading import read_texts
from glotune.errors import UserError
from glotune.recipe.schema import Data
from made_files import read

LABELS = ("good", "bad")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, *, label_first: bool = False, delimiter: str = "\t") -> None:
    """24 rows of which the sixth opens a quote that the ninth closes."""
    texts = [f"text number {i}" for i in range(1, 25)]
    texts[5], texts[8] = '"text number 6', 'text number 9"'
    rows = [(text, LABELS[i % 2]) for i, text in enumerate(texts)]
    lines = [delimiter.join(reversed(row) if label_first else row) for row in [("text", "label"), *rows]]
    Path(name).write_text("\n".join(lines) + "\n")


def number_of_texts(**keys: object) -> int:
    return sum(len(split) for split in read(**keys).splits.values())


@pytest.mark.parametrize("label_first", [False, True])
@pytest.mark.parametrize(("name", "delimiter"), [("en.tsv", "\t"), ("en.csv", ",")])
def test_the_row_that_swallows_others_is_named(name: str, delimiter: str, label_first: bool) -> None:
    write(name, label_first=label_first, delimiter=delimiter)
    told: list[str] = []
    texts = read_texts(Data(train=name), 0, on_warning=told.append)
    assert [(row.row, row.lines) for row in texts.swallowing] == [(6, 3)]
    assert f"1 row of {name}" in told[0]
    assert "(row 6): a stray quote may have swallowed 3 rows" in told[0]
    assert "data.quoting=none" in told[0]


@pytest.mark.parametrize(("name", "delimiter"), [("en.tsv", "\t"), ("en.csv", ",")])
def test_without_quoting_every_line_is_a_row(name: str, delimiter: str) -> None:
    write(name, delimiter=delimiter)
    assert number_of_texts(train=name) == 21
    assert number_of_texts(train=name, quoting="none") == 24
    texts = read(train=name, quoting="none")
    assert '"text number 6' in [text for split in texts.splits.values() for text in split.table["text"].to_pylist()]
    assert texts.swallowing == []


def test_texts_with_line_breaks_and_commas_are_no_swallowed_rows() -> None:
    rows = "".join(f'"Good, number {i}\nfine, indeed,\nand cheap",{LABELS[i % 2]}\n' for i in range(20))
    Path("en.csv").write_text("text,label\n" + rows)
    assert read(train="en.csv").swallowing == []


def test_broken_quoting_names_the_key() -> None:
    Path("en.tsv").write_text('text\tlabel\n"stray\tgood\na "b" c\tbad\n')
    with pytest.raises(UserError, match=r"en\.tsv, row 1: .*data\.quoting=none"):
        read(train="en.tsv")


def test_a_row_with_too_many_fields_is_refused_without_quoting_too() -> None:
    Path("en.csv").write_text('text,label\n"a, b",good\nc,bad\n')
    with pytest.raises(UserError, match=r"en\.csv, row 1: 3 fields.*data\.quoting=standard"):
        read(train="en.csv", quoting="none")
