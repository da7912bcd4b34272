"""What may stand behind a language code: scripts (ISO 15924), countries (ISO 3166-1), world regions (UN M49).

By list and not by shape: ``en_test`` and ``en_100`` have the shape of a tag and are none.
"""

from __future__ import annotations

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
SCRIPTS = frozenset(_SCRIPTS.split())
"""Those in use today."""
REGIONS = frozenset(_COUNTRIES.split() + _WORLD_REGIONS.split())


def are_subtags(parts: list[str]) -> bool:
    """Whether these are a script, a region, or a script and then a region; case does not count."""
    rest = parts[1:] if parts and parts[0].title() in SCRIPTS else parts
    return not rest or (len(rest) == 1 and rest[0].upper() in REGIONS)
