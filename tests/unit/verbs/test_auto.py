"""`glotune train auto` from texts on disk to a recipe: what is given wins, whatever the table would have chosen."""

from __future__ import annotations

from pathlib import Path

import pytest

from glotune.data.given_rows import GivenRows
from glotune.errors import UserError
from glotune.verbs.auto import AutoRecipe, choose_recipe

GIVEN = ["model.name=glotune-nano", "train.device=cpu"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, words in (("en.csv", "the soup was"), ("bn.csv", "খাবার ছিল"), ("long.csv", "on and on it went " * 40)):
        rows = (f"{words} {number},{('good', 'bad')[number % 2]}\n" for number in range(40))
        Path(name).write_text("text,label\n" + "".join(rows), encoding="utf-8")


def chosen(*keys: str) -> AutoRecipe:
    return choose_recipe(GivenRows(), [*GIVEN, *keys])


def test_long_texts_are_read_in_windows_where_they_have_a_place() -> None:
    assert chosen("data.train.en=long.csv").recipe.data.windows is not None
    for key in ("data.max_length=32", "data.truncation=head_tail"):
        assert chosen("data.train.en=long.csv", key).recipe.data.windows is None


def test_a_given_key_is_held_against_what_is_chosen_and_not_against_defaults() -> None:
    texts = ("data.train.en=en.csv", "data.test.bn=bn.csv")
    recipe = chosen(*texts, "schedule.minimum_learning_rate=5e-5").recipe
    assert (recipe.schedule.minimum_learning_rate, recipe.optimizer.learning_rate) == (5e-5, 2e-4)
    freeze = chosen(*texts, "model.freeze.layers=2").recipe.model.freeze
    assert (freeze.layers, freeze.embeddings) == (2, True)


def test_keys_that_make_no_recipe_with_what_is_chosen_are_refused() -> None:
    with pytest.raises(UserError, match=r"minimum_learning_rate \(0\.05\) is above optimizer\.learning_rate"):
        chosen("data.train.en=en.csv", "schedule.minimum_learning_rate=5e-2")
    with pytest.raises(UserError, match=r"freeze\.layers above 0 needs freeze\.embeddings"):
        chosen("data.train.en=en.csv", "model.freeze.layers=1", "model.freeze.embeddings=false")


def test_few_shot_rows_are_of_no_source_language_and_leave_no_target() -> None:
    rows = Path("en.csv").read_text(encoding="utf-8") + Path("bn.csv").read_text(encoding="utf-8").partition("\n")[2]
    languages = ["language", *["en"] * 40, *["bn"] * 40]
    table = "".join(f"{row},{language}\n" for row, language in zip(rows.splitlines(), languages, strict=True))
    Path("both.csv").write_text(table, encoding="utf-8")
    texts = ("data.train=both.csv", "data.source_languages=[en]", "data.test.bn=bn.csv")
    few, none = chosen(*texts, "data.few_shot.bn=4"), chosen(*texts)
    assert [each.recipe.data.sampling_alpha for each in (few, none)] == [None, None]
    frozen = [each.recipe.model.freeze.embeddings for each in (few, none)]
    assert frozen == [True, False], "without few-shot rows bn is a language without labels"


def test_a_wrong_key_is_refused_before_the_texts_are_read() -> None:
    with pytest.raises(UserError, match="learning_rat: unknown key"):
        chosen("data.train.en=nowhere.csv", "optimizer.learning_rat=1", "model.freeze.layers=1")
