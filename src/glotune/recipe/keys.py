"""The recipe of a run as flat keys, read a hundred times faster than by a YAML parser.

``recipe.yaml`` of a run is written by glotune in one fixed form (block style, two blanks a level), so that its lines
can be read as they stand; a thousand runs are compared without waiting.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

_LINE = re.compile(r"^( *)(- )?(?:([^\s:#'\"][^:]*|'[^']*'|\"[^\"]*\"):(?: (.*))?|(.+))$")
LATER: dict[str, object] = {
    "distill": None,
    "teacher": None,
    "self_training": None,
    "average": None,
    "adversarial": None,
    "model.pooling": None,
    "model.interpolate": 0.0,
    "loss.pos_weight": "none",
    "loss.focal_gamma": 0.0,
    "loss.huber": None,
    "loss.consistency": None,
    "data.augment": None,
    "data.translations": {},
    "data.unlabelled": {},
    "data.windows": None,
    "data.hide_test": False,
    "data.quoting": "standard",
    "data.levels": None,
    "data.columns.labels": None,
    "data.columns.votes": None,
    "data.columns.delimiter": None,
    "data.columns.weight": None,
    "data.columns.id": None,
    "data.weighted_metrics": False,
    "train.deterministic": False,
    "train.checkpoint_activations": False,
    "evaluate.threshold": "fitted",
    "evaluate.tune_thresholds": None,
    "speed.compile": "off",
    "speed.frozen_weights": "auto",
    "speed.cuda_graphs": False,
}
"""Keys that recipes of earlier versions lack, and their value where a recipe is the one that it was without them."""
_UNSET = "|".join(
    rf" *{key.rpartition('.')[2]}: '?{'null' if value is None else re.escape(str(value).lower())}'?\n"
    for key, value in LATER.items()
)
_NOT_PART_OF_A_VARIANT = re.compile(
    rf"^(?:(?:name|description|seed|track):.*\n(?:[ -].*\n)*|  baselines:.*\n|{_UNSET})", re.MULTILINE
)
_SECTION = re.compile(r"[^\n]*\n(?:[ -][^\n]*\n)*")

Value = str | float | int | bool | None | list[str]


def flat_keys(text: str) -> dict[str, Value]:
    """``model.lora.rank`` -> 8; a list of plain words is a list of strings. Unknown forms are left out."""
    found: dict[str, Value] = {}
    stack: list[tuple[int, str]] = []
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        indent, dash, key, value, item = len(match[1]), match[2], match[3], match[4], match[5]
        if dash:
            _append(found, stack, indent, item if item is not None else f"{key}: {value}")
        elif key is not None:
            while stack and stack[-1][0] >= indent:
                stack.pop()
            stack.append((indent, key.strip("'\"")))
            if value:
                found[".".join(name for _, name in stack)] = scalar(value)
    return found


def section_keys(text: str, section: str) -> dict[str, Value]:
    """`flat_keys` of one section alone; the same section of many recipes is read once."""
    start = 0 if text.startswith(f"{section}:") else text.find(f"\n{section}:") + 1
    if not start and not text.startswith(f"{section}:"):
        return {}
    found = _SECTION.match(text, start)
    return _section_keys(found[0]) if found else {}


@lru_cache(maxsize=1024)
def _section_keys(text: str) -> dict[str, Value]:
    return flat_keys(text)


def _append(found: dict[str, Value], stack: list[tuple[int, str]], indent: int, item: str) -> None:
    while stack and stack[-1][0] > indent:
        stack.pop()
    path = ".".join(name for _, name in stack)
    known = found.setdefault(path, [])
    if isinstance(known, list):
        known.append(str(scalar(item)))


def scalar(text: str) -> Value:
    """A YAML scalar as glotune writes it."""
    words: dict[str, Value] = {"null": None, "true": True, "false": False, "[]": [], "{}": None}
    if text in words:
        return words[text]
    if text[:1] in "'\"" and text[-1:] == text[:1] and len(text) > 1:
        return text[1:-1].replace("''", "'")
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def variant_key(text: str) -> str:
    """A hash over everything but name, description, seed, trackers and what is only set beside the run: runs that share
    it differ in chance alone."""
    return hashlib.sha256(_NOT_PART_OF_A_VARIANT.sub("", text).encode()).hexdigest()[:16]
