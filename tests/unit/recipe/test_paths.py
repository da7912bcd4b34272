"""Names of files in KEY=VALUE: what exists is taken as it is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from glotune.data.sources import find_sources
from glotune.errors import UserError
from glotune.recipe import load_recipe, recipe_yaml

MINIMAL = "name: mine\nmodel: {name: glotune-nano}\ndata: {train: en.csv}\n"
NAMES = (
    "my file.csv", "notes #1.csv", "#1.csv", "review: final.csv", "review:.csv", "a@b.csv", "@a.csv", "[old] a.csv",
    "[a].csv", "{a}.csv", "{a: b}.csv", "a, b.csv", "[a, b].csv", "café.csv", "cafe\u0301.csv", "বাংলা.csv", "😀.csv",
    "~a.csv", "~", "a~.csv", "$HOME.csv", "-a.csv", "- a.csv", "!a.csv", "! a.csv", "&a.csv", "*a.csv", "%a.csv",
    "|a.csv", ">a.csv", "`a.csv", "'a'.csv", "'a'", '"a".csv', "a=b.csv", "2024", "1.10", "True", "a\tb.csv",
    "a\nb.csv", "a\\b.csv", "?a.csv", " lead.csv", "trail.csv ", "null.csv", "a'b.csv", ", .csv", "=",
)  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mine.yaml").write_text(MINIMAL, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_an_existing_path_is_taken_literally(place: Path, name: str) -> None:
    (place / name).write_text("text,label\na,x\n", encoding="utf-8")
    recipe = load_recipe("mine.yaml", [f"data.train={name}", f"data.test.bn={name}", f"model.name={name}"])
    assert (recipe.data.train, recipe.data.test, recipe.model.name) == (name, {"bn": name}, name)
    (place / "saved.yaml").write_text(recipe_yaml(recipe), encoding="utf-8")
    saved = load_recipe("saved.yaml")
    for found in (saved.data.train, (saved.data.test or {})["bn"], saved.model.name):  # type: ignore[call-overload, index]
        assert Path(found).read_text(encoding="utf-8").startswith("text")


@pytest.mark.parametrize("name", [name for name in NAMES if name == name.strip()])
def test_lists_and_maps_of_existing_paths_are_taken_literally(place: Path, name: str) -> None:
    for each in (name, "en.csv"):
        (place / each).write_text("text,label\na,x\n", encoding="utf-8")
    recipe = load_recipe(
        "mine.yaml", [f"data.train=[{name}, en.csv]", f"data.test={{bn: {name}, en: [en.csv, {name}]}}"]
    )
    assert recipe.data.train == [name, "en.csv"]
    assert recipe.data.test == {"bn": name, "en": ["en.csv", name]}


def test_quoted_names_in_lists_and_maps_are_read_as_before(place: Path) -> None:
    (place / "a, b.csv").touch()
    recipe = load_recipe("mine.yaml", ["data.train=['a, b.csv', missing.csv]", """data.test={"bn": 'a, b.csv'}"""])
    assert recipe.data.train == ["a, b.csv", "missing.csv"]
    assert recipe.data.test == {"bn": "a, b.csv"}


def test_a_long_list_is_read_at_once(place: Path) -> None:
    names = [f"part {number} #{number}.csv" for number in range(600)]
    for name in names:
        (place / name).touch()
    assert load_recipe("mine.yaml", [f"data.train=[{', '.join(names)}]"]).data.train == names


def test_a_missing_path_is_named_as_it_was_written(place: Path) -> None:
    for name in ("notes #1.csv", "review: final.csv", "!a.csv", "@a.csv", "- a.csv", "x" * 300 + ".csv"):
        recipe = load_recipe("mine.yaml", [f"data.train={name}"])
        with pytest.raises(UserError) as caught:
            find_sources(recipe.data.train, "data.train")
        assert name in str(caught.value)


def test_a_tilde_that_is_no_home_is_a_name(place: Path) -> None:
    (place / "~nobody-of-this-name.csv").touch()
    found = find_sources("~nobody-of-this-name.csv", "data.train")
    assert found[0].path.is_file()
    with pytest.raises(UserError, match="there is no file"):
        find_sources("~nobody-of-that-name.csv", "data.train")
