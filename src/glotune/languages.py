"""Language codes, English names and usual scripts, as data (``languages.csv``), and which tags may follow a code.

Tags are known by list and not by shape: ``en_test`` and ``en_100`` have the shape of a tag and are none.
"""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from glotune.errors import nearest

_TABLE = Path(__file__).with_name("languages.csv")
_SCRIPTS = """
Adlm Arab Aran Armn Bali Bamu Batk Beng Bopo Brai Bugi Buhd Cakm Cans Cham Cher Copt Cyrl Deva Ethi Geor Grek Gujr
Guru Hang Hani Hano Hans Hant Hebr Hira Hmng Hmnp Hrkt Java Jpan Kali Kana Khmr Knda Kore Lana Laoo Latn Lepc Limb
Lisu Mlym Mong Mroo Mtei Mymr Newa Nkoo Olck Orya Osge Plrd Rjng Rohg Saur Sinh Sora Sund Sylo Syrc Tagb Tale Talu
Taml Tavt Telu Tfng Thaa Thai Tibt Vaii Wara Wcho Yiii
"""
_COUNTRIES = """
AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA CC
CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD
GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH
KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW
MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC
SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY
UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW
"""
_WORLD_REGIONS = """
001 002 003 005 009 011 013 014 015 017 018 019 021 029 030 034 035 039 053 054 057 061 142 143 145 150 151 154 155
202 419
"""
_KNOWN_SCRIPTS = frozenset(_SCRIPTS.split())
"""Those in use today."""
_REGIONS = frozenset(_COUNTRIES.split() + _WORLD_REGIONS.split())


@dataclass(frozen=True)
class Language:
    """One language of the table."""

    code: str
    """ISO 639-1 where there is one, else ISO 639-3."""
    code3: str
    """ISO 639-3."""
    name: str
    scripts: tuple[str, ...]
    """Scripts it is usually written in, by their Unicode names, e.g. ``Bengali``; the usual one first."""


@cache
def languages() -> dict[str, Language]:
    """Every code (two and three letters) -> its language."""
    table: dict[str, Language] = {}
    with _TABLE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            code, code3 = row["code"], row["code3"]
            table[code] = table[code3] = Language(code, code3, row["name"], tuple(row["scripts"].split()))
    return table


def is_language(code: str) -> bool:
    """Whether the table has `code`, alone or with a script or region after it (``zh``, ``zh-TW``, ``sr_Latn``)."""
    return find_language(code) is not None


def find_language(code: str) -> Language | None:
    """The language of a code; region and script after it are ignored; None where the table has it not."""
    head, *tail = code.replace("_", "-").split("-")
    return languages().get(head) if _are_subtags(tail) else None


def language_scripts(code: str) -> tuple[str, ...]:
    """The scripts that the language is usually written in; empty where they are not known."""
    language = find_language(code)
    return language.scripts if language else ()


def nearest_language(code: str, known: Iterable[str]) -> str | None:
    """The one of `known` that means the same language (``ben`` and ``bn``, ``Bangla``), else the nearest spelling."""
    known = sorted(known)
    for candidate in known:
        language = find_language(candidate)
        if language and code.casefold() in {language.code, language.code3, language.name.casefold()}:
            return candidate
    return nearest(code, known)


def _are_subtags(parts: list[str]) -> bool:
    """Whether these are a script, a region, or a script and then a region; case does not count."""
    rest = parts[1:] if parts and parts[0].title() in _KNOWN_SCRIPTS else parts
    return not rest or (len(rest) == 1 and rest[0].upper() in _REGIONS)


def direction(text: str) -> str:
    """``rtl`` where most letters with a direction run right to left, else ``ltr``.

    The browser's own rule looks at the first letter alone, which in a tweet is often a Latin user name.
    """
    balance = 0
    for character in text:
        kind = unicodedata.bidirectional(character)
        balance += (kind in ("R", "AL")) - (kind == "L")
    return "rtl" if balance > 0 else "ltr"
