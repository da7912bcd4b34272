"""Small labelled texts and recipes for tests that train for real, in seconds."""

from __future__ import annotations

import csv
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from encoders import TEXTS, make_encoder
from glotune.recipe import Recipe
from glotune.recipe.schema import Recipe as Schema

WORDS = {
    "en": {"good": "good lovely great nice", "bad": "bad dirty rude slow", "plain": "room food staff story"},
    "es": {"good": "buena bonito rica linda", "bad": "mala sucia lenta fea", "plain": "lugar comida sala gente"},
}
LABELS = ("bad", "good", "plain")


def sentences(language: str, count: int, seed: int = 0, *, pairs: bool = False) -> list[dict[str, str]]:
    """Rows of text, label (and text_pair) of many lengths; the label can be learned from the words."""
    generator = random.Random(f"{language}{seed}")
    every = " ".join(" ".join(words.split()) for words in WORDS[language].values()).split()
    rows = []
    for number in range(count):
        label = LABELS[number % len(LABELS)] if number % 7 else "bad"
        words = generator.choices(WORDS[language][label].split(), k=2)
        words += generator.choices(every, k=generator.choice([0, 1, 2, 5, 12]))
        row = {"text": f"{' '.join(words)} {number}", "label": label}
        if pairs:
            row["text_pair"] = " ".join(generator.choices(every, k=generator.choice([1, 3, 8])))
        rows.append(row)
    return rows


def several_labels(rows: Sequence[Mapping[str, str]], blank: str = "") -> list[dict[str, str]]:
    """The same rows with a column for each label: 1, 0, and here and there nothing; none at all of `blank`.

    A text of one label says little of the others: `good` and `bad` of every fifth `plain` one apply both.
    """
    found = []
    for number, row in enumerate(rows):
        cells = {label: str(int(row["label"] == label)) for label in LABELS}
        if row["label"] == "plain" and number % 5 == 0:
            cells |= {"good": "1", "bad": "1"}
        if number % 6 == 1:
            cells["plain"] = ""
        cells |= {blank: ""} if blank else {}
        found.append({**{key: value for key, value in row.items() if key != "label"}, **cells})
    return found


def multi_label_recipe(folder: Path, **overrides: Any) -> Recipe:
    """`small_recipe` for several labels, of which Spanish texts are not annotated with `plain`; over the same texts."""
    from glotune.recipe import load_recipe

    rows = overrides.get("rows", 60)
    base = small_recipe(folder, rows=rows)
    files = (("train.csv", "en", rows, 0), ("dev.csv", "en", 24, 1), ("es.csv", "es", 30, 2))
    for name, language, count, seed in files:
        made = several_labels(sentences(language, count, seed), "plain" if language == "es" else "")
        for number, row in enumerate(made if name == "train.csv" else []):
            row["trust"] = str(0.25 * (1 + number % 7))
        write_csv(folder / name, made)
    keys = {key: value for key, value in overrides.items() if key != "rows"}
    return load_recipe(base, {"task": "multi_label", "data.columns.labels": list(LABELS)}, keys)


def score_recipe(folder: Path, **overrides: Any) -> Recipe:
    """`small_recipe` for two scores on levels from 0 to 100, of which some are missing; over the same texts."""
    from glotune.recipe import load_recipe

    rows = overrides.get("rows", 60)
    base = small_recipe(folder, rows=rows)
    levels = {"bad": ("0", "100"), "good": ("100", "0"), "plain": ("40", "80")}
    for name, language, count, seed in (
        ("train.csv", "en", rows, 0),
        ("dev.csv", "en", 24, 1),
        ("es.csv", "es", 30, 2),
    ):
        made = []
        for number, row in enumerate(sentences(language, count, seed)):
            funny, rude = levels[row["label"]]
            trust = {"trust": str(0.25 * (1 + number % 7))} if name == "train.csv" else {}
            made.append({"text": row["text"], "funny": funny, "rude": "" if number % 5 == 1 else rude, **trust})
        write_csv(folder / name, made)
    keys = {key: value for key, value in overrides.items() if key != "rows"}
    return load_recipe(
        base, {"task": "score", "data.columns.labels": ["funny", "rude"], "evaluate.metric": "pearson"}, keys
    )


