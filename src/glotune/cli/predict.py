"""`glotune predict`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from glotune.verbs.predict import Predictor, Write
    from glotune.verbs.predict_inputs import Inputs

SHOWN = 10
"""Rows named in a line for people."""


def predict(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="A run directory, an export, or a folder with a saved text classifier."),
    ],
    source: Annotated[str, typer.Argument(metavar="FILE|-", help="Lines of text, CSV, TSV, JSONL or Parquet.")] = "-",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write here, whole or not at all.")] = None,
    to: Annotated[
        Literal["jsonl", "csv"] | None,
        typer.Option(help="Output format. Default: by the name of --out, else jsonl."),
    ] = None,
    input_format: Annotated[
        Literal["text", "csv", "tsv", "jsonl", "parquet"] | None,
        typer.Option("--format", help="Input format. By default from the file's name; standard input: lines."),
    ] = None,
    text: Annotated[str | None, typer.Option(help="Column of the texts. Default: the recipe's.")] = None,
    text_pair: Annotated[str | None, typer.Option(help="Column of the second texts. Default: the recipe's.")] = None,
    quoting: Annotated[
        Literal["standard", "none"] | None,
        typer.Option(help="none: quotes in CSV and TSV are ordinary characters. Default: the recipe's."),
    ] = None,
    calibrated: Annotated[
        bool, typer.Option("--calibrated", help="Apply the temperature or threshold that glotune calibrate fitted.")
    ] = False,
    skip_empty: Annotated[
        bool, typer.Option("--skip-empty", help="Leave empty texts out and count them, instead of stopping.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[
        Literal["fp32", "bf16"], typer.Option(help="fp32: transformers' scores; bf16: faster, off by up to about 0.01.")
    ] = "fp32",
) -> None:
    """Predict labels and probabilities for a stream of texts of any length."""
    from glotune.cli.console import say
    from glotune.data.csv_files import about_swallowed
    from glotune.recipe.schema import Columns
    from glotune.run.directory import require_classifier
    from glotune.verbs.predict_inputs import Inputs, require_source

    require_source(source)
    require_classifier(run)

    from glotune.verbs.predict import load

    predictor = load(run, calibrated=calibrated, device=device, precision=precision)
    columns = predictor.columns or Columns()
    inputs = Inputs(
        source,
        input_format,
        text or columns.text,
        text_pair or columns.text_pair,
        skip_empty,
        quoting or predictor.quoting,
    )
    count, cut, outside = _write(predictor, inputs, out, to)
    if inputs.skipped:
        skipped = Listed(len(inputs.skipped), inputs.skipped[:SHOWN])
        say(f"{skipped.count} rows of {inputs.shown} left out: empty text ({skipped})")
    if cut.count:
        say(f"{cut.count} of {count} texts cut: longer than {predictor.max_length} tokens ({cut})")
    if outside.count:
        what = "hold pieces that were cut from this vocabulary, and were read in smaller ones"
        say(f"{outside.count} of {count} texts {what} ({outside})")
    for message in about_swallowed(inputs.swallowing, "set --quoting none"):
        say(f"warning: {message}")
    if out is not None:
        say(f"{count} predictions in {out}")


@dataclass
class Listed:
    """Some rows: how many, and the first of them by number; memory does not grow with them."""

    count: int = 0
    first: list[int] = field(default_factory=list)

    def add(self, row: int) -> None:
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(row)

    def __str__(self) -> str:
        return f"rows {', '.join(map(str, self.first))}{', …' if self.count > SHOWN else ''}"


def _write(
    predictor: Predictor, inputs: Inputs, out: Path | None, to: Literal["jsonl", "csv"] | None
) -> tuple[int, Listed, Listed]:
    from glotune.verbs.predict import format_of, whole_file, writer

    kind, pairs = format_of(out, to), inputs.text_pair is not None
    if out is None:
        return _stream(predictor, inputs, writer(sys.stdout, kind, predictor.labels, pairs, predictor.kind.name))
    with whole_file(out) as file:
        return _stream(predictor, inputs, writer(file, kind, predictor.labels, pairs, predictor.kind.name))


def _stream(predictor: Predictor, inputs: Inputs, write: Write) -> tuple[int, Listed, Listed]:
    """Pairs every prediction with its row; lists the rows that were cut, and those outside the vocabulary.

    One window of rows is held meanwhile.
    """
    from collections import deque

    from glotune.verbs.predict_inputs import Row

    waiting: deque[Row] = deque()

    def texts(rows: Iterable[Row]) -> Iterator[str | tuple[str, str]]:
        for row in rows:
            waiting.append(row)
            yield row.text

    count, cut, outside = 0, Listed(), Listed()
    for prediction in predictor.stream(texts(inputs.rows())):
        row = waiting.popleft()
        write(row, prediction)
        count += 1
        if prediction.truncated:
            cut.add(row.number)
        if prediction.outside:
            outside.add(row.number)
    return count, cut, outside
