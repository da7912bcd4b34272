"""The table of the documentation, from the results file alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.documents import put_between
from benchmarks.speed.rows import FULL, OTHERS, TRAINING

Results = dict[str, Any]
NO_BOUND = (0.0, None)
WITH_REAL_WEIGHTS = {("full-12-layers", "best"): (2.0, 2.5)}
"""(row, opponent) -> floor and aim of an encoder with real weights, 384 wide; other rows promise nothing there."""


def read_results(path: Path) -> Results:
    """What was measured so far; nothing where the file isn't there yet."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"rows": {}}


def add_result(path: Path, name: str, about: dict[str, Any], measured: dict[str, Any]) -> Results:
    """Puts a row into the file, with the machine that it was measured on; parts measured before stay."""
    results = read_results(path)
    results["rows"][name] = {**results["rows"].get(name, {}), **measured, **about}
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return results


def table(results: Results) -> str:
    """Markdown: every row with its floor, aim and measured ratio (median, then the range over the rounds)."""
    lines = ["| figure | against | floor | aim | measured | holds |", "| --- | --- | ---: | ---: | --- | --- |"]
    for row in TRAINING:
        pairs = (("authors", "authors' setting"), ("best", "best practice"))
        for (key, against), floor, aim in zip(pairs, row.floors, row.aims, strict=True):
            lines.append(_line(results, row.name, row.title, key, against, (floor, aim), lower=False))
    for other in OTHERS:
        if has_real_weights(results) and other.name not in results["rows"]:
            continue  # what no weights take part in is measured once, in the other table
        bounds, lower = (other.floor, other.aim), other.lower_is_better
        lines.append(_line(results, other.name, other.title, "best", other.against, bounds, lower=lower))
    return "\n".join(lines)


def has_real_weights(results: Results) -> bool:
    """Whether what was measured is an encoder that somebody trained."""
    return any(row.get("weights") == "real" for row in results["rows"].values())


def _line(
    results: Results, name: str, title: str, key: str, against: str, bounds: tuple[float, float | None], *, lower: bool
) -> str:
    """A line of the table; floors and aims are for the full encoder, and no smaller one is held against them."""
    found, is_real = results["rows"].get(name), has_real_weights(results)
    floor, aim = WITH_REAL_WEIGHTS.get((name, key), NO_BOUND) if is_real else bounds
    shown = f"| {title} | {against} | {f'{floor:g} ×' if floor else ''} | {'' if aim is None else f'{aim:g} ×'} |"
    ratio = None if found is None else found.get("ratios", {}).get(key)
    if found is None or ratio is None:
        return f"{shown} not measured | |"
    middle = ratio["middle"]
    holds = holding(middle, floor, aim, lower=lower) if floor else ""
    if not is_real and found["hidden"] != FULL.hidden:
        holds = f"{found['hidden']} wide: no measure"
    return f"{shown} {middle:.2f} × ({ratio['low']:.2f}–{ratio['high']:.2f}) | {holds} |"


def holding(middle: float, floor: float, aim: float | None, *, lower: bool) -> str:
    """Whether a ratio holds its floor, and its aim."""

    def reached(bound: float) -> bool:
        return middle <= bound if lower else middle >= bound

    if aim is not None and reached(aim):
        return "aim"
    return "floor" if reached(floor) else "**missed**"


def equivalence_table(results: Results) -> str:
    """Markdown: the largest difference of a loss between both engines."""
    lines = ["| row | width | steps | largest difference of a loss |", "| --- | ---: | ---: | ---: |"]
    for row in TRAINING:
        found = results["rows"].get(row.name, {}).get("equivalence")
        if found is not None:
            sizes = f"{found['hidden']} | {found['steps']}"
            lines.append(f"| {row.title} | {sizes} | {found['largest_difference']:.1e} |")
    return "\n".join(lines)


def place_of(results: Results) -> str:
    """The name of the marks in a document between which the tables of these results stand."""
    return "speed table, real weights" if has_real_weights(results) else "speed table"


def put_into(document: Path, results: Results) -> None:
    """Renders the table between its marks in a document.

    Raises:
        ValueError: the document has no marks.
    """
    put_between(document, place_of(results), f"{table(results)}\n\n{equivalence_table(results)}")
