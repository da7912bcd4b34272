"""What users hand over, generated: names of files, scalars of a recipe, encodings, labels.

Each attempt knows the right result: what is accepted must be just that, and whatever can't be is one UserError.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from faults.answers import accepted, expect, users_mistakes
from faults.fuzz import Attempt
from glotune.data.reading import read_texts
from glotune.data.sources import find_sources
from glotune.data.texts import LabelledTexts, TextData
from glotune.recipe import Recipe, load_recipe, recipe_yaml
from glotune.recipe.schema import Data

# ---- names of files -----------------------------------------------------------------------------------------

NAME_PARTS = (
    " ", " #", "#", ": ", ":", "@", "[", "]", "{", "}", ",", ", ", "é", "e\u0301", "বাংলা", "😀", "~", "$HOME", "$", "-",
    "- ", "!", "! ", "&", "*", "%", "|", ">", "`", "'", '"', "\\", "\n", "\t", "=", "?", "null", "true", "1.10", "00",
    "\u200b", "\udce9", "..", "a", "b", "en", "data",
)  # fmt: skip
ROWS = "text,label\na good one,x\na bad one,y\n"


def file_names() -> Attempt:
    """Existing files of any name in KEY=VALUE, alone, in lists and in maps: taken literally, also by a saved recipe."""

    def attempt(generator: Random, folder: Path) -> object:
        name = f"{''.join(generator.choices(NAME_PARTS, k=generator.randint(1, 5)))}.csv"
        Path(name).write_text(ROWS, encoding="utf-8")
        Path("plain.csv").write_text(ROWS, encoding="utf-8")
        forms: dict[str, Any] = {name: name}
        if name == name.strip():
            forms |= {f"[{name}, plain.csv]": [name, "plain.csv"], f"{{bn: {name}}}": {"bn": name}}
        text, meant = generator.choice(list(forms.items()))
        key = generator.choice(["data.train", "data.validation", "data.test"])
        base = Recipe.model_validate({"name": "x", "model": {"name": "x"}, "data": {"train": "plain.csv"}})
        recipe = load_recipe(base, [f"{key}={text}"])
        Path("saved.yaml").write_text(recipe_yaml(recipe), encoding="utf-8")
        for each in (recipe, load_recipe("saved.yaml")):
            found = find_sources(getattr(each.data, key.removeprefix("data.")), key)
            wanted = [meant] if isinstance(meant, str) else list(meant.values() if isinstance(meant, dict) else meant)
            expect(
                len(found) == len(wanted)
                and all(source.path.samefile(path) for source, path in zip(found, wanted, strict=True)),
                f"{text!r} was read as {[source.name for source in found]}",
            )
        return recipe

    return users_mistakes(attempt)


# ---- scalars of a recipe ------------------------------------------------------------------------------------

DIGITS = (
    "0",
    "00",
    "1",
    "7",
    "10",
    "010",
    "1_000",
    "12:30",
    "0x1F",
    "0o17",
    "1.10",
    "1.",
    ".5",
    "1e3",
    "12e4567",
    "2e-5",
)
WORDS = (
    "true",
    "True",
    "TRUE",
    "false",
    "yes",
    "no",
    "on",
    "off",
    "null",
    "Null",
    "NULL",
    "nan",
    "inf",
    ".inf",
    "a",
    "<<",
)


def recipe_scalars() -> Attempt:
    """Scalars that look like numbers, truth values or null: where a string is wanted, their characters count."""

    def attempt(generator: Random, folder: Path) -> object:
        scalar = generator.choice([*DIGITS, *WORDS])
        if scalar in DIGITS:
            scalar = generator.choice(["", "", "-", "+"]) + scalar
        places: dict[str, tuple[str, Callable[[Recipe], Any], Any]] = {
            "data.labels": (f"[{scalar}, other]", lambda recipe: recipe.data.labels, [scalar, "other"]),
            "data.labels ": (
                f"{{{scalar}: {scalar}, b: c}}", lambda recipe: recipe.data.labels, {scalar: scalar, "b": "c"},
            ),
            "data.columns.text": (scalar, lambda recipe: recipe.data.columns.text, scalar),
            "data.columns.label": (scalar, lambda recipe: recipe.data.columns.label, scalar),
            "data.split_names.test": (f"[{scalar}]", lambda recipe: recipe.data.split_names.test, [scalar]),
            "loss.class_weights": (
                f"{{{scalar}: 2, b: 1}}", lambda recipe: recipe.loss.class_weights, {scalar: 2.0, "b": 1.0},
            ),
            f"loss.class_weights.{scalar}": ("2", lambda recipe: recipe.loss.class_weights, {scalar: 2.0}),
            "model.revision": (
                scalar, lambda recipe: recipe.model.revision, None if scalar.lower() == "null" else scalar,
            ),
        }  # fmt: skip
        key, (text, read, meant) = generator.choice(list(places.items()))
        base = {"name": "x", "model": {"name": "x"}, "data": {"train": "x.csv"}}
        if generator.random() < 0.5 or "weights." in key:
            recipe = load_recipe(Recipe.model_validate(base), [f"{key}={text}"])
        else:
            lines = [f"{'  ' * depth}{part}:" for depth, part in enumerate(key.strip().split("."))]
            Path("base.yaml").write_text(json.dumps(base), encoding="utf-8")
            Path("given.yaml").write_text("\n".join(["extends: base.yaml", *lines]) + f" {text}\n", encoding="utf-8")
            recipe = load_recipe("given.yaml")
        Path("saved.yaml").write_text(recipe_yaml(recipe), encoding="utf-8")
        for each in (recipe, load_recipe("saved.yaml")):
            expect(read(each) == meant, f"{key}={text} was read as {read(each)!r}")
        return recipe

    return users_mistakes(attempt)


# ---- encodings ----------------------------------------------------------------------------------------------

SENTENCES = ("ভালো ছিল", "très bon", "schön war's", "хорошо", "好极了", "good", "€ 5, ok", "naïve “quoted”")
UTF_8 = ("utf-8", "utf-8-sig")
ENCODINGS = (*UTF_8, "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp1252", "gb18030", "mixed")


def encodings() -> Attempt:
    """Data files and recipes in many encodings, plain and zipped: read as what they say, or refused."""

    def attempt(generator: Random, folder: Path) -> object:
        encoding = generator.choice(ENCODINGS)
        narrow = {"mixed": "latin-1"}.get(encoding, encoding)
        texts = generator.choices([text for text in SENTENCES if _can_say(text, narrow)], k=6)
        if generator.random() < 0.2:
            return _recipe_in(encoding, texts[0])
        suffix = generator.choice([".csv", ".tsv", ".jsonl", ".csv.gz"])
        if suffix == ".jsonl":
            lines = [
                json.dumps({"text": text, "label": "xy"[row % 2]}, ensure_ascii=False) for row, text in enumerate(texts)
            ]
        else:
            mark = "\t" if suffix == ".tsv" else ","
            quoted = ['"' + text.replace('"', '""') + '"' for text in texts]
            lines = [f"text{mark}label", *(f"{text}{mark}{'xy'[row % 2]}" for row, text in enumerate(quoted))]
        content = _encoded(lines, encoding)
        path = Path(f"en{suffix}")
        path.write_bytes(gzip.compress(content) if suffix.endswith(".gz") else content)
        with accepted(encoding, surely=encoding in UTF_8):
            found = _read(str(path)).splits["train"]
        expect(sorted(_texts(found)) == sorted(texts), f"{encoding}: read as {_texts(found)[:2]}")
        return found

    return users_mistakes(attempt)


def _encoded(lines: list[str], encoding: str) -> bytes:
    if encoding != "mixed":
        return "\n".join([*lines, ""]).encode(encoding)
    kinds = ("utf-8", "latin-1")
    return b"".join(f"{line}\n".encode(kinds[place % 2]) for place, line in enumerate(lines))


def _can_say(text: str, encoding: str) -> bool:
    try:
        return text.encode(encoding).decode(encoding) == text
    except UnicodeEncodeError:
        return False


def _recipe_in(encoding: str, description: str) -> object:
    lines = [
        "name: x",
        f"description: {json.dumps(description, ensure_ascii=False)}",
        "model: {name: x}",
        "data: {train: x}",
    ]
    Path("r.yaml").write_bytes(_encoded(lines, encoding))
    with accepted(encoding, surely=encoding in UTF_8):
        recipe = load_recipe("r.yaml")
    expect(recipe.description == description, f"{encoding}: read as {recipe.description!r}")
    return recipe


def _read(path: str) -> TextData:
    """The file as training texts and, so that no row is cut off, as validation texts too."""
    return read_texts(Data.model_validate({"train": {"en": path}, "validation": {"en": path}}), 0)


def _texts(found: LabelledTexts) -> list[str]:
    return [text for chunk in found.chunks(1000) for text in chunk.column("text").to_pylist()]


# ---- types of labels ----------------------------------------------------------------------------------------

MISSING = (None, float("nan"))
LABELS: dict[str, tuple[tuple[Any, ...], bool]] = {
    "integers": ((0, 1, 2), False),
    "whole floats": ((1.0, 2.0), False),
    "ratings": ((1.0, 1.5, 2.5, 3.0, 4.5), True),
    "truth values": ((True, False), False),
    "strings": (("x", "y"), False),
    "joined": (("joy", "anger", "joy|anger"), True),
    "one spelling": (("café", "cafe\u0301", "x"), False),
    "letter case": (("Good", "good", "bad"), True),
    "bytes": ((b"x", b"y"), False),
    "lists": ((["x"], ["x", "y"]), False),
    "decimals": ((Decimal("1.5"), Decimal("2.5")), True),
    "unique": ((), True),
}
"""Kind -> its values, and whether they must be warned of (they are hardly classes)."""
SURELY_CLASSES = ("integers", "whole floats", "truth values", "strings", "one spelling")


def label_types(encoder: Path) -> Attempt:
    """Labels of every type, some of them missing: the classes are the values that are there, odd ones are warned of."""

    def attempt(generator: Random, folder: Path) -> object:
        kind = generator.choice(list(LABELS))
        values, is_odd = LABELS[kind]
        labels: list[Any] = [values[row % len(values)] if values else f"id {row}" for row in range(30)]
        missing = generator.choice([0, 0, 3])
        for row in generator.sample(range(30), missing):
            labels[row] = generator.choice(MISSING)
        if missing and generator.random() < 0.3:
            return _fitted(generator, encoder, labels)
        suffix = generator.choice([".jsonl", ".parquet"])
        path = _table(labels, suffix)
        with accepted(kind, surely=kind in SURELY_CLASSES):
            texts = _read(path)
        rows = len(texts.splits["train"])
        told = f"{kind}: {rows} rows, {len(texts.skipped)} skipped"
        expect((rows, len(texts.skipped)) == (30 - missing, missing), told)
        distinct = {"one spelling": 2, "unique": 30 - missing}.get(kind, len(values))
        expect(len(texts.labels) == distinct, f"{kind}: the classes are {texts.labels[:8]}")
        expect(not is_odd or any("label" in each for each in texts.warnings), f"{kind} are not warned of")
        return texts

    return users_mistakes(attempt)


def _table(labels: list[Any], suffix: str) -> str:
    texts = [f"text number {row}" for row in range(len(labels))]
    path = Path(f"en{suffix}")
    if suffix == ".jsonl":
        plain = [float(each) if isinstance(each, Decimal) else each for each in labels]
        plain = [each.decode() if isinstance(each, bytes) else each for each in plain]
        lines = [json.dumps({"text": text, "label": label}) for text, label in zip(texts, plain, strict=True)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    else:
        is_number = all(isinstance(each, float) or each is None for each in labels)
        cells = labels if is_number else [None if each != each else each for each in labels]
        parquet.write_table(pa.table({"text": texts, "label": pa.array(cells)}), path)
    return str(path)


def _fitted(generator: Random, encoder: Path, labels: list[Any]) -> object:
    """A classifier can't be fitted where labels are missing."""
    from glotune import Classifier

    given = np.empty(len(labels), object)
    given[:] = labels
    texts = [f"good {row}" for row in range(len(labels))]
    Classifier(str(encoder), train__epochs=1).fit(texts, generator.choice([labels, given]))
    raise AssertionError(f"fitted where labels are missing, among them {labels[:3]}")
