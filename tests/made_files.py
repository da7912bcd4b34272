"""Rows, and files of them, for what reading a recipe's data is tested by."""

import csv
import io
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from glotune.data.reading import read_texts
from glotune.data.texts import LabelledTexts, TextData
from glotune.recipe.schema import Data

ROWS = [
    {"text": f'text {i}, with "quotes"\nand a line break' if i % 7 == 0 else f"text number {i}", "label": str(i % 3)}
    for i in range(60)
]


def as_csv(rows: list[dict[str, str]], delimiter: str = ",") -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def as_jsonl(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def read(seed: int = 0, **keys: object) -> TextData:
    return read_texts(Data.model_validate(keys), seed)


def content(split: LabelledTexts) -> list[tuple[Any, ...]]:
    columns = [name for name in split.table.column_names if name not in ("source", "key")]
    return [tuple(row[name] for name in columns) for row in split.table.select(columns).to_pylist()]


@contextmanager
def piped(data: bytes, path: Path) -> Iterator[Path]:
    """A named pipe that gives `data` to whoever opens it, once."""
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(data,), daemon=True)
    writer.start()
    yield path
    writer.join(timeout=10)
    assert not writer.is_alive(), f"nobody read {path}"
