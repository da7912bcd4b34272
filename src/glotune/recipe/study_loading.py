"""From the name or file of a study, a scale and overrides to its variants as resolved recipes."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from glotune.errors import UserError, did_you_mean
from glotune.recipe import yaml
from glotune.recipe.loading import (
    BUILTIN_FOLDER,
    Overrides,
    anchor_paths,
    builtin_recipes,
    find_recipe,
    parsed_overrides,
    read_extended,
    set_key,
    split_key,
    with_keys,
)
from glotune.recipe.problems import refuse
from glotune.recipe.schema import Recipe
from glotune.recipe.search import Search
from glotune.recipe.space import Point, check_space, recipe_at
from glotune.recipe.study import PLAIN, WINNER, Keys, Scale, StudyClaim, StudyRecipe
from glotune.recipe.values import settled

STUDIES_FOLDER = BUILTIN_FOLDER.parent / "studies"
FULL = "full"
"""The scale that every study has: as it is written."""


@dataclass(frozen=True)
class ResolvedStudy:
    """A study at one scale: nothing is left to decide.

    Attributes:
        study: as written, with everything shared by its variants settled (scale and overrides) in its `recipe`.
        scale: its name.
        variants: name -> the recipe of its first seed; each recipe is named as its variant. Of a study that searches
            the plain recipe alone, until the winner is known (`with_winner`).
    """

    study: StudyRecipe
    scale: str
    variants: dict[str, Recipe]

    @property
    def shared(self) -> Keys:
        """The recipe keys that all variants share."""
        if isinstance(self.study.recipe, str):
            raise ValueError(f"{self.study.recipe} is not settled")
        return dict(self.study.recipe)

    @property
    def reference(self) -> str:
        """The variant that the others are measured against."""
        return self.study.reference or next(iter(self.variants))


def builtin_studies() -> dict[str, Path]:
    """Name -> file of every built-in study."""
    return builtin_recipes(STUDIES_FOLDER)


def find_study(source: str | Path) -> Path:
    """The file of a built-in name or path.

    Raises:
        UserError: no such study; names the nearest.
    """
    known, path = builtin_studies(), Path(source)
    if path.is_file():
        return path
    if str(source) in known:
        return known[str(source)]
    is_recipe = str(source) in builtin_recipes()
    raise UserError(
        f"there is no study {'file ' if path.suffix in ('.yaml', '.yml') else ''}'{source}'",
        expected=f"a YAML file or one of: {', '.join(known)}",
        remedy="It is a recipe: use glotune train" if is_recipe else did_you_mean(path.stem, known),
    )


def load_study(source: str | Path) -> StudyRecipe:
    """Loads and validates a study; paths to data in it count from its file.

    Raises:
        UserError: no such study, no YAML, or invalid; every problem is listed.
    """
    path = find_study(source)
    content = read_extended(path)
    places = [content, *_sections(content, "scales")]
    for place in places:
        for name in ("recipe", "keys"):
            if isinstance(place.get(name), dict):
                place[name] = _anchored(place[name], path.parent)
        for name in ("variants", "grid"):
            if isinstance(place.get(name), dict):
                place[name] = {
                    each: _anchored(keys, path.parent) if isinstance(keys, dict) else keys
                    for each, keys in place[name].items()
                }
    for scale in _sections(content, "scales"):
        if isinstance(scale.get("data"), dict):
            scale.update(anchor_paths({"data": scale["data"]}, path.parent))
    try:
        return StudyRecipe.model_validate(content)
    except ValidationError as error:
        raise refuse(error, StudyRecipe, str(path), what="study") from error


def _sections(content: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The sections inside a section, where it is one."""
    inner = content.get(name)
    return [each for each in inner.values() if isinstance(each, dict)] if isinstance(inner, dict) else []


def _anchored(keys: Keys, folder: Path) -> Keys:
    """Keys whose paths to data count from `folder`, whether nested or dotted."""
    anchored = anchor_paths(keys, folder)
    for key, value in keys.items():
        section, _, rest = key.partition(".")
        name = rest.partition(".")[0]
        if name:
            anchored[key] = anchor_paths({section: {name: value}}, folder)[section][name]
    return anchored


def resolve_study(
    study: StudyRecipe, scale: str = FULL, *overrides: Overrides, seeds: list[int] | None = None
) -> ResolvedStudy:
    """Every variant of a study as a validated recipe.

    Later wins: base recipe, the study's keys, the scale's, `overrides`, the variant's keys, the scale's keys of the
    variant. So an override changes what the variants share, never what tells them apart.

    Args:
        study: as loaded.
        scale: ``full`` or one that the study names.
        overrides: recipe keys as on the command line.
        seeds: instead of the study's and the scale's.

    Raises:
        UserError: no such scale, a variant that a claim or scale names but the study lacks, or a recipe that is
            invalid: all problems of the first such variant.
    """
    chosen = _scale(study, scale)
    given = [pair for each in overrides for pair in parsed_overrides(each)]
    _refuse_seeds(given)
    names_data = any(key == "data.train" or key.startswith("data.train.") for key, _ in given)
    shared = _base(study)
    shared = with_keys(with_keys(shared, study.keys), chosen.keys)
    if chosen.data and not names_data:
        shared = with_keys(shared, {"data": chosen.data})
    for key, value in given:
        set_key(shared, key, value)
    seeds = seeds or chosen.seeds or study.seeds
    variants = _expanded(study)
    if study.search is not None:
        shared = with_keys(shared, {"evaluate.on": _judged_on(study, study.search, shared)})
        study, variants = _searching(study, study.search, chosen, seeds), {PLAIN: []}
    _refuse_unknown(study, chosen, list(variants) if study.search is None else [PLAIN, WINNER], scale)
    resolved = {
        name: _recipe(shared, [*keys, chosen.variants.get(name, {})], name, seeds[0], study.name)
        for name, keys in variants.items()
    }
    settled = study.model_copy(
        update={
            "recipe": shared,
            "keys": {},
            "seeds": seeds,
            "folds": chosen.folds or study.folds,
            "scales": {scale: Scale(description=chosen.description, variants=chosen.variants)},
        }
    )
    if settled.search is not None:
        check_space(settled.search, shared, study.name)
    return ResolvedStudy(settled, scale, resolved)


