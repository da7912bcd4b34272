"""What annotators said in numbers: strengths of emotions, ratings of humor and offense, votes on humor."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from benchmarks.tasks.emotions import EMOTIONS, NOT_ANNOTATED, rows_of, write_rows
from benchmarks.tasks.parts import Part, World

SCORES = ("pearson", "spearman", "rmse")
VOTES = ("macro_f1", "js_distance", "agreement", "agreement_ceiling")
TRAINED_ON = ("arq", "chn", "deu", "eng", "hau", "ptbr", "rus")
"""Languages with training rows on intensity. Romanian has none: it is answered by a model of the others."""
ROWS, ROWS_OF_EACH = 1000, 200
"""Training rows of a language that is answered by a model of its own, and of each where several train one."""
VOTE_COLUMNS = {"not_humor": "votes_no", "humor": [f"votes_{stars}" for stars in range(1, 6)]}
"""HAHA: who said that it is no joke, and who gave it one to five stars."""


def small(world: World, task: str, data: Mapping[str, Any], **others: Any) -> dict[str, Any]:
    """The encoder's first six layers, the last two of them trained; the mean of the tokens, as it was pretrained."""
    return {
        "name": task.replace("_", "-"),
        "task": task,
        "model": {
            "name": str(world.encoder), "layers": 6, "pooling": "mean", "freeze": {"embeddings": True, "layers": 4},
        },
        "data": {"max_length": 64, **data},
        "optimizer": {"learning_rate": 3e-4, "head_learning_rate": 2e-3},
        "schedule": {"warmup_ratio": 0.1},
        "train": {"epochs": 3, "precision": "fp32", "device": "cpu"},
        "checkpoints": {"keep": 1},
        **others,
    }  # fmt: skip


def intensity(language: str, world: World) -> dict[str, Any]:
    """Every emotion's strength on four levels, from the language's own rows."""
    labels = [name for name in EMOTIONS if language != "eng" or NOT_ANNOTATED["eng"] != name]
    file = world.file("brighter_intensity", language)
    data = {"train": {language: file}, "columns": {"labels": labels}, "levels": [0, 1, 2, 3], "train_rows": ROWS}
    return small(world, "score", data)


def intensity_unseen(world: World) -> dict[str, Any]:
    """Romanian, from some rows of every language that has training rows."""
    train = {}
    for name in TRAINED_ON:
        rows = rows_of(world.file("brighter_intensity", name))
        kept = [row for row in rows if row["split"] == "train"][:ROWS_OF_EACH]
        kept += [row for row in rows if row["split"] == "dev"][: ROWS_OF_EACH // 5]
        train[name] = write_rows(world.work / "data" / f"intensity-{name}-{ROWS_OF_EACH}.csv", kept)
    test = {"ron": world.file("brighter_intensity", "ron")}
    data = {"train": train, "test": test, "columns": {"labels": list(EMOTIONS)}, "levels": [0, 1, 2, 3]}
    return small(world, "score", data)


def humor_ratings(world: World) -> dict[str, Any]:
    """How funny and how offensive, mean ratings from 0 to 5; what is no joke has no rating of humor."""
    file = str(world.data / "humor_hahackathon" / "en_ratings.csv.gz")
    data = {
        "train": {"en": file}, "columns": {"labels": ["humor_rating", "offense_rating"]},
        "made_splits": {"validation": 0.05, "test": 0.2}, "train_rows": ROWS,
    }  # fmt: skip
    return small(world, "score", data)


def humor_votes(world: World) -> dict[str, Any]:
    """Whether it is a joke, by the votes of three to ten annotators."""
    file = str(world.data / "humor_haha" / "es_votes.csv.gz")
    data = {
        "train": {"es": file}, "columns": {"votes": VOTE_COLUMNS},
        "made_splits": {"validation": 0.05, "test": 0.1}, "train_rows": ROWS,
    }  # fmt: skip
    return small(world, "single_label", data, evaluate={"tune_thresholds": "macro_f1"})


PARTS = (
    *(Part(f"intensity/{name}", partial(intensity, name), SCORES) for name in TRAINED_ON),
    Part("intensity/ron", intensity_unseen, SCORES),
    Part("humor/ratings", humor_ratings, SCORES),
    Part("humor/votes", humor_votes, VOTES),
)
