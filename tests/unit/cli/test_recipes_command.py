from __future__ import annotations

import json
import re

import pytest
from typer.testing import CliRunner

from glotune.cli.main import build_app
from glotune.recipe import builtin_recipes
from glotune.recipe.pretrain import PRETRAIN_FOLDER


def run(*arguments: str) -> str:
    result = CliRunner().invoke(build_app(), list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_list_names_every_recipe_with_its_description() -> None:
    shown = run("recipes")
    assert shown == run("recipes", "list")
    for name in builtin_recipes():
        assert name in shown


@pytest.mark.parametrize("name", sorted(builtin_recipes()))
def test_show_prints_the_file_with_its_comments(name: str) -> None:
    shown = run("recipes", "show", name)
    assert shown.rstrip("\n") == builtin_recipes()[name].read_text().rstrip("\n")


def test_show_resolved_applies_overrides() -> None:
    shown = run("recipes", "show", "humor-v3", "data.train=x.csv", "train.epochs=7")
    assert "epochs: 7" in shown
    assert "layer_decay: 0.95" in shown
    assert "class_weights: balanced" in shown


def test_schema_is_json_schema() -> None:
    schema = json.loads(run("recipes", "schema"))
    assert schema["type"] == "object"
    assert schema["anyOf"] == [{"required": ["extends"]}, {"required": ["name", "model", "data"]}]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["extends"]["type"] == "string"


def test_the_schema_is_coloured_on_a_terminal_and_plain_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    from glotune.cli import console

    plain = run("recipes", "schema")
    terminal = Console(force_terminal=True, color_system="standard", width=60, highlight=False, markup=False)
    monkeypatch.setattr(console, "out", terminal)
    with terminal.capture() as shown:
        console.show_json({"$defs": {"Train": {"description": "long enough to be cut " * 5, "default": 3}}})
    assert "\x1b[" in shown.get()
    stripped = re.sub(r"\x1b\[[0-9;]*m", "", shown.get())
    assert json.loads(stripped)["$defs"]["Train"]["default"] == 3  # nothing is wrapped or cut
    assert "\x1b[" not in plain


def test_the_schema_says_what_keys_mean_to_editors() -> None:
    sections = json.loads(run("recipes", "schema"))["$defs"]
    assert "Effective batch size" in sections["Train"]["properties"]["batch_size"]["description"]
    assert sections["Data"]["additionalProperties"] is False
    assert "PretrainRecipe" in json.loads(run("recipes", "schema", "--pretrain"))["title"]


@pytest.mark.parametrize("name", sorted(builtin_recipes(PRETRAIN_FOLDER)))
def test_pretraining_recipes_are_listed_and_shown_too(name: str) -> None:
    assert name in run("recipes")
    assert run("recipes", "show", name).startswith(f"# {name}")
