"""Published figures of the field beside glotune's, each data set as its paper splits it.

Results of several encoders lie in one file: where there is a network, `--encoder FacebookAI/xlm-roberta-base` adds
the encoder of the papers themselves.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any, cast

from benchmarks.documents import put_between
from benchmarks.speed.world import LANGUAGES
from benchmarks.tasks.parts import Told, World, add_result, read_results, trained
from benchmarks.tasks.tables import shown
from glotune.recipe.loading import with_keys
from glotune.run.data import RunData, load_run
from glotune.stats.arrays import Outcomes
from glotune.stats.bootstrap import score_intervals
from glotune.stats.confusion import count_metric
from glotune.stats.evaluation import INTERVAL_SEED

RESULTS = Path(__file__).with_name("anchors.json")
NUSAX = ("ace", "ban", "bbc", "bjn", "en", "id", "jv", "min", "su")
HUMOR = "humor"
HAHA_ROWS = 6000
BLP_SPLITS: dict[str, Any] = {
    "split_names": {"train": ["dev"], "validation": [], "test": ["test"]},
    "made_splits": {"validation": 0.1},
}


@dataclass(frozen=True)
class Settings:
    """How an encoder is fine-tuned on all of them."""

    keys: Mapping[str, Any]
    told: str


KINDS = {
    "e5": Settings(
        {
            "model.pooling": "mean", "model.freeze": {"embeddings": True, "layers": 10},
            "optimizer.learning_rate": 3e-4, "optimizer.head_learning_rate": 2e-3,
        },
        "the last two of twelve layers trained, mean of the tokens, 3e-4 (head 2e-3)",
    ),
    "nano": Settings(
        {"model.freeze": {"embeddings": True}, "optimizer.learning_rate": 5e-4},
        "all four layers trained, 5e-4",
    ),
    "base": Settings({"optimizer.learning_rate": 2e-5}, "every weight trained, 2e-5"),
}  # fmt: skip
"""Of encoders: e5 for multilingual-e5-small, nano for glotune-nano, base for XLM-R-base, -large and others."""


@dataclass(frozen=True)
class Anchor:
    """One data set, or one language of it.

    Attributes:
        name: ``SET/LANGUAGES``.
        data: section of the recipe.
        epochs: with few texts many passes, which patience ends.
        metric: the paper's, computed for each test language.
    """

    name: str
    data: Callable[[World], Mapping[str, Any]]
    epochs: int
    metric: str

    def measure(self, world: World, settings: Settings) -> Told:
        """Trains, or goes on where an earlier call stopped; scores on the test texts."""
        recipe = {
            "name": "anchor",
            "model": {"name": str(world.encoder)},
            "data": {"max_length": 128, **self.data(world)},
            "schedule": {"warmup_ratio": 0.1},
            "train": {"epochs": self.epochs, "batch_size": 32},
            "evaluate": {"metric": "macro_f1", "patience": 3},
            "checkpoints": {"keep": 1},
        }
        run = load_run(trained(with_keys(recipe, settings.keys), world.work / "runs" / self.name))
        tests = run.answered("test", run.languages("test"))
        return {
            "minutes_in_steps": (run.history.train_seconds() or 0.0) / 60,
            "languages": {name: self._told(run, name, cast(Outcomes, found)) for name, found in tests.items()},
        }

    def _told(self, run: RunData, language: str, found: Outcomes) -> Told:
        metric = (
            self.metric.replace(HUMOR, str(run.manifest.labels.index(HUMOR))) if HUMOR in self.metric else self.metric
        )
        interval = score_intervals(found, [metric], seed=INTERVAL_SEED)[metric]
        value = float(count_metric(metric)(found.confusion_CC))
        told: Told = {"texts": found.num_texts, "score": [value, interval.low, interval.high]}
        tfidf = None if run.baselines is None else run.baselines.score("tfidf", "test", language)
        if tfidf is not None:
            told["tfidf"] = float(count_metric(metric)(tfidf.confusion))
        return told


def nusax(language: str, world: World) -> dict[str, Any]:
    """Sentiment from the language's own 500 rows."""
    return {"train": {language: world.file("nusax", language)}}


def umsab(world: World) -> dict[str, Any]:
    """Sentiment of tweets, all languages together."""
    return {"train": {language: world.file("umsab", language) for language in LANGUAGES}}


def blp(world: World) -> dict[str, Any]:
    """Bangla comments; the development texts are learned from."""
    return {"train": {"bn": world.file("blp23_bangla", "bn")}, **BLP_SPLITS}


def haha(world: World) -> dict[str, Any]:
    """Which Spanish tweets are jokes; test texts drawn from the one labelled file."""
    made = {"validation": 0.05, "test": 0.2}
    return {"train": {"es": world.file("humor_haha", "es")}, "made_splits": made, "train_rows": HAHA_ROWS}


ANCHORS = (
    *(Anchor(f"nusax/{language}", partial(nusax, language), 10, "macro_f1") for language in NUSAX),
    Anchor("umsab/all", umsab, 3, "macro_f1"),
    Anchor("blp/bn", blp, 4, "accuracy"),
    Anchor("haha/es", haha, 3, f"f1[{HUMOR}]"),
)


@dataclass(frozen=True)
class Paper:
    """What a paper published on a data set, and how it differs from what is run here."""

    title: str
    scores: Mapping[str, Mapping[str, float]]
    """Model -> language, or ``mean`` -> score, in percent."""
    differs: str


