from __future__ import annotations

from pathlib import Path

import pytest

from glotune.errors import UserError
from glotune.recipe.loading import builtin_recipes
from glotune.recipe.pretrain import PRETRAIN_FOLDER, PretrainRecipe, load_pretrain_recipe

BASE = {"name": "x", "model": {"name": "glotune-nano"}, "data": {"text": "en.txt"}}


def load(tmp_path: Path, text: str, *overrides: str) -> PretrainRecipe:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    return load_pretrain_recipe(path, overrides)


def test_every_built_in_recipe_is_valid() -> None:
    assert set(builtin_recipes(PRETRAIN_FOLDER)) == {"adapt", "nano", "nano-all"}
    assert load_pretrain_recipe("nano").model.scratch is not None
    adapted = load_pretrain_recipe("adapt", ["data.text.ha=ha.csv"])
    assert adapted.data.text == {"ha": "ha.csv"}
    assert adapted.chooses_by == "masked_loss"


def test_adapt_without_texts_says_what_to_give() -> None:
    with pytest.raises(UserError, match=r"data\.text"):
        load_pretrain_recipe("adapt")


def test_a_recipe_to_fine_tune_by_is_refused_by_name() -> None:
    with pytest.raises(UserError, match="glotune train"):
        load_pretrain_recipe("bangla-lora")
    with pytest.raises(UserError, match="Did you mean 'nano'"):
        load_pretrain_recipe("nanno")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ("model: {}", "either model.name"),
        ("model: {name: a, scratch: {}}", "either model.name"),
        ("model: {scratch: {hidden_size: 30, heads: 4}}", "4 heads do not divide"),
        ("model: {scratch: {}, new_pieces: 5}", "scratch.vocabulary"),
        ("data: {}", "data.text"),
        ("objective: {masked_lm: 0.0}", "nothing is learned"),
        ("objective: {masked_lm: 0.0, contrastive: 0.0}", "both 0"),
        ("evaluate: {metric: retrieval}", "no data.pairs"),
        ("schedule: {minimum_learning_rate: 0.5}", "above optimizer.learning_rate"),
        ("objective: {temprature: 1.0}", "did you mean 'objective.temperature'"),
    ],
)
def test_contradictions_are_refused(tmp_path: Path, changed: str, said: str) -> None:
    key = changed.split(":")[0]
    lines = {"name": "name: x", "model": "model: {name: glotune-nano}", "data": "data: {text: en.txt}"}
    lines[key] = changed
    with pytest.raises(UserError) as caught:
        load(tmp_path, "\n".join(lines.values()))
    assert said in str(caught.value)


def test_the_engine_sees_its_own_sections() -> None:
    recipe = load_pretrain_recipe("nano")
    settings = recipe.settings
    assert recipe.chooses_by == "retrieval"
    assert settings.train == recipe.train
    assert not settings.speed.trim_vocabulary
