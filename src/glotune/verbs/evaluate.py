"""A trained run judged on labelled texts: its own test split again, or texts it has never met."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from glotune.data.encoding import Text
from glotune.data.reading import read_again, read_evaluation_texts
from glotune.data.streams import refuse_streams
from glotune.data.texts import LabelledTexts, TextData
from glotune.engine.observer import Observer, watching
from glotune.errors import UserError, did_you_mean
from glotune.recipe import Recipe, load_recipe
from glotune.recipe.data_keys import Sources
from glotune.recipe.loading import Overrides, parsed_overrides
from glotune.recipe.section import as_list
from glotune.run.directory import RunDirectory, now
from glotune.run.records import Evaluation, Manifest
from glotune.tasks.of_recipe import answering
from glotune.tasks.records import record_split
from glotune.verbs.predict import Predictor, load
from glotune.whole_files import aside_of, numbered

TEST_NAMES = "data.split_names.test"
LABELS = "data.columns.labels"
READING = ("data.columns", TEST_NAMES, "data.quoting")
"""Keys of the recipe that may be others for files that the run has not met."""
ROWS = 2048
"""Rows of a table turned into Python strings at a time."""


@dataclass(frozen=True)
class JudgedTexts:
    """Where an evaluation lies, and what it found."""

    path: Path
    evaluations: list[Evaluation]


def evaluate(
    run: str | Path,
    data: Sources | None = None,
    *,
    name: str | None = None,
    device: str = "auto",
    precision: Literal["fp32", "bf16"] = "fp32",
    observer: Observer | None = None,
    keys: Overrides = (),
) -> JudgedTexts:
    """Evaluates the saved model of a run, with its full vocabulary, into ``RUN/evaluations/NAME/``.

    The folder holds ``evaluation.json`` (the data and how they were read), ``metrics.json`` and ``predictions/`` as a
    run does. It appears whole or not at all.

    Args:
        data: labelled files, as ``data.test`` of a recipe names them; None: the run's own held-out splits again.
        name: of the folder; None: from the data's names and the time.
        precision: as for `glotune.load`.
        keys: of the recipe, that say how the files are read (`READING`): what they leave out is as in the run's recipe.

    Raises:
        UserError: no such run, a key that says something else, data that can't be read, labels that the model does not
            know, or a name in use.
        RunError: the run holds no model yet.
    """
    directory = RunDirectory.open(run)
    directory.require_trained()
    directory.require_model()
    recipe, manifest = load_recipe(directory.recipe), directory.read_manifest()
    watcher = watching(observer)
    changed = _reading(keys, data)
    if changed:
        recipe = _read_as(recipe, changed)
    texts = read(recipe, manifest, data)
    for message in texts.warnings:
        watcher.log(f"warning: {message}")
    target = directory.path / "evaluations" / (name or _name_of(texts))
    if name is not None and target.exists():
        raise _taken(target)
    predictor = load(directory.path, device=device, precision=precision)
    aside = aside_of(target)
    try:
        (aside / "predictions").mkdir(parents=True)
        evaluations, truncated = [], {}
        for split, found in texts.splits.items():
            logits_NC, truncated[split] = _answer(predictor, found, watcher)
            outputs = answering(recipe.task, logits_NC, found, texts.targets, manifest.decision, is_own=data is None)
            places = found.places_by_language()
            evaluations += record_split(aside / "predictions", texts, split, places, outputs, recipe.records.text)
        written = RunDirectory(aside)
        written.write_metrics(evaluations)
        for place in numbered(target):
            _write_provenance(
                aside / "evaluation.json", place.name, texts, changed, truncated, predictor, written.hashes()
            )
            if _put(aside, place):
                return JudgedTexts(place, evaluations)
            if name is not None:
                raise _taken(place)
    except OSError as error:
        raise UserError(f"{target} can't be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    raise AssertionError("there is always another number")


def _reading(keys: Overrides, data: Sources | None) -> dict[str, Any]:
    """The keys, where they say how files are read, and there are files to read so."""
    found = dict(parsed_overrides(keys))
    for key in found:
        if not f"{key}.".startswith(tuple(f"{known}." for known in READING)):
            raise UserError(
                f"'{key}' changes nothing in an evaluation",
                expected=f"keys that say how its files are read: {', '.join(READING)}",
                remedy=did_you_mean(key, READING),
            )
    if found and data is None:
        raise UserError(
            f"'{next(iter(found))}' without files: a run's own texts are read as its recipe says",
            remedy="Name the files to evaluate on",
        )
    return found


def _read_as(recipe: Recipe, keys: dict[str, Any]) -> Recipe:
    """The recipe with these keys; a name of the test split then means no other.

    Columns of labels that are named stand in place of a column that is cut, and need no names beside their own.
    """
    names = recipe.data.split_names
    if TEST_NAMES in keys:
        names = names.claimed_by("test", as_list(keys[TEST_NAMES]))
    rest = {key: value for key, value in keys.items() if key != TEST_NAMES}
    replaced = {"data.labels": None, "data.columns.delimiter": None} if rest.get(LABELS) else {}
    return load_recipe(recipe, {"data.split_names": names.model_dump(), **replaced}, rest)


def _taken(target: Path) -> UserError:
    return UserError(f"{target} exists", expected="a new name", remedy="Give another one with --name")


def _put(aside: Path, target: Path) -> bool:
    """Whether the folder could take its place: not where another evaluation was as quick."""
    try:
        aside.rename(target)
    except OSError:
        if target.exists():
            return False
        raise
    return True


def read(recipe: Recipe, manifest: Manifest, data: Sources | None) -> TextData:
    """The texts to judge by, their labels as the run fixed them."""
    if data is not None:
        return read_evaluation_texts(data, recipe.data, manifest.labels, recipe.task)
    texts = read_own(recipe, manifest, or_else=", or name the files to evaluate on with --data")
    held_out = {split: found for split, found in texts.splits.items() if split != "train"}
    return TextData(
        held_out, texts.labels, texts.sources, texts.source_languages, texts.data_hash, [], [], targets=texts.targets
    )


def read_own(recipe: Recipe, manifest: Manifest, *, or_else: str = "") -> TextData:
    """The texts of a run, all splits, as it was trained on them.

    Args:
        or_else: what the command can do without them.

    Raises:
        UserError: they are no longer there, or no longer the same.
    """
    refuse_streams(recipe.data, "judging a run by its own texts again")
    texts = read_again(recipe.data, recipe.seed, manifest.labels, recipe.task)
    if texts.data_hash != manifest.data_hash:
        raise UserError(
            "the run's own data changed since it was trained",
            expected=f"the texts with hash {manifest.data_hash[:16]}, found {texts.data_hash[:16]}",
            remedy=f"Put the files back{or_else}",
        )
    return texts


def _answer(predictor: Predictor, found: LabelledTexts, observer: Observer) -> tuple[np.ndarray, int]:
    """The outputs for a split's texts, [N, C] float64, and how many of them were cut."""
    outputs_NC = np.zeros((len(found), len(predictor.labels)))
    done = truncated = 0
    for logits_BC, truncated_B, _ in predictor.engine.stream(texts_of(found)):
        truncated += int(truncated_B.sum())
        part = slice(done, done + len(logits_BC))
        outputs_NC[part] = logits_BC
        done = part.stop
        observer.progress("evaluate", done, len(found), {})
    if truncated:
        observer.log(
            f"{truncated:,} of {len(found):,} {found.split} texts are longer than {predictor.max_length} tokens: cut"
        )
    return outputs_NC, truncated


