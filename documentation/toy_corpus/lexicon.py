"""The data the quickstart corpus is written from: a plan of meanings, and how each language says them."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from glotune.errors import UserError, did_you_mean

Role = Literal["shared", "train", "test"]
"""The splits that a noun or pattern may serve: all of them, all but test, or test alone."""

_ALTERNATIVES = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class GroupPlan:
    """One group of the plan: every pattern can be said of every noun of the same group."""

    nouns: dict[Role, list[str]]
    patterns: dict[str, dict[Role, list[str]]]
    """Label -> role -> pattern identifiers."""


@dataclass(frozen=True)
class CorpusPlan:
    """What the corpus says, whatever the language."""

    labels: list[str]
    languages: list[str]
    source_language: str
    rows: dict[str, int]
    """Split -> rows drawn per group and label."""
    groups: dict[str, GroupPlan]
    scenes: dict[str, list[str]]
    """Label -> identifiers of the test scenes."""


@dataclass(frozen=True)
class Noun:
    """A noun (phrase) with its inflected forms, and its agreement class where the language has one."""

    agreement: str | None
    forms: dict[str, str]


@dataclass(frozen=True)
class GroupLexicon:
    """How one language says the nouns and patterns of one group."""

    classes: list[str]
    nouns: dict[str, Noun]
    patterns: dict[str, str]


@dataclass(frozen=True)
class Lexicon:
    """One language: its groups, its test scenes, and the capitals that differ from Unicode's default."""

    language: str
    name: str
    script: str
    capitals: dict[str, str]
    groups: dict[str, GroupLexicon]
    scenes: dict[str, dict[str, str]]
    """Label -> scene identifier -> sentence (the test split)."""
    own_scenes: dict[str, dict[str, list[str]]]
    """Split -> label -> sentences of train and validation, in the source language alone."""

    def say(self, group: str, pattern: str, noun: str) -> str:
        """The sentence of one pattern and one noun: forms filled in, alternatives chosen by the noun's class.

        ``"{the} es buen[o|a]."`` with a noun of the second class chooses ``a``.

        Raises:
            UserError: the pattern or noun is missing, asks for a form that the noun has not, or has another
                number of alternatives than the language has classes.
        """
        lexicon = self.groups[group]
        where = f"{self.language}.yaml, {group}"
        template = _look_up(lexicon.patterns, pattern, f"{where}, pattern")
        entry = _look_up(lexicon.nouns, noun, f"{where}, noun")

        def choose(match: re.Match[str]) -> str:
            alternatives = match.group(1).split("|")
            if entry.agreement is None or len(alternatives) != len(lexicon.classes):
                raise UserError(
                    f"{len(alternatives)} alternatives in '{template}' for the noun '{noun}'",
                    expected=f"one for each class of {lexicon.classes}",
                    where=where,
                )
            return alternatives[lexicon.classes.index(entry.agreement)]

        sentence = _ALTERNATIVES.sub(choose, template)
        sentence = _SLOT.sub(lambda m: _look_up(entry.forms, m.group(1), f"{where}, form of '{noun}'"), sentence)
        return self._finish(sentence)

    def scene(self, label: str, identifier: str) -> str:
        """The test scene of that identifier.

        Raises:
            UserError: the language does not have it.
        """
        return self._finish(_look_up(self.scenes[label], identifier, f"{self.language}.yaml, {label} scene"))

    def _finish(self, sentence: str) -> str:
        sentence = unicodedata.normalize("NFC", sentence.strip())
        first = self.capitals.get(sentence[0], sentence[0].upper())
        return first + sentence[1:]


def read_plan(folder: Path) -> CorpusPlan:
    """The plan of meanings in `folder`/plan.yaml."""
    data = _read_yaml(folder / "plan.yaml")
    groups = {name: GroupPlan(group["nouns"], group["patterns"]) for name, group in data.pop("groups").items()}
    return CorpusPlan(groups=groups, **data)


def read_lexicon(folder: Path, language: str) -> Lexicon:
    """The lexicon of one language in `folder`.

    Raises:
        UserError: a noun has an unknown class or more forms than the language names.
    """
    data = _read_yaml(folder / f"{language}.yaml")
    scenes = data["scenes"]
    groups = {}
    for name, group in data["groups"].items():
        classes = group["classes"] if "classes" in group else data["classes"]
        nouns = {
            noun: _noun(entry, classes, data["forms"], f"{language}.yaml, {name}, {noun}")
            for noun, entry in group["nouns"].items()
        }
        groups[name] = GroupLexicon(classes, nouns, group["patterns"])
    return Lexicon(
        language=data["language"],
        name=data["name"],
        script=data["script"],
        capitals=data.get("capitals") or {},
        groups=groups,
        scenes=scenes["test"],
        own_scenes={split: texts for split, texts in scenes.items() if split != "test"},
    )


def _noun(entry: list[str], classes: list[str], names: list[str], where: str) -> Noun:
    agreement = entry[0] if classes else None
    forms = entry[1:] if classes else entry
    if (classes and agreement not in classes) or len(forms) > len(names):
        raise UserError(f"noun entry {entry}", expected=f"a class of {classes}, then forms {names}", where=where)
    return Noun(agreement, dict(zip(names, forms, strict=False)))


def _look_up(table: dict[str, str] | dict[str, Noun], key: str, where: str) -> Any:
    if key not in table:
        raise UserError(f"'{key}' is missing", where=where, remedy=did_you_mean(key, table))
    return table[key]


def _read_yaml(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return data
