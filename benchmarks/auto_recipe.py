"""Is `glotune train auto` never worse than a shipped recipe or Trainer's defaults, and better on average?

One study for each data set, all variants from the same encoder on the same rows: what `auto` chooses, every shipped
recipe for one label per text with its encoder replaced, and Trainer's defaults. The claims are stated before: auto's
macro-F1 is not more than one point below each of the others. BLP-2023 and HAHA had no part in choosing its table.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.anchors import BLP_SPLITS
from benchmarks.documents import put_between
from benchmarks.speed.world import LANGUAGES
from benchmarks.tasks.emotions import rows_of, write_rows
from benchmarks.tasks.parts import World
from benchmarks.tasks.tables import gain, shown
from glotune.data.given_rows import GivenRows
from glotune.model.loading import load_config
from glotune.recipe.loading import find_recipe, load_recipe, read_extended
from glotune.recipe.schema import Model
from glotune.recipe.study import StudyClaim, StudyRecipe
from glotune.recipe.study_loading import resolve_study
from glotune.study.run_study import run_study
from glotune.verbs.auto import choose_recipe

AUTO, TRAINER = "auto", "trainer-defaults"
RECIPES = ("e5", "xlmr-6-layers", "mbert-6-layers-frozen", "bangla-lora", "bangla-full", "humor-v2", "humor-v3")
OTHERS = (*RECIPES, TRAINER)
"""What `auto` is held against."""
DEFAULTS = {
    "optimizer": {"learning_rate": 5e-5, "weight_decay": 0.0},
    "schedule": {"name": "linear"},
    "train": {"epochs": 3, "batch_size": 8},
}
"""`TrainingArguments` as it comes; the best epoch is kept all the same, as everywhere here."""
SECTIONS = ("model", "loss", "optimizer", "schedule", "train", "evaluate", "average", "adversarial")
"""Of a recipe: what is not the data's."""
TEST_ROWS, MARGIN = 2_000, 0.01
"""Of a language, at most; of macro-F1, as a fraction."""


@dataclass(frozen=True)
class DataSet:
    """Texts with one label each.

    Attributes:
        name: of its folder.
        title: what tables call it.
        source: language that is trained on; the others are tested on without having been seen.
        languages: all that are tested on.
        data: keys of the section ``data`` beside the files.
    """

    name: str
    title: str
    source: str
    languages: tuple[str, ...]
    data: Mapping[str, Any]


DATA_SETS = (
    DataSet("umsab", "UMSAB", "en", LANGUAGES, {}),
    DataSet("nusax", "NusaX", "id", ("id", "jv", "min", "su"), {}),
    DataSet("blp23_bangla", "BLP-2023", "bn", ("bn",), BLP_SPLITS),
    DataSet("humor_haha", "HAHA", "es", ("es",), {"made_splits": {"validation": 0.05, "test": 0.05}}),
)


def study_of(
    data_set: DataSet, world: World, rows: int, seeds: Sequence[int], others: Sequence[str] = OTHERS
) -> StudyRecipe:
    """`auto` and the other variants on one data set, with a claim for each of these."""
    files = {language: _shortened(world, data_set, language) for language in data_set.languages}
    data = {
        "train": {data_set.source: files.pop(data_set.source)}, "test": files or None, "max_length": 128,
        "train_rows": rows, **data_set.data,
    }  # fmt: skip
    base = {"model": {"name": str(world.encoder)}, "data": data, "evaluate": {"metric": "macro_f1", "baselines": False}}
    given = {"model.name": str(world.encoder), "data": data}
    chosen = choose_recipe(GivenRows(), given).recipe.model_dump(mode="json")
    layers = int(load_config(Model(name=str(world.encoder))).num_hidden_layers)
    variants: dict[str, Any] = {AUTO: {name: chosen[name] for name in SECTIONS} | {"data": _texts_keys(chosen["data"])}}
    for name in others:
        if name == TRAINER:
            variants[name] = DEFAULTS
            continue
        known = read_extended(find_recipe(name))
        keys = {section: known[section] for section in SECTIONS if section in known}
        model = load_recipe(name, {"data.train": "texts.csv"}).model
        shares = _share_of(model, keys.get("model", {}), layers)
        variants[name] = keys | {"model": {**shares, "name": str(world.encoder)}}
    claims = [
        StudyClaim(name=f"auto is at most a point worse than {name}", form="non_inferior", margin=MARGIN,
                   variants=[AUTO, name])
        for name in others
    ]  # fmt: skip
    return StudyRecipe(
        name=f"auto-{data_set.name}",
        recipe=base,
        variants=variants,
        reference=AUTO,
        seeds=list(seeds),
        claims=claims,
    )