def texts_of(split: LabelledTexts) -> Iterator[Text]:
    """Its texts (or pairs) in order, as Python strings, a chunk at a time."""
    for chunk in split.chunks(ROWS):
        first = chunk.column("text").to_pylist()
        if split.has_pairs:
            yield from zip(first, chunk.column("text_pair").to_pylist(), strict=True)
        else:
            yield from first


def _name_of(texts: TextData) -> str:
    stems = "-".join(dict.fromkeys(Path(source.path).name.split(".")[0] for source in texts.sources))
    return f"{stems[:60]}-{datetime.now().strftime('%Y%m%d-%H%M%S')}"


def _write_provenance(
    path: Path,
    name: str,
    texts: TextData,
    keys: dict[str, Any],
    truncated: dict[str, int],
    predictor: Predictor,
    outputs: dict[str, str],
) -> None:
    content = {
        "schema": 1,
        "name": name,
        "created": now(),
        "data": [source.model_dump() for source in texts.sources],
        "data_hash": texts.data_hash,
        "keys": keys,
        "labels": texts.labels,
        "rows": {split: len(found) for split, found in texts.splits.items()},
        "truncated": truncated,
        "skipped": [{"path": row.path, "row": row.row, "reason": row.reason} for row in texts.skipped],
        "device": predictor.engine.model.device,
        "precision": predictor.engine.model.precision,
        "outputs": outputs,
    }
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
