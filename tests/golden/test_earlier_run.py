"""A run that glotune 0.1.0 wrote, before the readers of a run were one: it opens, and shows the same numbers.

``earlier_run`` is the quickstart in four languages without its weights, ``earlier_report.md`` what was drawn of it
then. Estimates are held to that report; intervals are not, where texts that are translations of one another are now
resampled together.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from glotune.evidence.compare import compare_runs
from glotune.evidence.judgement import judge_run
from glotune.recipe import load_recipe, recipe_hash, recipe_yaml
from glotune.recipe.keys import variant_key
from glotune.report.write import write_report
from glotune.run.data import load_run
from glotune.run.directory import RunDirectory
from glotune.run.state import find_runs

HERE = Path(__file__).parent
Table = dict[tuple[str, ...], dict[str, str]]
"""The words that begin a row -> column -> the number that its cell begins with."""
NUMBER = re.compile(r"[+-]?[\d,]+(?:\.\d+)?")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(HERE / "earlier_run", tmp_path / "earlier"))


@pytest.mark.extras
def test_its_report_shows_the_same_numbers(run: Path) -> None:
    write_report(run)
    expected = tables((HERE / "earlier_report.md").read_text(encoding="utf-8"))
    found = tables((run / "report" / "report.md").read_text(encoding="utf-8"))
    compared = place = 0
    for number, table in enumerate(expected):
        same = None
        while same is None:  # in the order of the report: the tables of two splits look alike
            assert place < len(found), f"table {number} lost rows or columns: {sorted(table)}, {sorted(columns(table))}"
            each = found[place]
            same = each if set(table) <= set(each) and columns(table) <= columns(each) else None
            place += 1
        for row, cells in table.items():
            for column, value in cells.items():
                assert same[row][column] == value, (row, column)
                compared += 1
    assert compared > 140


def test_it_opens_everywhere(run: Path) -> None:
    assert [each.path for each in find_runs(run.parent)] == [run]
    loaded = load_run(run)
    assert loaded.verdict is not None
    assert judge_run(loaded.directory).status == loaded.verdict.status
    assert load_recipe(run / "recipe.yaml").train.epochs == 4
    again = Path(shutil.copytree(run, run.parent / "again"))
    compared = compare_runs([run, again], language="all")
    assert compared.mean(compared.reference) == pytest.approx((0.673 + 0.545 + 0.450 + 0.336) / 4, abs=5e-4)


def columns(table: Table) -> set[str]:
    return {column for cells in table.values() for column in cells}


def tables(markdown: str) -> list[Table]:
    """Every table of estimates; those of two columns are words about the run."""
    found: list[Table] = []
    for block in re.findall(r"(?:^\|.*\|\n)+", markdown, flags=re.M):
        header, _, *rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in block.splitlines()]
        if len(header) < 4:
            continue
        words = next(place for place, cell in enumerate(rows[0]) if NUMBER.fullmatch(cell))
        found.append(
            {
                tuple(row[:words]): {
                    name: match.group()
                    for name, cell in zip(header[words:], row[words:], strict=True)
                    if (match := NUMBER.match(cell))
                }
                for row in rows
            }
        )
    return found


def test_its_recipe_is_still_the_same_variant(run: Path) -> None:
    """Whoever adds a key names it in `LATER`: seeds of an earlier version would be another variant otherwise."""
    recipe, manifest = load_recipe(run / "recipe.yaml"), RunDirectory.open(run).read_manifest()
    assert recipe_hash(recipe) == manifest.recipe_hash
    resolved = recipe_yaml(recipe).replace(str(run.parent), str(HERE))
    assert variant_key(resolved) == variant_key((run / "recipe.yaml").read_text(encoding="utf-8"))
