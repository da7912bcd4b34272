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
OPENING = ("name", "task", "model", "data", "self_training", "train", "seed")
"""Sections that say which texts are read, and where they are trained on."""


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
    max_length: Reach | None = None
    """``data.max_length``."""
    truncation: Literal["head", "head_tail"] | None = None
    """``data.truncation``."""
    frozen_layers: Reach | None = None
    """``model.freeze.layers``."""


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
    max_length: int
    truncation: Literal["head", "head_tail"]
    frozen_layers: int


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

    def opening(self) -> Recipe:
        """What the texts are read by, before the table has had its say.

        Keys that do not go together are no fault yet, unless all of them say what is read: the table may set one.

        Raises:
            UserError: a key or value that no recipe has; or what is read can't be understood.
        """
        try:
            return Recipe.model_validate(self.content)
        except ValidationError as error:
            if any(detail["type"] != "value_error" for detail in error.errors()):
                raise refuse(error, Recipe, AUTO) from error
        settled_later = with_keys(self.content, {"model.freeze.embeddings": True})
        return _recipe_of({name: section for name, section in settled_later.items() if name in OPENING})

    def recipe(self) -> Recipe:
        """The recipe that the keys make.

        Raises:
            UserError: they make none; all problems are listed.
        """
        return _recipe_of(self.content)

    def is_given(self, key: str) -> bool:
        """Whether the user gave a key, or a section around it or a key inside it."""
        return any(f"{key}.".startswith(f"{each}.") or each.startswith(f"{key}.") for each in self.given)


def _recipe_of(content: Mapping[str, Any]) -> Recipe:
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise refuse(error, Recipe, AUTO) from error


Width = Callable[[str], int]
"""Of the hidden states of an encoder, by its ``model.name``."""


def choose(draft: Draft, facts: Facts, width: Width) -> tuple[Recipe, list[Chosen]]:
    """The recipe, and why each of its keys was chosen.

    Args:
        width: asked for where a rule depends on it, and all before it in the rule fits.

    Raises:
        UserError: what the user gave and the table's values make no recipe together.
    """
    rules: list[tuple[str, Rule, Any]] = []
    for entry in auto_table().table:
        encoder = str(draft.content["model"]["name"])
        rule = next((rule for rule in entry.rules if _fits(rule.when, facts, encoder, width)), None)
        if rule is None:
            continue
        value = plain(settled(rule.value, split_key(Recipe, entry.key)[1]))
        rules.append((entry.key, rule, value))
        if not draft.is_given(entry.key):
            draft.content = with_keys(draft.content, {entry.key: value})
    recipe = draft.recipe()
    return recipe, [_chosen(draft, recipe, *each) for each in rules]


def _chosen(draft: Draft, recipe: Recipe, key: str, rule: Rule, value: Any) -> Chosen:
    if not draft.is_given(key):
        return Chosen(key, value, rule.why, rule.measured)
    had = value_at(recipe, key)
    why = "given by you" + ("" if had == value else f"; the table has {_shown(value)}: {rule.why}")
    return Chosen(key, had, why, rule.measured, is_given=True)


def _fits(when: When, facts: Facts, encoder: str, width: Width) -> bool:
    if when.task is not None and facts.task not in when.task:
        return False
    if when.device is not None and facts.device != when.device:
        return False
    if when.encoder is not None and encoder not in when.encoder:
        return False
    if when.pairs is not None and facts.pairs != when.pairs:
        return False
    if when.truncation is not None and facts.truncation != when.truncation:
        return False
    names = (
        "memory_gib", "rows", "balance", "targets", "source_ratio", "long_share", "max_length", "frozen_layers",
    )  # fmt: skip
    reaches: Mapping[str, Reach | None] = {name: getattr(when, name) for name in names}
    if not all(reach is None or reach.holds(getattr(facts, name)) for name, reach in reaches.items()):
        return False
    return when.width is None or when.width.holds(width(encoder))


def _shown(value: Any) -> str:
    return "null" if value is None else str(value)
