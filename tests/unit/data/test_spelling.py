"""One spelling per name, and texts of which nothing can be seen."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glotune.data.spelling import BLANKS, is_blank, look_alikes, name_of


@pytest.mark.parametrize(
    "value", ["cafe\u0301", " caf\u00e9\t", "caf\u00e9\u200b", "\ufeffcaf\u00e9", "ca\u00adf\u00e9", "caf\u200be\u0301"]
)
def test_spellings_of_one_name(value: str) -> None:
    assert name_of(value) == "caf\u00e9"


def test_what_is_part_of_a_word_stays() -> None:
    for name in (
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "\U0001f468\u200d\U0001f469",
        "\u2764\ufe0f",
        "a b",
    ):
        assert name_of(name) == name


@given(st.text())
def test_a_name_is_its_own_spelling(value: str) -> None:
    assert name_of(name_of(value)) == name_of(value)
    assert unicodedata.is_normalized("NFC", name_of(value))


def test_blanks_are_those_of_python() -> None:
    assert set(BLANKS) == {chr(code) for code in range(0x110000) if chr(code).isspace()}


@pytest.mark.parametrize("text", ["", " \t", "\u200b", "\ufeff \u200d\u200c", "\u2060\u00ad", "\u3164", "\ufe0f"])
def test_nothing_can_be_seen(text: str) -> None:
    assert is_blank(text)


@pytest.mark.parametrize("text", ["a\u200b", ".", "\u0301", "0"])
def test_something_can_be_seen(text: str) -> None:
    assert not is_blank(text)


def test_look_alikes() -> None:
    names = [
        "Good",
        "bad",
        "good",
        "g\u200cood",
        "very  bad",
        "very bad",
        "cafe\u0301",
        "caf\u00e9",
        "cafe",
        "\uff11",
        "1",
    ]
    assert look_alikes(names) == [
        ["Good", "good", "g\u200cood"], ["very  bad", "very bad"], ["cafe\u0301", "caf\u00e9"], ["\uff11", "1"],
    ]  # fmt: skip
