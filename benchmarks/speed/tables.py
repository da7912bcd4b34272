"""The table of the documentation, from the results file alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.speed.rows import FULL, OTHERS, TRAINING

BEGIN, END = "<!-- speed table: begin -->", "<!-- speed table: end -->"
Results = dict[str, Any]


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
        found = results["rows"].get(row.name)
        pairs = (("authors", "authors' setting"), ("best", "best practice"))
        for (key, against), floor, aim in zip(pairs, row.floors, row.aims, strict=True):
            lines.append(_line(row.title, against, floor, aim, found, key, lower=False))
    for other in OTHERS:
        found = results["rows"].get(other.name)
        lower = other.lower_is_better
        lines.append(_line(other.title, other.against, other.floor, other.aim, found, "best", lower=lower))
    return "\n".join(lines)


def _line(
    title: str, against: str, floor: float, aim: float | None, found: Results | None, key: str, *, lower: bool
) -> str:
    """A line of the table; floors and aims are for the full encoder, and no smaller one is held against them."""
    aimed = "" if aim is None else f"{aim:g} ×"
    ratio = None if found is None else found.get("ratios", {}).get(key)
    if found is None or ratio is None:
        return f"| {title} | {against} | {floor:g} × | {aimed} | not measured | |"
    middle, is_full = ratio["middle"], found["hidden"] == FULL.hidden
    holds = holding(middle, floor, aim, lower=lower) if is_full else f"{found['hidden']} wide: no measure"
    return (
        f"| {title} | {against} | {floor:g} × | {aimed} | "
        f"{middle:.2f} × ({ratio['low']:.2f}–{ratio['high']:.2f}) | {holds} |"
    )


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


def put_into(document: Path, results: Results) -> None:
    """Renders the table between its marks in a document.

    Raises:
        ValueError: the document has no marks.
    """
    text = document.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise ValueError(f"{document} holds no {BEGIN} … {END}")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    shown = f"{table(results)}\n\n{equivalence_table(results)}"
    document.write_text(f"{before}{BEGIN}\n\n{shown}\n\n{END}{after}", encoding="utf-8")