def _share_of(model: Model, given: Mapping[str, Any], layers: int) -> dict[str, Any]:
    """The keys of a recipe's section ``model`` over twelve layers, with the same share of an encoder of so many."""
    keys = dict(given)
    if model.layers is not None:
        keys["layers"] = _scaled(model.layers, layers)
    if model.freeze.layers:  # none frozen stays none
        keys["freeze"] = {**keys["freeze"], "layers": _scaled(model.freeze.layers, layers)}
    return keys


def _scaled(of_twelve: int, layers: int) -> int:
    return max(1, round(of_twelve * layers / 12))


def _texts_keys(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: data[key] for key in ("sampling_alpha", "windows")}


def _shortened(world: World, data_set: DataSet, language: str) -> str:
    """The file with its first test rows alone; where nothing says which they are, as it is."""
    rows = rows_of(world.file(data_set.name, language))
    tested = [row for row in rows if row["split"] == "test"]
    kept = [row for row in rows if row["split"] != "test"] + tested[:TEST_ROWS]
    return write_rows(world.work / "data" / data_set.name / f"{language}.csv", kept)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `python -m benchmarks auto` takes."""
    parser.add_argument("--data", type=Path, required=True, help="folder with umsab/LANGUAGE.csv and others")
    parser.add_argument("--encoder", type=Path, required=True, help="encoder of every variant: a folder or a name")
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for the studies, kept: they go on where they were"
    )
    parser.add_argument("--rows", type=int, default=800, help="training rows of a data set, at most")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0, help="a new table wants seeds that no claim has met")
    names = [each.name for each in DATA_SETS]
    parser.add_argument("--on", nargs="+", choices=names, default=names, help="the data sets; all without it")
    parser.add_argument("--beside", nargs="+", choices=OTHERS, default=OTHERS, help="the variants; all without it")
    parser.add_argument("--document", type=Path, help="Markdown that shows the table, drawn anew")
    parser.add_argument("--marks", default="auto", help="name of the marks in it")


def run(arguments: argparse.Namespace) -> str:
    """Carries out every study, and returns the table of differences."""
    world = World(arguments.data, arguments.encoder, arguments.work)
    answers = {}
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    for data_set in (each for each in DATA_SETS if each.name in arguments.on):
        study = study_of(data_set, world, arguments.rows, seeds, arguments.beside)
        done = run_study(resolve_study(study), arguments.work / "studies" / data_set.name)
        answers[data_set.name] = json.loads((done.directory.report / "claims.json").read_text(encoding="utf-8"))
        print(f"{data_set.name} done", flush=True)
    shown = table(answers)
    if arguments.document is not None:
        put_between(arguments.document, arguments.marks, shown)
    return shown


def table(answers: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: auto minus each other on each data set in points, whether it is at most one worse, and on average.

    Intervals are at the level of each study's look; the mean over data sets takes them as independent.
    """
    names, titles = list(answers), {each.name: each.title for each in DATA_SETS}
    columns = [titles[name] for name in names] + ([f"mean of {len(names)}"] if len(names) > 1 else [])
    lines = [f"| auto minus | {' | '.join(columns)} |", f"| --- |{' --- |' * len(columns)}"]
    for place, asked in enumerate(answers[names[0]]["claims"]):
        found = [answers[name]["claims"][place]["answer"] for name in names]
        cells = [*map(_cell, found), *([_mean(found)] if len(names) > 1 else [])]
        lines.append(f"| {asked['claim']['variants'][1]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(answer: Mapping[str, Any]) -> str:
    found = gain(answer)
    if found:
        return f"{found}, {answer['answer']}"
    why = answer["reason"].partition(". ")[0].removeprefix("Not tested: ").rstrip(".")
    return f"no answer: {why}"


def _mean(answers: Sequence[Mapping[str, Any]]) -> str:
    known = [each for each in answers if each["interval"] is not None]
    if not known:
        return ""
    mean = statistics.mean(each["improvement"] for each in known)
    halves = [(each["interval"]["high"] - each["interval"]["low"]) / 2 for each in known]
    half = math.sqrt(sum(half**2 for half in halves)) / len(known)
    return shown([mean, mean - half, mean + half], signed=True)
