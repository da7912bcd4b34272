"""Several labels and scores as files write them, generated: columns, delimiters, lists, blanks, numbers, levels.

Each attempt knows the targets that it wrote: what is accepted must be just these, and what can't be is one UserError.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from faults import hostile
from faults.answers import accepted, expect, users_mistakes
from faults.fuzz import Attempt
from glotune.data.reading import read_texts
from glotune.data.texts import TextData
from glotune.recipe.kinds import TaskName
from glotune.recipe.schema import Data

NAMES = ("joy", "anger", "sad", "রাগ", "joie née", "true", "1", "00", "null", "a.b", "label", "text x", "no", "#", "&a")
"""Of labels, in columns and in cells."""
DELIMITERS = ("|", ";", ", ", "||", "\t", " ", "/", ".", "\\", "|,|", "und")
YES: tuple[Any, ...] = ("1", "1.0", " 1 ", "true", "True")
NO: tuple[Any, ...] = ("0", "0.0", " 0", "false", "FALSE")
NUMBERS = ("0", "1.5", "-2", "1e3", " 2.25 ", "+4", "0.1", "007", "1e-30", "16777216")
LEVELS = (-1.0, 0.0, 1.0, 2.5)
NO_SCORES = ("yes", "nan", "inf", "-Infinity", "1e999", "1,5", "1 0", "0x1", "1|0", "None", "∞")
"""No finite number."""
NEITHER = (*NO_SCORES, "2", "-1", "１", "0.5")
"""Neither yes nor no."""
ROWS = 12
Row = list[float]
"""A row's targets, NaN where there is none."""


@dataclass(frozen=True)
class Written:
    """Files' worth of labels, and what they mean."""

    task: TaskName
    columns: dict[str, Any]
    """Of the recipe."""
    cells: list[dict[str, Any]]
    """Of each row, beside its text."""
    names: list[str] | None
    """The labels, in their order; None: whatever the rows name."""
    targets: list[dict[str, float]]
    """By label, what is annotated; empty: a row to be skipped."""
    is_right: bool
    """Whether every cell is one that glotune must take."""
    levels: list[float] | None = None


def label_forms() -> Attempt:
    """Every form of several labels and of scores: the targets are those that were written, or it is refused."""

    def attempt(generator: Random, folder: Path) -> object:
        made = generator.choice([_in_columns, _delimited, _listed, _scores])(generator)
        suffix = generator.choice([".jsonl", ".parquet"] if made.columns.get("delimiter") is None else [".csv"])
        suffix = generator.choice([".csv", suffix]) if made.columns.get("labels") or made.task == "score" else suffix
        path = _write(made.cells, suffix)
        data: dict[str, Any] = {"train": {"en": path}, "validation": {"en": path}, "columns": made.columns}
        data |= {} if made.levels is None else {"levels": made.levels}
        with accepted(f"{made.task} {made.columns} {made.cells}", surely=made.is_right and _is_learnable(made)):
            texts = read_texts(Data.model_validate(data), 0, made.task)
        _compare(made, texts)
        return texts

    return users_mistakes(attempt)


def _compare(made: Written, texts: TextData) -> None:
    """The targets of every text, label by label."""
    assert texts.targets is not None
    split, wanted = texts.splits["train"], [each for each in made.targets if each]
    expect(made.names is None or texts.labels == made.names, f"{made.names} were read as {texts.labels}")
    expect(len(split) == len(wanted), f"{len(split)} of {len(wanted)} rows: {made.cells}")
    for row, number in zip(split.rows.tolist(), split.labels.tolist(), strict=True):
        expected = made.targets[row - 1]
        for name, value in zip(texts.labels, texts.targets[number].tolist(), strict=True):
            missing = 0.0 if made.names is None else math.nan
            meant = float(np.float32(expected.get(name, missing)))
            same = value == meant or (math.isnan(value) and math.isnan(meant))
            expect(same, f"row {row}, {name}: {value} for {meant} in {made.cells[row - 1]}")


def _is_learnable(made: Written) -> bool:
    """Whether there is something to learn about each label: otherwise a refusal is right."""
    if made.names is None:
        return any(value == 1.0 for row in made.targets for value in row.values())
    values = [[row[name] for row in made.targets if name in row] for name in made.names]
    if made.task == "score":
        return all(len({float(np.float32(value)) for value in each}) > 1 for each in values)
    return all(1.0 in each for each in values)


