"""`glotune train auto`: recipe values by what is known of the texts and the machine, from a table that is data.

The table (``auto.yaml``) says of each key which value is taken when, why, and where that was measured. Keys that the
user gives always win. What comes out is a recipe like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from glotune.recipe import yaml
from glotune.recipe.kinds import TaskName
from glotune.recipe.loading import Overrides, parsed_overrides, set_key, split_key, value_at, with_keys
from glotune.recipe.problems import refuse
from glotune.recipe.schema import Recipe
from glotune.recipe.section import Section
from glotune.recipe.values import plain, settled

AUTO = "auto"
"""In the place of a recipe's name."""
TABLE = Path(__file__).parent.parent / "auto.yaml"


class Reach(Section):
    """Numbers from one on, below another."""

    at_least: float | None = None
    below: float | None = None

    def holds(self, value: float | None) -> bool:
        """Whether a known number lies there."""
        if value is None:
            return False
        return (self.at_least is None or value >= self.at_least) and (self.below is None or value < self.below)


class When(Section):
    """What must be so; what is null may be as it likes."""

    task: list[TaskName] | None = None
    device: Literal["cpu", "gpu"] | None = None
    memory_gib: Reach | None = None
    """Free on the device."""
    encoder: list[str] | None = None
    """``model.name``, as given or chosen before."""
    width: Reach | None = None
    """Of the encoder's hidden states: 384 of small ones, 768 of base ones."""
    rows: Reach | None = None
    """Training texts."""
    balance: Reach | None = None
    """Share of the rarest class times the number of classes: 1 where all are alike."""
    targets: Reach | None = None
    """Languages that are validated or tested on and not trained on."""
    source_ratio: Reach | None = None
    """Training texts of the largest source language for each of the smallest."""
    long_share: Reach | None = None
    """Share of the training texts that are longer than 500 characters."""
    pairs: bool | None = None
    """Whether texts come in pairs."""


class Rule(Section):
    """One value of a key."""

    value: Any
    when: When = When()
    why: str
    measured: str | None
    """Pages of the documentation that show it; null: not measured."""


class Entry(Section):
    """One key, and the rules of which the first that fits decides."""

    key: str
    rules: list[Rule] = Field(min_length=1)


class Table(Section):
    """The whole table."""

    base: dict[str, Any]
    """Keys that every such recipe begins with."""
    table: list[Entry]


@dataclass(frozen=True)
class Facts:
    """What is known before anything is chosen; names as in `When`."""

    task: TaskName
    device: Literal["cpu", "gpu"]
    memory_gib: float | None
    rows: int
    balance: float | None
    targets: int
    source_ratio: float
    long_share: float
    pairs: bool


@dataclass(frozen=True)
class Chosen:
    """One key that the table has a word about."""

    key: str
    value: Any
    why: str
    measured: str | None
    is_given: bool = False
    """Whether the user gave the value; `why` then says what the table would have taken."""


@cache
def auto_table() -> Table:
    """The table as shipped."""
    return Table.model_validate(yaml.read(TABLE))


@dataclass
class Draft:
    """The keys so far, and which of them the user gave."""

    content: dict[str, Any]
    given: list[str]

    @classmethod
    def of(cls, *overrides: Overrides) -> Draft:
        """The base and what the user gives over it."""
        draft = cls(dict(auto_table().base), [])
        for each in overrides:
            for key, value in parsed_overrides(each):
                set_key(draft.content, key, value)
                draft.given.append(key)
        return draft

    def recipe(self) -> Recipe:
        """The recipe that the keys make.

        Raises:
            UserError: they make none; all problems are listed.
        """
        try:
            return Recipe.model_validate(self.content)
        except ValidationError as error:
            raise refuse(error, Recipe, AUTO) from error

    def is_given(self, key: str) -> bool:
        """Whether the user gave a key, or a section around it or a key inside it."""
        return any(f"{key}.".startswith(f"{each}.") or each.startswith(f"{key}.") for each in self.given)


Width = Callable[[str], int]
"""Of the hidden states of an encoder, by its ``model.name``."""


def choose(draft: Draft, facts: Facts, width: Width) -> tuple[Recipe, list[Chosen]]:
    """The recipe, and why each of its keys was chosen.

    Args:
        width: asked for where a rule depends on it, and all before it in the rule fits.

    Raises:
        UserError: what the user gave and the table's values make no recipe together.
    """
    chosen = []
    for entry in auto_table().table:
        encoder = str(draft.content["model"]["name"])
        rule = next((rule for rule in entry.rules if _fits(rule.when, facts, encoder, width)), None)
        if rule is None:
            continue
        kind = split_key(Recipe, entry.key)[1]
        value = plain(settled(rule.value, kind))
        if draft.is_given(entry.key):
            had = value_at(draft.recipe(), entry.key)
            why = "given by you" + ("" if had == value else f"; the table has {_shown(value)}: {rule.why}")
            chosen.append(Chosen(entry.key, had, why, rule.measured, is_given=True))
            continue
        draft.content = with_keys(draft.content, {entry.key: value})
        chosen.append(Chosen(entry.key, value, rule.why, rule.measured))
    return draft.recipe(), chosen


def _fits(when: When, facts: Facts, encoder: str, width: Width) -> bool:
    if when.task is not None and facts.task not in when.task:
        return False
    if when.device is not None and facts.device != when.device:
        return False
    if when.encoder is not None and encoder not in when.encoder:
        return False
    if when.pairs is not None and facts.pairs != when.pairs:
        return False
    names = ("memory_gib", "rows", "balance", "targets", "source_ratio", "long_share")
    reaches: Mapping[str, Reach | None] = {name: getattr(when, name) for name in names}
    if not all(reach is None or reach.holds(getattr(facts, name)) for name, reach in reaches.items()):
        return False
    return when.width is None or when.width.holds(width(encoder))


def _shown(value: Any) -> str:
    return "null" if value is None else str(value)
