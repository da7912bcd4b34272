"""The points of a search space, and the recipe that each of them makes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from glotune.errors import UserError, did_you_mean
from glotune.recipe.loading import split_key, value_at, with_keys
from glotune.recipe.problems import all_keys, refuse
from glotune.recipe.schema import Recipe
from glotune.recipe.search import Dimension, Search
from glotune.recipe.values import alternatives, plain, settled

Point = dict[str, Any]
"""Recipe key -> value."""
JUDGING = (
    "name", "description", "task", "seed", "track", "records", "evaluate.metric", "evaluate.on", "evaluate.test",
    "evaluate.baselines", "data.train", "data.validation", "data.test", "data.hide_test", "data.columns",
    "data.quoting", "data.split_names", "data.made_splits", "data.labels", "data.levels", "data.weighted_metrics",
    "data.source_languages",
)  # fmt: skip
"""Keys that say what a run is called, or by what and on which texts it is judged: the same for all trials."""
MISSING = object()
MOST_CORNERS = 512
"""So many combinations of extreme values are tried; of a larger space those of two keys at a time."""


@dataclass(frozen=True)
class Axis:
    """One key of the space.

    Attributes:
        key: of the recipe.
        dimension: as written.
        is_integer: whether a range holds whole numbers alone.
        choices: the values in the recipe's types, as JSON; None of a range.
    """

    key: str
    dimension: Dimension
    is_integer: bool
    choices: tuple[Any, ...] | None

    @property
    def ends(self) -> list[Any]:
        """The values in which a mistake would show: both ends of a range, all choices."""
        if self.choices is not None:
            return list(self.choices)
        return [self.number(end) for end in (self.dimension.low, self.dimension.high) if end is not None]

    def number(self, value: float) -> float | int:
        """A value of a range in the key's type."""
        return int(value) if self.is_integer else float(value)

    def place(self, value: Any) -> int | None:
        """Which of the choices a value is."""
        written = [json.dumps(each, sort_keys=True) for each in self.choices or ()]
        mine = json.dumps(value, sort_keys=True)
        return written.index(mine) if mine in written else None

    def holds(self, value: Any) -> bool:
        """Whether the space has this value."""
        if self.choices is not None:
            return self.place(value) is not None
        low, high, step = self.dimension.low, self.dimension.high, self.dimension.step
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if low is None or high is None or not is_number or not low <= value <= high:
            return False
        return step is None or abs((value - low) / step - round((value - low) / step)) < 1e-9


def axes_of(search: Search) -> list[Axis]:
    """The axes of the space, in the order in which they are written.

    Raises:
        UserError: a key that no recipe has or that no search may vary, or values of another type than the key's.
    """
    return [_axis(key, dimension) for key, dimension in search.space.items()]


def _axis(key: str, dimension: Dimension) -> Axis:
    where = f"search.space.{key}"
    kind = split_key(Recipe, key)[1]
    if kind is None:
        raise UserError(
            f"'{key}' is no key of a recipe",
            where=where,
            expected="a recipe key such as optimizer.learning_rate",
            remedy=did_you_mean(key, all_keys(Recipe)) or "All keys: glotune recipes schema",
        )
    if any(f"{key}.".startswith(f"{each}.") or each.startswith(f"{key}.") for each in JUDGING):
        raise UserError(
            f"'{key}' can't be searched: it names the runs, or decides by what and on which texts they are judged",
            where=where,
            expected="keys of model, loss, optimizer, schedule, train, or data keys that change training alone",
            remedy="Set it under `keys`, the same for all trials",
        )
    kinds = alternatives(kind)
    if dimension.choices is not None:
        return Axis(key, dimension, False, tuple(plain(settled(value, kind)) for value in dimension.choices))
    if not {int, float} & set(kinds):
        raise UserError(
            f"'{key}' takes no numbers, so it has no low and high", where=where, expected=f"{key}: {{choices: [...]}}"
        )
    is_integer = float not in kinds
    numbers = [each for each in (dimension.low, dimension.high, dimension.step) if each is not None]
    if is_integer and (odd := [each for each in numbers if each != int(each)]):
        raise UserError(f"{odd[0]:g} for a key of whole numbers", where=where, expected="whole low, high and step")
    return Axis(key, dimension, is_integer, None)


def recipe_at(shared: Mapping[str, Any], point: Point, name: str, seed: int, where: str) -> Recipe:
    """The recipe at a point of the space.

    Raises:
        UserError: the values make no recipe together; all problems are listed.
    """
    content = with_keys(dict(shared), {**point, "name": name, "seed": seed})
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise refuse(error, Recipe, where) from error


def check_space(search: Search, shared: Mapping[str, Any], study: str) -> None:
    """Tries the corners of the space, so that a value out of its key's bounds shows before the first trial.

    Raises:
        UserError: as `axes_of`, and values that make no recipe.
    """
    for corner in _corners(axes_of(search)):
        told = ", ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in corner.items())
        try:
            recipe_at(shared, corner, "trial", search.seed, f"study {study}, search.space at {told}")
        except UserError as error:
            if len(corner) == 1:
                raise
            remedy = (
                "Each combination of the space must be a recipe. Keys that depend on each other are joined in one: "
                "model.freeze: {choices: [{embeddings: false}, {embeddings: true, layers: 6}]}"
            )
            raise UserError(str(error), remedy=remedy) from error


def _corners(axes: list[Axis]) -> Iterator[Point]:
    count = 1
    for axis in axes:
        count *= len(axis.ends)
    groups = [axes] if count <= MOST_CORNERS else itertools.combinations(axes, 2)
    for group in groups:
        for values in itertools.product(*(axis.ends for axis in group)):
            yield {axis.key: value for axis, value in zip(group, values, strict=True)}


def own_point(shared: Mapping[str, Any], axes: list[Axis], search: Search) -> Point | None:
    """Where the recipe itself lies in the space; None where it lies outside.

    Args:
        shared: its keys.
    """
    own, found = recipe_at(shared, {}, "plain", search.seed, "the recipe"), Point()
    for axis in axes:
        value = value_at(own, axis.key)
        if axis.choices is None:
            held = value if axis.holds(value) else None
        else:  # a choice may name a part of a section, as {embeddings: true} of model.freeze
            held = next((each for each in axis.choices if _is_own(each, value, axis, shared, search)), MISSING)
        if held is MISSING or (held is None and axis.choices is None):
            return None
        found[axis.key] = held
    return found


def _is_own(choice: Any, value: Any, axis: Axis, shared: Mapping[str, Any], search: Search) -> bool:
    try:
        return bool(
            value_at(recipe_at(shared, {axis.key: choice}, "plain", search.seed, "the recipe"), axis.key) == value
        )
    except UserError:  # a choice that holds beside other values of the space alone
        return False
