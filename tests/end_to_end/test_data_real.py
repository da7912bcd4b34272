"""Real files, row by row as their README counts them; needs the folder named by GLOTUNE_TEST_DATA."""

import os
import re
from pathlib import Path

import pytest

from glotune.data.profile import shared_texts
from glotune.data.reading import read_texts
from glotune.recipe.schema import Data

FOLDER = Path(os.environ.get("GLOTUNE_TEST_DATA", ""))

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif("GLOTUNE_TEST_DATA" not in os.environ, reason="GLOTUNE_TEST_DATA names no folder"),
]

SPLITS = {"train": "train", "validation": "validation", "val": "validation", "dev": "validation"}
SPLITS |= {"valid": "validation", "test": "test"}


def counts_in_readme() -> dict[str, dict[str, int]]:
    """File -> split -> rows, from the tables of the data's README."""
    found: dict[str, dict[str, int]] = {}
    for line in (FOLDER / "README.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if re.fullmatch(r"[\w-]+/[\w-]+\.csv(\.gz)?", cells[0]) and cells[2] in SPLITS:
            found.setdefault(cells[0], {})[SPLITS[cells[2]]] = int(cells[-1].replace(",", ""))
    return found


COUNTS = counts_in_readme() if "GLOTUNE_TEST_DATA" in os.environ else {}


@pytest.mark.parametrize("file", sorted(COUNTS))
def test_rows_as_stated(file: str) -> None:
    stated = COUNTS[file]
    first = next(iter(stated))
    names = (
        {"split_names": {"train": {"validation": ["dev", "val"], "test": ["test"]}[first]}}
        if "train" not in stated
        else {}
    )
    data = Data.model_validate({"train": str(FOLDER / file), "made_splits": {"validation": 0.1}, **names})
    if "train" not in stated:
        stated = {"train": stated[first], **{split: rows for split, rows in stated.items() if split != first}}
    texts = read_texts(data, 0)
    read = {split: len(rows) for split, rows in texts.splits.items()}
    if "validation" not in stated:
        read["train"] += read.pop("validation")
    if file == "typology_binary/bg.csv":
        assert [(row.row, row.reason) for row in texts.skipped] == [(95, "empty text")]
        read["train"] += 1
    assert read == stated


def test_line_breaks_inside_fields() -> None:
    texts = read_texts(Data(train=str(FOLDER / "humor_haha/es.csv.gz")), 0)
    broken = [text for split in texts.splits.values() for text in split.table["text"].to_pylist() if "\n" in text]
    assert len(broken) == 4597


@pytest.mark.parametrize(("language", "stated"), [("zh", 5445), ("ja", 2209), ("el", 319), ("bg", 243), ("de", 35)])
def test_texts_in_several_splits_as_stated(language: str, stated: int) -> None:
    file = next((FOLDER / "typology_binary").glob(f"{language}.csv*"))
    data = Data(train=str(file), normalization="none")
    assert shared_texts(read_texts(data, 0)) == {language: stated}


def test_cross_lingual_folder() -> None:
    texts = read_texts(Data(train=str(FOLDER / "umsab"), source_languages=["en"]), 0)
    assert texts.source_languages == ["en"]
    assert {name: len(split) for name, split in texts.splits.items()} == {
        "train": 1839,
        "validation": 6 * 324,
        "test": 6 * 870,
    }
    assert texts.labels == ["negative", "neutral", "positive"]