def votes_recipe(folder: Path, **overrides: Any) -> Recipe:
    """`small_recipe` with annotators' votes for each class, of `good` in two columns; over the same texts.

    Most of the three to five annotators of a text vote for its label; in every ninth text two classes are tied.
    """
    from glotune.recipe import load_recipe

    rows = overrides.get("rows", 60)
    base = small_recipe(folder, rows=rows)
    for name, language, count, seed in (
        ("train.csv", "en", rows, 0),
        ("dev.csv", "en", 24, 1),
        ("es.csv", "es", 30, 2),
    ):
        made = []
        for number, row in enumerate(sentences(language, count, seed)):
            votes = dict.fromkeys(LABELS, 0) | {row["label"]: 3 - (number % 9 == 0)}
            votes[LABELS[(LABELS.index(row["label"]) + 1 + number % 2) % 3]] += 2 if number % 9 == 0 else number % 3
            cells = {"bad": votes["bad"], "nice": votes["good"] // 2, "great": votes["good"] - votes["good"] // 2}
            trust = {"trust": str(0.25 * (1 + number % 7))}
            made.append({"text": row["text"], **{key: str(value) for key, value in cells.items()},
                         "plain": str(votes["plain"]), **trust})  # fmt: skip
        write_csv(folder / name, made)
    keys = {key: value for key, value in overrides.items() if key != "rows"}
    votes = {"bad": "bad", "good": ["nice", "great"], "plain": "plain"}
    return load_recipe(base, {"data.columns.votes": votes}, keys)


def unlabelled(folder: Path, language: str, count: int = 40) -> Path:
    """Texts that stand in no other file."""
    path = folder / f"more.{language}.txt"
    lines = [
        f"{row['text']} {'back at the bazaar' if language == 'en' else 'de verdad'}\n"
        for row in sentences(language, count, 9)
    ]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def rounds_recipe(folder: Path, **overrides: Any) -> Recipe:
    """`small_recipe` with self-training on texts in both languages. So few texts teach little, and where the answers to
    them collapse to one class the rounds end: tests of later rounds switch that off."""
    spec = {"rounds": 2, "share": 0.5, **overrides.pop("self_training", {})}
    texts = {language: str(unlabelled(folder, language)) for language in ("en", "es")}
    keys = {"optimizer__learning_rate": 3e-3, "train__epochs": 6, "evaluate__baselines": False, **overrides}
    return small_recipe(folder, **{"data__unlabelled": texts, "self_training": spec, **keys})


def write_csv(path: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    """A CSV file with the keys of the rows as header."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def small_recipe(folder: Path, family: str = "xlm-roberta", **overrides: Any) -> Recipe:
    """A recipe over made texts (en → es) and a random encoder of the family, all under `folder`.

    `overrides` are dotted keys with ``__``; ``pairs=True`` makes text pairs, ``rows`` the training rows.
    """
    from glotune.recipe import load_recipe

    pairs, rows = overrides.pop("pairs", False), overrides.pop("rows", 60)
    layers = overrides.pop("encoder_layers", 2)
    encoder = folder / f"{family}-{layers}"
    if not encoder.exists():
        texts = [row["text"] for language in WORDS for row in sentences(language, 40)]
        make_encoder(encoder, family, layers=layers, texts=[*TEXTS, *texts])
    data: dict[str, Any] = {
        "train": {"en": str(write_csv(folder / "train.csv", sentences("en", rows, pairs=pairs)))},
        "validation": {"en": str(write_csv(folder / "dev.csv", sentences("en", 24, 1, pairs=pairs)))},
        "test": {"es": str(write_csv(folder / "es.csv", sentences("es", 30, 2, pairs=pairs)))},
        "max_length": 32,
    }
    if pairs:
        data["columns"] = {"text_pair": "text_pair"}
    base = Schema.model_validate(
        {
            "name": "small",
            "model": {"name": str(encoder)},
            "data": data,
            "optimizer": {"learning_rate": 1e-3},
            "train": {"epochs": 2, "batch_size": 16, "precision": "fp32", "device": "cpu"},
        }
    )
    return load_recipe(base, overrides)
