"""The files that the documentation talks about, tiny: texts under the names it uses, encoders under their Hub names."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from encoders import TEXTS, make_encoder
from small_runs import LABELS, WORDS, sentences, write_csv

ENCODERS = {
    "FacebookAI/xlm-roberta-base": ("xlm-roberta", 7),
    "FacebookAI/xlm-roberta-large": ("xlm-roberta", 7),
    "google-bert/bert-base-multilingual-uncased": ("bert", 7),
    "intfloat/multilingual-e5-small": ("bert", 12),
}
"""Family and layers by name: a folder of this name in the working directory is found before the Hub is asked. What a
page freezes or keeps has to exist; more layers only cost time."""

THREE_CLASSES = (
    "en.csv", "en_dev.csv", "reviews.csv", "reviews_en.csv", "hi.csv", "bn.csv", "bn_train.csv", "bangla.csv", "sw.csv",
    "rw.csv", "swahili.csv", "train.csv", "dev.csv", "test.csv",
)  # fmt: skip
MESSY = "text,label\nGood,positive\nGood,negative\n,positive\nBad film,negative\nBad film,negative\nFine,neutral\nSo so,neutrl\n"  # noqa: E501
QUICKSTART = {"train": 48, "validation": 24, "test": 24}
"""Rows of the toy corpus that stand for all of it, per split."""


def make_stand_ins(folder: Path) -> None:
    """Everything but the runs, in `folder`."""
    texts = [row["text"] for language in WORDS for row in sentences(language, 40)]
    for name, (family, layers) in ENCODERS.items():
        encoder = folder / name
        make_encoder(encoder, family, layers=layers, hidden=16, max_position=160, texts=[*TEXTS, *texts])
    for number, name in enumerate(THREE_CLASSES):
        write_csv(folder / name, sentences("en", 36, number))
    (folder / "corpus").mkdir()
    for number, name in enumerate(("train.csv", "dev.csv", "test.csv")):
        write_csv(folder / "corpus" / name, sentences("en", 36, number))
    write_csv(folder / "all.csv", _with_language(sentences("en", 36), "en") + _with_language(sentences("es", 18), "bn"))
    write_csv(folder / "tweets.csv", _renamed(sentences("en", 36), {"text": "tweet", "label": "sentiment"}))
    long = [
        {**row, "text": " ".join([row["text"]] * (1 + 4 * (place % 5)))}
        for place, row in enumerate(sentences("en", 36))
    ]
    write_csv(folder / "long_reviews.csv", long)
    numbers = {label: str(number) for number, label in enumerate(LABELS)}
    write_csv(folder / "tweets_012.csv", [{**row, "label": numbers[row["label"]]} for row in sentences("en", 36)])
    write_csv(
        folder / "nli.csv", _renamed(sentences("en", 36, pairs=True), {"text": "premise", "text_pair": "hypothesis"})
    )
    write_csv(folder / "weighted.csv", [{**row, "trust": "0.5"} for row in sentences("en", 36)])
    labels = ["anger", "disgust", "fear", "joy", "sadness", "surprise"]
    for name, count in (("emotions.csv", 60), ("emotions_hau.csv", 24)):
        write_csv(folder / name, _emotions(sentences("en", count), labels, {"good": "joy", "bad": "anger"}))
    named = {"good": "joy", "bad": "anger|fear", "plain": "|"}
    write_csv(folder / "topics.csv", [{**row, "label": named[row["label"]]} for row in sentences("en", 60)])
    funny = {"good": 4.0, "plain": 2.0, "bad": 0.5}
    ratings = [(row, funny[row["label"]] + number % 5 / 10) for number, row in enumerate(sentences("en", 60))]
    write_csv(
        folder / "ratings.csv",
        [
            {"text": row["text"], "humor_rating": f"{score:g}" if place % 4 else "", "offense_rating": f"{5 - score:g}"}
            for place, (row, score) in enumerate(ratings)
        ],
    )
    strong = [{"text": row["text"], **{label: str(int(score + place) % 4) for place, label in enumerate(labels)}}
              for row, score in ratings]  # fmt: skip
    write_csv(folder / "intensity.csv", strong)
    humor = [{**row, "label": "humor" if row["label"] == "good" else "not_humor"} for row in sentences("es", 60)]
    write_csv(folder / "haha.csv", humor)
    votes = [
        {"text": row["text"], "votes_no": str(5 * (row["label"] != "good") + place % 3),
         **{f"votes_{stars}": str(int(row["label"] == "good") + (place + stars) % 2) for stars in range(1, 6)}}
        for place, row in enumerate(sentences("es", 60))
    ]  # fmt: skip
    write_csv(folder / "votes.csv", votes)
    (folder / "messy.csv").write_text(MESSY, encoding="utf-8")
    wild = "".join(f'{row["label"]}\t"{row["text"]}\n' for row in sentences("en", 36))
    (folder / "wild.tsv").write_text(f"label\ttext\n{wild}", encoding="utf-8")
    (folder / "comments.txt").write_text("good food\nrude staff\n", encoding="utf-8")


def _emotions(
    rows: Sequence[Mapping[str, str]], labels: Sequence[str], names: Mapping[str, str]
) -> list[dict[str, str]]:
    """A column for each label; now and then one that was not annotated."""
    return [
        {
            "text": row["text"],
            **{
                label: "" if number % 9 == place else str(int(names.get(row["label"]) == label or number % 7 == place))
                for place, label in enumerate(labels)
            },
        }
        for number, row in enumerate(rows)
    ]


def _with_language(rows: Sequence[Mapping[str, str]], language: str) -> list[dict[str, str]]:
    return [{**row, "language": language} for row in rows]


def _renamed(rows: Sequence[Mapping[str, str]], names: Mapping[str, str]) -> list[dict[str, str]]:
    return [{names.get(key, key): value for key, value in row.items()} for row in rows]


def small_quickstart(folder: Path, recipe: Path) -> Path:
    """The quickstart's recipe over a part of its corpus; its keys are the shipped ones but for the paths."""
    import csv

    corpus = recipe.parent.parent / "corpora" / "quickstart"
    (folder / "corpora" / "quickstart").mkdir(parents=True)
    for language in ("en", "bn", "sw"):
        left = dict(QUICKSTART)
        kept = []
        for row in csv.DictReader((corpus / f"{language}.csv").open(encoding="utf-8")):
            if left[row["split"]]:
                left[row["split"]] -= 1
                kept.append(row)
        write_csv(folder / "corpora" / "quickstart" / f"{language}.csv", kept)
    (folder / "recipes").mkdir()
    return Path(shutil.copy(recipe, folder / "recipes" / recipe.name))


def expected_extras(pyproject: Path) -> set[str]:
    """The optional dependencies that may be installed by name."""
    import tomllib

    return set(tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["optional-dependencies"])
