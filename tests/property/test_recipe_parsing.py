"""Whatever a recipe file or override holds: a recipe, or a UserError; and what is written reads back the same."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glotune.errors import UserError
from glotune.recipe import Recipe, load_recipe, recipe_hash, recipe_yaml
from glotune.recipe.values import plain
from glotune.recipe.yaml import dump, parse

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-5, 10**6)
    | st.floats(allow_nan=True)
    | st.text(max_size=8)
    | st.sampled_from(["head", "balanced", "off", "2e-4", "no", "0x1", "1_000"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)
KEYS = [
    f"{section}.{key}"
    for section, field in Recipe.model_fields.items()
    if hasattr(field.annotation, "model_fields")
    for key in field.annotation.model_fields
] + ["name", "seed", "task"]
BASE = Recipe.model_validate({"name": "base", "model": {"name": "glotune-nano"}, "data": {"train": "en.csv"}})


PRINTABLE = st.characters(exclude_categories=("Cc", "Cs"))
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@QUICK
@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4))
def test_any_override_makes_a_recipe_or_a_user_error(overrides: dict[str, Any]) -> None:
    try:
        recipe = load_recipe(BASE, overrides)
    except UserError:
        return
    with TemporaryDirectory() as folder:
        path = Path(folder) / "resolved.yaml"
        path.write_text(recipe_yaml(recipe), encoding="utf-8")
        read_back = load_recipe(path)
    assert read_back == recipe
    assert recipe_hash(read_back) == recipe_hash(recipe)


@QUICK
@given(st.text(max_size=60))
def test_any_text_parses_or_is_a_user_error(text: str) -> None:
    try:
        parse(text, "here")
    except UserError as error:
        told = str(error)
    else:
        told = "here"
    assert told.startswith("here")


@QUICK
@given(st.text(max_size=30), VALUES)
def test_any_override_string_is_handled(key: str, value: Any) -> None:
    try:
        recipe = load_recipe(BASE, [f"{key}={dump(value).strip()}"])
    except UserError:
        return
    assert isinstance(recipe, Recipe)


@given(
    st.dictionaries(
        st.text(PRINTABLE, min_size=1, max_size=6),
        st.text(PRINTABLE, max_size=10)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.integers()
        | st.booleans()
        | st.none(),
        max_size=5,
    )
)
def test_what_is_dumped_reads_back(content: dict[str, Any]) -> None:
    assert plain(parse(dump(content), "here")) == content
