"""One way to say a number, a time, a size and a language, wherever it stands."""

import math
import re
from datetime import datetime
from pathlib import Path

import pytest

import glotune
from glotune import words
from glotune.words import NOTHING, duration, language_name, millions, named, size

SOURCE = Path(glotune.__file__).parent


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0314, "0.031 s"), (3.21, "3.2 s"), (9.94, "9.9 s"), (9.96, "10 s"), (42, "42 s"), (59.6, "1 min"),
        (61, "1 min 1 s"), (309, "5 min 9 s"), (3599.6, "1 h"), (3725, "1 h 2 min"), (3909, "1 h 5 min"),
        (7199, "2 h"), (360_000, "100 h"), (None, NOTHING), (math.nan, NOTHING), (math.inf, NOTHING),
    ],
)  # fmt: skip
def test_durations(seconds: float | None, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("byte_count", "said"),
    [
        (0, "0 B"), (1023, "1023 B"), (1023.7, "1.0 KiB"), (1024, "1.0 KiB"), (1536 * 1024, "1.5 MiB"),
        (2**20 - 1, "1.0 MiB"), (2**30 - 1, "1.0 GiB"), (16 * 2**30, "16.0 GiB"), (2**41, "2,048.0 GiB"),
        (None, NOTHING),
    ],
)  # fmt: skip
def test_sizes(byte_count: float | None, said: str) -> None:
    assert size(byte_count) == said


def test_what_is_recorded_in_gib_reads_as_other_sizes_do() -> None:
    assert words.gib(23.5) == size(23.5 * 2**30) == "23.5 GiB"
    assert words.gib(0.25) == "256.0 MiB"
    assert words.gib(None) == NOTHING


def test_numbers() -> None:
    assert [words.count(1_234_567), words.count(2.6), words.count(None)] == ["1,234,567", "3", NOTHING]
    assert [words.counted(1, "thread"), words.counted(1200, "text")] == ["1 thread", "1,200 texts"]
    assert [millions(278_045_955), millions(999_999), millions(None)] == ["278.0 M", "999,999", NOTHING]
    assert [words.percent(0.0123), words.percent(0.756, 0), words.percent(math.nan)] == ["1.2 %", "76 %", NOTHING]
    assert [words.score(0.61234), words.score(math.nan), words.rate(12_345.6, "tokens")] == [
        "0.6123", NOTHING, "12,346 tokens/s",
    ]  # fmt: skip


def test_ages() -> None:
    now = datetime.fromisoformat("2026-01-02T03:04:05+00:00")
    said = [words.age(f"2026-01-0{moment}+00:00", now) for moment in ("2T03:04:00", "2T03:01:00", "2T01:00:00")]
    assert said == ["just now", "3 min ago", "2 h ago"]
    assert [words.age("2025-12-30T03:04:05+00:00", now), words.age("lately", now)] == ["3 d ago", NOTHING]


@pytest.mark.parametrize(
    ("code", "name", "with_code"),
    [
        ("bn", "Bangla", "Bangla (bn)"),
        ("ben", "Bangla", "Bangla (ben)"),
        ("zh-TW", "Chinese (TW)", "Chinese (zh-TW)"),
        ("zh_Hant-TW", "Chinese (Hant-TW)", "Chinese (zh_Hant-TW)"),
        ("xx", "xx", "xx"),
        ("en_test", "en_test", "en_test"),
        ("xx-unknown", "xx-unknown", "xx-unknown"),
    ],
)
def test_languages(code: str, name: str, with_code: str) -> None:
    assert (language_name(code), named(code)) == (name, with_code)


def test_foreign_text_shows_itself_in_markdown() -> None:
    assert words.escaped("a|b *c*\n# d") == r"a\|b \*c\* \# d"
    assert words.code("a `b` | c") == "``a `b` \\| c``"


def test_no_other_file_says_a_size_or_a_time_in_words_of_its_own() -> None:
    own = re.compile(
        r"""\}\ ?(?:GB|GiB|MB|MiB|kB|KiB)\b   # a size put together on the spot
        | /\s*1e[69]:\.\df                    # a division for people
        | :02[d}] | :0>2                       # a clock
        | \}\ min\b | \}\ h\b""",
        re.VERBOSE,
    )
    found = [
        f"{path.relative_to(SOURCE)}:{place}: {line.strip()}"
        for path in sorted(SOURCE.rglob("*.py"))
        if path.name != "words.py"
        for place, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if own.search(line)
    ]
    assert found == []