PAPERS = {
    "nusax": Paper(
        "NusaX: sentiment in Indonesia's languages, each from its own 500 rows (Winata et al. 2023), macro-F1",
        {
            "logistic regression": {"mean": 75.4}, "mBERT": {"mean": 72.7}, "XLM-R-base": {"mean": 76.2},
            "XLM-R-large": {"mean": 80.0},
        },
        "Theirs are means over twelve languages; Buginese, Madurese and Ngaju are not at hand. Same rows and splits.",
    ),
    "umsab": Paper(
        "UMSAB: sentiment of tweets, one model trained on all languages (Barbieri et al. 2022), macro-F1",
        {
            "XLM-R-base": {"ar": 64.3, "en": 68.5, "fr": 70.5, "de": 72.8, "it": 68.6, "es": 66.0},
            "XLM-T": {"ar": 66.9, "en": 70.6, "fr": 71.2, "de": 77.3, "it": 69.1, "es": 67.9},
        },
        "Theirs trained on eight languages; Hindi and Portuguese are not at hand. Same rows and splits of the others. "
        "XLM-T is XLM-R pretrained further on 198 million tweets.",
    ),
    "blp": Paper(
        "BLP-2023, task 2: sentiment of Bangla comments (Hasan et al. 2023), micro-F1, which of one label is accuracy",
        {"BanglaBERT": {"bn": 71.6}, "an encoder of XLM-R's kind": {"bn": 67.0}},
        "Theirs trained on some 35,000 rows, which are not at hand; here 3,540 of the development rows train. "
        "Same test texts.",
    ),
    "haha": Paper(
        "HAHA 2019: is a Spanish tweet a joke (Chiruzzo et al. 2019), F1 of the jokes",
        {"BERT": {"es": 78.4}},
        f"The task's own test file has no labels here: 4,800 texts of the training file are the test, and "
        f"{HAHA_ROWS:,} others train (theirs 24,000).",
    ),
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `python -m benchmarks anchors` takes."""
    parser.add_argument("--data", type=Path, required=True, help="folder with nusax/LANGUAGE.csv and others")
    parser.add_argument("--encoder", required=True, help="folder of an encoder, or its name on the Hub")
    parser.add_argument("--called", required=True, help="name of the encoder in the tables")
    parser.add_argument("--settings", choices=KINDS, default="base", help="how it is fine-tuned")
    parser.add_argument("--work", type=Path, required=True, help="folder for runs, kept")
    parser.add_argument("--part", default="*", help="SET/LANGUAGES, * for any")
    parser.add_argument("--out", type=Path, default=RESULTS, help="results of all encoders, added to")
    parser.add_argument("--document", type=Path, help="Markdown whose tables are drawn anew from the results")


def run(arguments: argparse.Namespace) -> str:
    """Measures what isn't measured yet of one encoder, and returns the tables of all."""
    world = World(arguments.data, Path(arguments.encoder), arguments.work / arguments.called)
    settings = KINDS[arguments.settings]
    for anchor in ANCHORS:
        key = f"{arguments.called}/{anchor.name}"
        if fnmatch(anchor.name, arguments.part) and key not in read_results(arguments.out):
            add_result(arguments.out, key, {**anchor.measure(world, settings), "settings": settings.told})
            print(f"{key} done", flush=True)
    shown_tables = tables(read_results(arguments.out))
    if arguments.document is not None:
        put_between(arguments.document, "anchors", shown_tables)
    return shown_tables


def tables(results: Mapping[str, Told]) -> str:
    """Markdown: one table for each data set, then what differs."""
    return "\n\n".join(_table(group, paper, results) for group, paper in PAPERS.items())


def _table(group: str, paper: Paper, results: Mapping[str, Told]) -> str:
    ours: dict[str, dict[str, Told]] = {}
    for key, found in results.items():
        name, of_group, _ = key.split("/")
        if of_group == group:
            ours.setdefault(name, {}).update(found["languages"])
    languages = sorted({*(code for each in (*paper.scores.values(), *ours.values()) for code in each)} - {"mean"})
    columns = [*ours, *(["TF-IDF"] if ours else []), *paper.scores]
    lines = [f"**{paper.title}.**", "", f"| | {' | '.join(columns)} |", f"| --- |{' --- |' * len(columns)}"]
    tfidf = {code: each["tfidf"] for found in ours.values() for code, each in found.items() if "tfidf" in each}
    for code in languages:
        cells = [shown(found[code]["score"]) if code in found else "" for found in ours.values()]
        cells += [_percent(tfidf.get(code))] if ours else []
        cells += ["" if code not in each else f"{each[code]:.1f}" for each in paper.scores.values()]
        lines.append(f"| {code} | {' | '.join(cells)} |")
    if len(languages) != 1:
        means = [_mean(each["score"][0] for each in found.values()) for found in ours.values()]
        means += [_mean(tfidf.values())] if ours else []
        means += [f"{each.get('mean', statistics.mean(each.values())):.1f}" for each in paper.scores.values()]
        lines.append(f"| mean | {' | '.join(means)} |")
    return "\n".join([*lines, "", paper.differs])


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def _mean(values: Iterable[float]) -> str:
    found = list(values)
    return f"{100 * statistics.mean(found):.1f}" if found else ""
