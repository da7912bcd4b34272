"""Hostile text and damaged bytes, drawn from a seeded generator."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Sequence
from random import Random
from typing import Any

import pyarrow as pa
from pyarrow import parquet

FRAGMENTS = (
    "\x00", "\x1b[2J\x1b]0;title\x07", "\x7f", "\x85", "\u2028", "\u2029", "\r", "\n", "\t", "\ufeff", "\u200b",
    "\u202eevil\u202c", "\u2066\u2067", "\u0301" * 400, "\U0001f469\u200d\U0001f469\u200d\U0001f467", "\uffff",
    "\U0010ffff", "ﷺ", "\u1100\u1161\u11a8", "ｆｕｌｌ", "'", '"', '"""', ",", ";", "\\", "{", "}", "[", "]", ":", "#",
    "&a", "*a", "!!python/object",
    "${HOME}", "../../../etc/passwd", "=cmd|' /C calc'!A0", "<script>alert(1)</script>", "null", "NaN", "Infinity",
    "-1", "1e999", "9" * 400, "0x10", "2001-01-01", "true", "no", "~", "%n%s", "\ud800", "\udfff", " " * 50,
)  # fmt: skip
BYTES = (
    b"\xff",
    b"\xed\xa0\x80",
    b"\xc0\xaf",
    b"\xf4\x90\x80\x80",
    b"\xef\xbb\xbf",
    b"\xfe\xff",
    b"\x00",
    b"PAR1",
    b"\x1f\x8b",
    b"PK\x03\x04",
)
LONG = "long " * 200_000
"""A line of a megabyte."""


def text(generator: Random, *, long: float = 0.002) -> str:
    """A string of words and hostile fragments; a megabyte of it with probability `long`."""
    if generator.random() < long:
        return LONG
    parts = generator.choices(FRAGMENTS, k=generator.randint(0, 3)) + generator.choices(
        ["good", "bad", "text", "label", "en", "bn"], k=generator.randint(0, 3)
    )
    generator.shuffle(parts)
    return generator.choice(["", " "]).join(parts)


def encoded(value: str) -> bytes:
    """UTF-8, lone surrogates as they would be."""
    return value.encode("utf-8", "surrogatepass")


def value(generator: Random, depth: int = 0) -> Any:
    """Anything that YAML or JSON can say."""
    kind = generator.randint(0, 9 if depth < 3 else 6)
    if kind <= 1:
        return text(generator, long=0)
    if kind == 2:
        return generator.choice([0, 1, -1, 2, 512, 10**6, -(10**9), 10**30])
    if kind == 3:
        return generator.choice([0.0, 0.5, -1.5, 1e300, float("nan"), float("inf"), 2e-5])
    if kind == 4:
        return generator.choice([True, False, None])
    if kind <= 6:
        return generator.choice(["", "none", "auto", "epoch", "macro_f1", "train", "en"])
    if kind == 7:
        return [value(generator, depth + 1) for _ in range(generator.randint(0, 4))]
    return {text(generator, long=0) or "k": value(generator, depth + 1) for _ in range(generator.randint(0, 4))}


def mutated(generator: Random, content: bytes) -> bytes:
    """The bytes with a few of them changed, cut, doubled, or hostile ones put in."""
    data = bytearray(content)
    for _ in range(generator.randint(1, 4)):
        place = generator.randrange(len(data) + 1)
        length = generator.choice([1, 1, 4, 64])
        match generator.randint(0, 5):
            case 0:
                data[place : place + length] = generator.randbytes(length)
            case 1:
                del data[place : place + length]
            case 2:
                data[place:place] = data[place : place + length]
            case 3:
                data[place:place] = generator.choice(BYTES)
            case 4:
                data[place:place] = encoded(generator.choice(FRAGMENTS))
            case _:
                del data[place:]
    return bytes(data)


def replaced(generator: Random, content: Any) -> Any:
    """Plain data with one value somewhere in it put in place of another, dropped, or a key added."""
    if isinstance(content, dict) and content and generator.random() < 0.85:
        key = generator.choice(list(content))
        match generator.randint(0, 4):
            case 0:
                return {**content, key: value(generator)}
            case 1:
                return {name: each for name, each in content.items() if name != key}
            case 2:
                return {**content, text(generator, long=0) or "k": value(generator)}
            case _:
                return {**content, key: replaced(generator, content[key])}
    if isinstance(content, list) and content and generator.random() < 0.7:
        place = generator.randrange(len(content))
        return [*content[:place], replaced(generator, content[place]), *content[place + 1 :]]
    return value(generator)


def table(generator: Random, columns: Sequence[str], suffix: str) -> bytes:
    """A data file: mostly right, with hostile cells, and at times broken bytes."""
    names = [name if generator.random() < 0.97 else text(generator, long=0) for name in columns]
    hostility = generator.choice([0.0, 0.05, 0.3, 1.0])
    rows = [
        [text(generator) if generator.random() < hostility else _plain(name, number) for name in columns]
        for number in range(generator.choice([0, 1, 4, 8, 8, 8]))
    ]
    if suffix == ".parquet":
        content = _parquet(generator, names, rows)
    elif suffix.startswith(".jsonl"):
        lines = [json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=generator.random() < 0.5) for row in rows]
        content = encoded("\n".join(lines) + generator.choice(["\n", ""]))
    else:
        mark = "\t" if suffix.startswith(".tsv") else ","
        quoted = [[_quoted(generator, cell, mark) for cell in row] for row in rows]
        content = encoded("\n".join(mark.join(row) for row in [names, *quoted]) + generator.choice(["\n", ""]))
    if generator.random() < 0.3:
        content = mutated(generator, content)
    return gzip.compress(content) if suffix.endswith(".gz") else content


def _plain(column: str, row: int) -> str:
    return "xy"[row % 2] if column == "label" else f"a {row}"


def _quoted(generator: Random, cell: str, mark: str) -> str:
    if generator.random() < 0.1 or not any(character in cell for character in (mark, '"', "\n", "\r")):
        return cell
    return '"' + cell.replace('"', '""') + '"'


def _parquet(generator: Random, names: Sequence[str], rows: list[list[str]]) -> bytes:
    columns: list[Any] = []
    for place in range(len(names)):
        cells = [row[place].encode("utf-8", "replace").decode() for row in rows]
        as_numbers = generator.random() < 0.05
        columns.append(pa.array(list(range(len(cells)))) if as_numbers else pa.array(cells, pa.string()))
    buffer = io.BytesIO()
    parquet.write_table(
        pa.Table.from_arrays(columns, names=[f"{name}".encode("utf-8", "replace").decode() for name in names]), buffer
    )
    return buffer.getvalue()
