"""How a sentence is made of a pattern and a noun, and what a faulty lexicon is told."""

from __future__ import annotations

import copy

import pytest
from documentation.toy_corpus import WORDS
from documentation.toy_corpus.generate import draw, normalized
from documentation.toy_corpus.lexicon import GroupLexicon, GroupPlan, Lexicon, Noun, read_lexicon

from glotune.errors import UserError


def made(patterns: dict[str, str], capitals: dict[str, str] | None = None) -> Lexicon:
    nouns = {
        "house": Noun("f", {"noun": "casa", "this": "esta casa"}),
        "hotel": Noun("m", {"noun": "hotel"}),
        "island": Noun("f", {"noun": "isla"}),
    }
    group = GroupLexicon(["m", "f"], nouns, patterns)
    return Lexicon("es", "Spanish", "Latin", capitals or {}, {"places": group}, {"neutral": {}}, {})


def test_alternatives_follow_the_class_of_the_noun() -> None:
    lexicon = made({"new": "[el|la] {noun} es nuev[o|a]."})
    assert lexicon.say("places", "new", "house") == "La casa es nueva."
    assert lexicon.say("places", "new", "hotel") == "El hotel es nuevo."


def test_an_empty_alternative_is_an_ending_left_out() -> None:
    assert made({"x": "{noun} mauvais[|e]."}).say("places", "x", "hotel") == "Hotel mauvais."
    assert made({"x": "{noun} mauvais[|e]."}).say("places", "x", "house") == "Casa mauvaise."


def test_capitals_of_the_language_go_before_the_default() -> None:
    assert made({"x": "{noun}."}, {"i": "İ"}).say("places", "x", "island") == "İsla."


@pytest.mark.parametrize(
    ("patterns", "pattern", "noun", "message"),
    [
        ({"new": "{noun}."}, "knew", "house", "Did you mean 'new'"),
        ({"new": "{noun}."}, "new", "hose", "Did you mean 'house'"),
        ({"new": "{this}."}, "new", "hotel", "form of 'hotel'"),
        ({"new": "[a|b|c] {noun}."}, "new", "house", "3 alternatives"),
    ],
)
def test_faults_are_named(patterns: dict[str, str], pattern: str, noun: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        made(patterns).say("places", pattern, noun)


def test_a_noun_of_unknown_class_is_refused(tmp_path: object) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    text = (WORDS / "es.yaml").read_text(encoding="utf-8")
    (folder / "es.yaml").write_text(text.replace("[m, libro]", "[x, libro]"), encoding="utf-8")
    with pytest.raises(UserError, match="works, book"):
        read_lexicon(folder, "es")


def plan() -> GroupPlan:
    by_role = {"shared": ["a", "b"], "train": ["c"], "test": ["d"]}
    return GroupPlan(copy.deepcopy(by_role), {"neutral": copy.deepcopy(by_role)})  # type: ignore[arg-type]


def test_splits_drawn_are_disjoint_and_keep_their_roles() -> None:
    drawn = draw(plan(), "neutral", {"train": 4, "validation": 1, "test": 4}, "key")
    pairs = [pair for chosen in drawn.values() for pair in chosen]
    assert len(pairs) == len(set(pairs)) == 9
    assert all("c" not in pair for pair in drawn["test"])
    assert all("d" not in pair for pair in drawn["train"] + drawn["validation"])
    assert {pattern for pattern, _ in drawn["test"]} == {"a", "b", "d"}


def test_more_rows_than_combinations_are_refused() -> None:
    with pytest.raises(UserError, match=r"10 rows of test.*at most 9"):
        draw(plan(), "neutral", {"train": 1, "validation": 1, "test": 10}, "key")


def test_leaks_are_looked_for_beyond_case_and_punctuation() -> None:
    assert normalized("It's  TEN o'clock…") == normalized("it s ten O'Clock")
    assert normalized("यह घर") != normalized("यह पार्क")
