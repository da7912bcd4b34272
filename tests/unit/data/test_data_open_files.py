"""No reader leaves a file open, at its end, at an error, or where its rows are left in the middle."""

from __future__ import annotations

import contextlib
import gc
import gzip
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from glotune.data.plain_text import read_lines
from glotune.data.sources import Source
from glotune.errors import UserError
from glotune.verbs.predict_inputs import Inputs

CSV = b"text,label\nlovely day,good\nsad day,bad\n"
CONTENT = {
    "a.csv": CSV,
    "a.tsv": CSV.replace(b",", b"\t"),
    "a.csv.gz": gzip.compress(CSV),
    "a.jsonl": b'{"text": "lovely day"}\n{"text": "sad day"}\n',
    "a.txt": b"lovely day\nsad day\n",
    "broken.csv": b'text,label\nlovely "day,"good\n',
    "latin.csv": CSV + b"caf\xe9,good\n",
    "latin.txt": b"caf\xe9\n",
    "latin.jsonl": b'{"text": "caf\xe9"}\n',
}


@pytest.fixture
def complaints(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    told: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: told.append(str(found.exc_value)))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        yield told


@pytest.mark.parametrize("name", CONTENT)
@pytest.mark.parametrize("rows", [1, None])
def test_an_input_is_closed(name: str, rows: int | None, tmp_path: Path, complaints: list[str]) -> None:
    path = tmp_path / name
    path.write_bytes(CONTENT[name])
    reader = Inputs(str(path)).rows()
    with contextlib.suppress(UserError):
        for number, _ in enumerate(reader, 1):
            if number == rows:
                break
    reader.close()
    del reader
    gc.collect()
    assert complaints == []


def test_parquet_and_plain_texts_are_closed(tmp_path: Path, complaints: list[str]) -> None:
    parquet.write_table(pa.table({"text": ["lovely day"]}), tmp_path / "a.parquet")
    assert len(list(Inputs(str(tmp_path / "a.parquet")).rows())) == 1
    (tmp_path / "en.txt").write_bytes(b"lovely day\n")
    assert read_lines(Source(str(tmp_path / "en.txt"), "lines", "data.text", "en"))[0].num_rows == 1
    gc.collect()
    assert complaints == []
