"""The table of languages, and what may follow a code."""

import pytest

from glotune.languages import direction, is_language, language_scripts, languages, nearest_language
from glotune.words import language_name


def test_scripts() -> None:
    assert language_scripts("bn") == ("Bengali",)
    assert language_scripts("ja") == ("Han", "Hiragana", "Katakana")
    assert language_scripts("pes") == language_scripts("fa") == ("Arabic",)
    assert language_scripts("xx") == ()


@pytest.mark.parametrize(
    "stem",
    ["en", "pcm", "zh-TW", "sr_Latn", "pes_Arab", "gaz_Latn", "azj", "luo", "pt_br", "es-419", "zh-Hant-TW", "sr_latn"],
)
def test_codes(stem: str) -> None:
    assert is_language(stem)


@pytest.mark.parametrize("stem", ["train", "data", "test", "reviews", "en-", "en-reviews", "EN", "", "en-TW-Latn"])
def test_other_file_names(stem: str) -> None:
    assert not is_language(stem)


@pytest.mark.parametrize("stem", ["en_test", "en_dev", "en-val", "bn_gold", "en_100", "en_v2", "en_ok", "en_full"])
def test_only_real_scripts_and_regions_stand_behind_a_code(stem: str) -> None:
    assert not is_language(stem)
    assert language_name(stem) == stem


def test_nearest() -> None:
    assert nearest_language("bn", ["ben", "eng"]) == "ben"
    assert nearest_language("eng", ["en", "bn"]) == "en"
    assert nearest_language("Bangla", ["bn"]) == "bn"
    assert nearest_language("qqq", ["bn"]) is None


def test_codes_are_unique_and_complete() -> None:
    table = {language.code: language for language in languages().values()}
    assert len({language.code3 for language in table.values()}) == len(table)
    assert len({language.name for language in table.values()}) == len(table)
    assert all(language.name and language.scripts and len(language.code3) == 3 for language in table.values())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain words", "ltr"),
        ("মজা", "ltr"),
        ("كان الشاي لذيذًا", "rtl"),
        ("@user مساء هادئ في البيت", "rtl"),  # the browser's own rule would say ltr
        ("ערב שקט", "rtl"),
        ("an English text that quotes بيت", "ltr"),
        ("123 !?", "ltr"),
        ("", "ltr"),
    ],
)
def test_direction_follows_most_letters(text: str, expected: str) -> None:
    assert direction(text) == expected