def with_winner(resolved: ResolvedStudy, point: Point) -> ResolvedStudy:
    """A study that searched as a study of two variants: the recipe as it is, and the one that the search found."""
    plain = resolved.variants[PLAIN]
    found = recipe_at(resolved.shared, point, WINNER, plain.seed, f"study {resolved.study.name}, {WINNER}")
    return replace(resolved, variants={PLAIN: plain, WINNER: found})


def _judged_on(study: StudyRecipe, search: Search, shared: Keys) -> str:
    """Whose validation texts choose the checkpoints of all runs: those that the search is judged on."""
    if search.on == "source" and shared.get("evaluate", {}).get("on") == "target":
        raise UserError(
            "the recipe chooses its checkpoints on validation texts of the targets (evaluate.on: target), the search "
            "is judged on those of the sources",
            where=f"study {study.name}, search.on",
            expected="evaluate.on: source; or search.on: target, an oracle that every output is marked with",
        )
    return search.on


def _searching(study: StudyRecipe, search: Search, scale: Scale, seeds: list[int]) -> StudyRecipe:
    """A study that searches, with the scale's budget and a claim where it states none.

    Raises:
        UserError: a seed is the search's own.
    """
    search = search if scale.budget is None else search.model_copy(update={"budget": scale.budget})
    if search.seed in seeds:
        raise UserError(
            f"seed {search.seed} is the search's own",
            where=f"study {study.name}, seeds",
            expected="seeds that the search never used",
            remedy="Leave it out, or set another search.seed",
        )
    claim = StudyClaim(name="What the search found is better than the recipe as it is", form="superior",
                       variants=[WINNER, PLAIN], metric=study.metric)  # fmt: skip
    return study.model_copy(update={"search": search, "claims": study.claims or [claim], "variants": {PLAIN: {}}})


def load_written(path: Path) -> ResolvedStudy:
    """The study that a ``study.yaml`` in a study's folder holds, as it was resolved when it was written.

    Raises:
        UserError: no such file, or no study.
    """
    content = yaml.read(path)
    scale = content.pop("scale", FULL) if isinstance(content, dict) else FULL
    try:
        study = StudyRecipe.model_validate(content)
    except ValidationError as error:
        raise refuse(error, StudyRecipe, str(path), what="study") from error
    return resolve_study(study, scale)


def _scale(study: StudyRecipe, name: str) -> Scale:
    if name in study.scales:
        return study.scales[name]
    if name == FULL:
        return Scale()
    known = [FULL, *study.scales]
    raise UserError(
        f"the study '{study.name}' has no scale '{name}'",
        expected=f"one of {', '.join(dict.fromkeys(known))}",
        remedy=did_you_mean(name, known),
    )


def _base(study: StudyRecipe) -> Keys:
    return dict(study.recipe) if isinstance(study.recipe, Mapping) else read_extended(find_recipe(study.recipe))


def _refuse_seeds(given: list[tuple[str, Any]]) -> None:
    for key, _ in given:
        if key in ("seed", "name"):
            raise UserError(
                f"'{key}' is not the recipe's to say in a study",
                expected="recipe keys that all variants share",
                remedy="Give seeds with --seeds" if key == "seed" else "A run is named after its variant",
            )


def _expanded(study: StudyRecipe) -> dict[str, list[Keys]]:
    """Variant -> its keys, one part for the variant and one for each axis of the grid."""
    axes = [_levels(axis, levels) for axis, levels in study.grid.items()]
    found: dict[str, list[Keys]] = {}
    for variant, keys in study.variants.items():
        for chosen in itertools.product(*axes):
            name = "-".join([variant, *(level for level, _ in chosen)])
            if name in found:
                raise UserError(f"two variants are named '{name}'", where="grid", remedy="Name a variant otherwise")
            found[name] = [keys, *(part for _, part in chosen)]
    return found


def _levels(axis: str, levels: list[Any] | dict[str, Keys]) -> list[tuple[str, Keys]]:
    kind = split_key(Recipe, axis)[1]
    if isinstance(levels, dict):
        return list(levels.items())
    if not levels:
        raise UserError(f"grid.{axis} is empty", expected="a list of values, or levels with keys")
    short = axis.rpartition(".")[2]
    return [(f"{short}-{_word(settled(value, kind))}", {axis: value}) for value in levels]


def _word(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-") or "none"


def _recipe(shared: Keys, parts: list[Keys], name: str, seed: int, study: str) -> Recipe:
    content = shared
    for part in parts:
        content = with_keys(content, part)
    content = {**content, "name": name, "seed": seed}
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise refuse(error, Recipe, f"study {study}, variant {name}") from error


def _refuse_unknown(study: StudyRecipe, scale: Scale, variants: list[str], scale_name: str) -> None:
    named = [(f"claim '{claim.name}'", name) for claim in study.claims for name in claim.variants]
    named += [(f"scales.{scale_name}.variants", name) for name in scale.variants]
    named += [("reference", study.reference)] if study.reference else []
    for where, name in named:
        if name not in variants:
            raise UserError(
                f"there is no variant '{name}'",
                where=f"study {study.name}, {where}",
                expected=f"one of {', '.join(variants)}",
                remedy=did_you_mean(name, variants),
            )