def _names(generator: Random, most: int = 4) -> list[str]:
    return generator.sample(NAMES, generator.randint(1, most))


def _in_columns(generator: Random) -> Written:
    """A column for each label: yes, no, or blank."""
    names, wrong = _names(generator), generator.choice([0.0, 0.1])

    def known() -> tuple[str, float]:
        value = generator.random() < 0.5
        return generator.choice(YES if value else NO), float(value)

    cells, targets, is_right = _rows(generator, names, wrong, NEITHER, ["", " "], known)
    return Written("multi_label", {"labels": names}, cells, names, targets, is_right)


def _rows(
    generator: Random,
    names: Sequence[str],
    wrong: float,
    no_values: Sequence[str],
    blanks: Sequence[str],
    known: Callable[[], tuple[str, float]],
) -> tuple[list[dict[str, Any]], list[dict[str, float]], bool]:
    """Cells by column, what they mean where they are not blank, and whether none of them is wrong."""
    cells, targets, is_right = [], [], True
    for _ in range(ROWS):
        row: dict[str, Any] = {}
        meant: dict[str, float] = {}
        for name in names:
            if generator.random() < wrong:
                row[name] = generator.choice([*no_values, hostile.text(generator, long=0) + "x"])
                is_right = False
            elif generator.random() < 0.2:
                row[name] = generator.choice(blanks)
            else:
                row[name], meant[name] = known()
        cells.append(row)
        targets.append(meant)
    return cells, targets, is_right


def _delimited(generator: Random) -> Written:
    """The names of the labels that apply, joined; the delimiter alone names none."""
    delimiter = generator.choice(DELIMITERS)
    names = [name for name in _names(generator) if not set(name) & set(delimiter)] or ["joy"]
    cells, targets = [], []
    for _ in range(ROWS):
        chosen = generator.sample(names, generator.randint(0, len(names)))
        parts = [*chosen, *generator.choices(chosen, k=generator.choice([0, 0, 1]))] if chosen else []
        blank = not chosen and generator.random() < 0.5
        cells.append({"label": "" if blank else delimiter.join(parts) or delimiter})
        targets.append(_all_of(names, chosen, is_there=not (blank or not (delimiter.strip() or chosen))))
    columns = {"delimiter": delimiter}
    return Written("multi_label", columns, cells, None, targets, is_right=True)


def _listed(generator: Random) -> Written:
    """Lists in JSON lines and Parquet; an empty one says that none applies, null that nobody looked."""
    names, cells, targets = _names(generator), [], []
    for _ in range(ROWS):
        chosen = generator.sample(names, generator.randint(0, len(names)))
        is_there = generator.random() < 0.85
        cells.append({"label": chosen if is_there else None})
        targets.append(_all_of(names, chosen, is_there))
    return Written("multi_label", {}, cells, None, targets, is_right=True)


def _all_of(names: Sequence[str], chosen: Sequence[str], is_there: bool) -> dict[str, float]:
    return {name: float(name in chosen) for name in names} if is_there else {}


def _scores(generator: Random) -> Written:
    """One or several columns of numbers, blanks among them, at times on levels."""
    names = _names(generator, 3)
    several = len(names) > 1 or generator.random() < 0.5
    levels = list(LEVELS) if generator.random() < 0.3 else None
    wrong = generator.choice([0.0, 0.1])

    def known() -> tuple[str, float]:
        written = generator.choice(NUMBERS) if levels is None else f"{generator.choice(levels):g}"
        return written, float(written)

    cells, targets, is_right = _rows(generator, names, wrong, NO_SCORES, [""], known)
    columns: dict[str, Any] = {"labels": names} if several else {"label": names[0]}
    return Written("score", columns, cells, names, targets, is_right, levels)


def _write(cells: list[dict[str, Any]], suffix: str) -> str:
    """The rows as a file, each with a text of its own."""
    rows = [{"text": f"text number {number}", **row} for number, row in enumerate(cells)]
    path = Path(f"en{suffix}")
    if suffix == ".jsonl":
        path.write_bytes(hostile.encoded("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)))
    elif suffix == ".parquet":
        columns = {key: [_sound(row[key]) for row in rows] for key in rows[0]}
        parquet.write_table(pa.table({key: pa.array(values) for key, values in columns.items()}), path)
    else:
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
        path.write_bytes(hostile.encoded(text.getvalue()))
    return str(path)


def _sound(value: Any) -> Any:
    """Parquet holds no lone surrogate."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
