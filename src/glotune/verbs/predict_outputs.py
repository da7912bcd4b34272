"""Predictions as JSON lines or CSV, to a stream or to a file that is whole or not there."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal

from glotune.data.encoding import Text
from glotune.verbs.predict import Prediction
from glotune.verbs.predict_inputs import Row
from glotune.whole_files import output_file

OutputFormat = Literal["jsonl", "csv"]
Write = Callable[[Row, Prediction], None]


def format_of(path: Path | None, wanted: OutputFormat | None) -> OutputFormat:
    """`wanted`, else what the file's name ends in, else JSON lines."""
    if wanted is not None:
        return wanted
    return "csv" if path is not None and path.suffix.lower() == ".csv" else "jsonl"


def writer(file: IO[str], kind: OutputFormat, labels: list[str], pairs: bool) -> Write:
    """Writes predictions to `file`, one per line: row, text, label, and a probability per label."""
    if kind == "jsonl":

        def write_json(row: Row, prediction: Prediction) -> None:
            texts = _texts(row.text)
            record = {"row": row.number, **texts, "label": prediction.label, "probabilities": prediction.probabilities}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")

        return write_json
    table = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)  # else a lone \r stays bare
    columns = ["row", "text", *(["text_pair"] if pairs else []), "label"]
    table.writerow([*columns, *(f"probability_{label}" for label in labels)])

    def write_csv(row: Row, prediction: Prediction) -> None:
        table.writerow([row.number, *_texts(row.text).values(), prediction.label, *prediction.probabilities.values()])

    return write_csv


def _texts(text: Text) -> dict[str, str]:
    return {"text": text} if isinstance(text, str) else {"text": text[0], "text_pair": text[1]}


@contextmanager
def whole_file(path: Path) -> Iterator[IO[str]]:
    """A text file that is whole at the end; on any error nothing is left, and an older file stays as it was.

    A pipe, a device or an open descriptor is written straight into; see `glotune.whole_files.output_file`.

    Raises:
        UserError: it can't be written there.
    """
    with output_file(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        try:
            yield text
        finally:
            text.detach()  # written out, and left for `output_file` to close
