"""What `glotune train auto` chooses: by facts alone, from a table that is data and that the documentation shows."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from glotune.errors import UserError
from glotune.recipe import Recipe, load_recipe, recipe_yaml, yaml
from glotune.recipe.auto import Chosen, Draft, Facts, Rule, auto_table, choose
from glotune.recipe.loading import split_key

PAGE = Path(__file__).parents[3] / "docs" / "guides" / "auto.md"
FACTS = Facts("single_label", "cpu", 16.0, 2_000, 0.9, 3, 1.0, 0.0, False, 128, "head", 0)
READ_AGAIN = ("data.max_length", "data.windows", "data.sampling_alpha", "data.augment")
"""Keys of the section data that change no text: only these may the table set, since the texts were read before."""


WIDTHS = {"glotune-nano": 192, "intfloat/multilingual-e5-small": 384}


def chosen(facts: Facts = FACTS, *overrides: str, widths: dict[str, int] = WIDTHS) -> tuple[Recipe, dict[str, Chosen]]:
    recipe, found = choose(Draft.of(["data.train=en.csv", *overrides]), facts, lambda encoder: widths.get(encoder, 768))
    return recipe, {each.key: each for each in found}


def test_every_value_of_the_table_is_one_of_its_key() -> None:
    for entry in auto_table().table:
        assert split_key(Recipe, entry.key)[1] is not None, entry.key
        assert not entry.key.startswith("data.") or entry.key in READ_AGAIN
        for rule in entry.rules:
            load_recipe("e5", {"data.train": "en.csv", entry.key: yaml.parse(yaml.dump(rule.value), "table")})
            assert rule.why
            for page in (rule.measured or "").split(", "):
                assert not page or (PAGE.parents[1] / page).is_file(), page
        assert all(rule.when.model_fields_set for rule in entry.rules[:-1]), "a rule that always fits ends its key"


def test_the_encoder_follows_from_the_memory_and_the_rate_from_the_encoder() -> None:
    recipe, why = chosen()
    assert (recipe.name, recipe.model.name) == ("auto", "intfloat/multilingual-e5-small")
    assert recipe.optimizer.learning_rate == 1e-4
    assert why["schedule.warmup_ratio"].measured == "studies.md"
    assert (recipe.train.epochs, why["train.epochs"].measured) == (4, "methods.md")
    assert chosen(replace(FACTS, memory_gib=1.2))[0].model.name == "glotune-nano"
    small = chosen(replace(FACTS, memory_gib=1.2))[0]
    assert not small.model.freeze.embeddings, "there are languages without labels"
    assert (small.optimizer.learning_rate, small.train.batch_size) == (2e-4, 32)
    few = chosen(replace(FACTS, memory_gib=1.2, rows=800))[0]
    assert (few.train.batch_size, few.train.epochs) == (8, 3)
    small = chosen(replace(FACTS, memory_gib=1.2, targets=0))[0]
    assert (small.model.freeze.embeddings, small.optimizer.learning_rate) == (True, 1e-3)
    assert chosen(replace(FACTS, memory_gib=None))[0].model.name == "intfloat/multilingual-e5-small"
    large = chosen(replace(FACTS, device="gpu", memory_gib=24.0))[0]
    assert (large.model.name, large.optimizer.learning_rate) == ("FacebookAI/xlm-roberta-base", 2e-5)


@pytest.mark.parametrize(
    ("changed", "key", "value"),
    [
        ({"rows": 200}, "train.batch_size", 8),
        ({"rows": 800}, "train.batch_size", 8),
        ({"rows": 800}, "train.epochs", 3),
        ({"rows": 800}, "optimizer.learning_rate", 5e-5),
        ({"rows": 800}, "model.freeze.embeddings", False),
        ({"rows": 1_000}, "train.batch_size", 32),
        ({"rows": 1_000}, "train.epochs", 4),
        ({"rows": 1_000}, "model.freeze.embeddings", True),
        ({"rows": 5_000}, "train.epochs", 4),
        ({"rows": 400}, "train.epochs", 10),
        ({"rows": 200}, "train.epochs", 10),
        ({"rows": 500_000}, "train.epochs", 2),
        ({"rows": 500_000}, "evaluate.patience", None),
        ({"balance": 0.3}, "loss.class_weights", "balanced"),
        ({"balance": 0.5}, "loss.class_weights", "none"),
        ({"task": "multi_label", "balance": None}, "loss.class_weights", "none"),
        ({"targets": 0, "rows": 30_000}, "model.freeze.embeddings", False),
        ({"targets": 1, "rows": 30_000}, "model.freeze.embeddings", True),
        ({"source_ratio": 5.0}, "data.sampling_alpha", 0.5),
        ({"long_share": 0.2}, "data.windows", {"stride": 32, "most": 8, "pool": "mean"}),
        ({"long_share": 0.2, "pairs": True}, "data.windows", None),
        ({"long_share": 0.2, "max_length": 63}, "data.windows", None),
        ({"long_share": 0.2, "truncation": "head_tail"}, "data.windows", None),
        ({"memory_gib": 1.2, "frozen_layers": 2}, "model.freeze.embeddings", True),
        ({"targets": 0, "rows": 30_000, "frozen_layers": 2}, "model.freeze.embeddings", True),
    ],
)
def test_what_is_known_decides(changed: dict[str, Any], key: str, value: Any) -> None:
    recipe: Any = chosen(replace(FACTS, **changed))[0].model_dump(mode="json")
    for part in key.split("."):
        recipe = recipe[part]
    assert recipe == value


def test_what_the_user_gives_wins_and_that_is_said() -> None:
    recipe, why = chosen(FACTS, "optimizer.learning_rate=3e-4", "train.epochs=6", "model.name=some/encoder")
    assert recipe.optimizer.learning_rate == 3e-4
    rate = why["optimizer.learning_rate"]
    assert rate.is_given
    assert rate.why.startswith("given by you; the table has 2e-05"), "the rate of the given encoder"
    assert why["train.epochs"].why == "given by you"
    assert why["model.name"].value == "some/encoder"
    whole, why = chosen(FACTS, "schedule={name: cosine}")
    assert whole.schedule.warmup_ratio == 0.0, "a section that is given is given as a whole"
    assert why["schedule.warmup_ratio"].is_given


@pytest.mark.parametrize(("width", "rate", "batch"), [(192, 1e-4, 16), (384, 5e-5, 8), (768, 2e-5, 16)])
def test_an_encoder_is_known_by_its_width_whatever_its_name(width: int, rate: float, batch: int) -> None:
    """A folder with a copy of an encoder is trained as the encoder is."""
    few = replace(FACTS, rows=800)
    recipe, _ = chosen(few, "model.name=encoders/mine", widths={"encoders/mine": width})
    assert (recipe.optimizer.learning_rate, recipe.train.batch_size) == (rate, batch)


def test_a_width_is_asked_for_where_it_decides_alone() -> None:
    def unknown(encoder: str) -> int:
        raise UserError("no such encoder")

    given = ["data.train=en.csv", "optimizer.learning_rate=1e-4", "train.batch_size=8", "train.epochs=2"]
    with pytest.raises(UserError, match="no such encoder"):
        choose(Draft.of(given), FACTS, unknown)
    assert choose(Draft.of([*given, "model.name=glotune-nano"]), replace(FACTS, rows=200), unknown)[0].train.epochs == 2


def test_the_recipe_stands_by_itself(tmp_path: Path) -> None:
    recipe = chosen()[0]
    (tmp_path / "recipe.yaml").write_text(recipe_yaml(recipe))
    assert load_recipe(tmp_path / "recipe.yaml") == recipe


def test_a_wrong_key_is_refused_as_ever_and_auto_is_no_recipe_elsewhere() -> None:
    with pytest.raises(UserError, match=r"auto: 1 problem.*\n.*learning_rat: unknown key"):
        Draft.of(["data.train=en.csv", "optimizer.learning_rat=1"]).recipe()
    with pytest.raises(UserError, match=r"data: missing; give it as data\.train=FILE"):
        Draft.of([]).recipe()
    with pytest.raises(UserError, match="glotune train auto chooses one"):
        load_recipe("auto")


def words_of(rule: Rule, is_alone: bool) -> str:
    """When a rule fits, in words."""
    told = []
    for name in rule.when.model_fields_set:
        value = getattr(rule.when, name)
        if isinstance(value, list):
            told.append(f"{name} {' or '.join(value)}")
        elif isinstance(value, str | bool):
            told.append(f"{name} {str(value).lower()}")
        elif value is not None:
            ends = (("≥", value.at_least), ("<", value.below))
            told.append(f"{name} " + " and ".join(f"{sign} {end:g}" for sign, end in ends if end is not None))
    return ", ".join(sorted(told)) or ("always" if is_alone else "otherwise")


def table_of_the_page() -> str:
    lines = ["| key | when | value | why | shown in |", "| --- | --- | --- | --- | --- |"]
    for entry in auto_table().table:
        for rule in entry.rules:
            value = yaml.dump(rule.value).split("\n...")[0].strip().replace("\n", ", ")
            when = words_of(rule, len(entry.rules) == 1)
            pages = [f"[{page}](../{page})" for page in (rule.measured or "").split(", ") if page]
            lines.append(f"| `{entry.key}` | {when} | `{value}` | {rule.why} | {', '.join(pages) or 'not measured'} |")
    return "\n".join(lines)


def test_the_page_shows_the_table_as_it_is() -> None:
    """GLOTUNE_UPDATE_GOLDEN=1 writes it."""
    begin, end = "<!-- table of auto.yaml: begin -->\n\n", "\n\n<!-- table of auto.yaml: end -->"
    text = PAGE.read_text(encoding="utf-8")
    shown = re.search(f"{re.escape(begin)}(.*?){re.escape(end)}", text, re.DOTALL)
    assert shown is not None
    if os.environ.get("GLOTUNE_UPDATE_GOLDEN"):
        PAGE.write_text(text.replace(shown[0], f"{begin}{table_of_the_page()}{end}"), encoding="utf-8")
        return
    assert shown[1] == table_of_the_page()
