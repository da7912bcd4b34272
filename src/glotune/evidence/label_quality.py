"""Likely label errors among the texts that a run, or all folds of a study, predicted without having learned them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glotune.errors import UserError
from glotune.run.data import RunData
from glotune.run.predictions import Predictions
from glotune.stats.confident import confident_learning, normalised_margins
from glotune.whole_files import write_output
from glotune.words import count, named, percent

Origins = Mapping[int, tuple[str, int]]
"""Row of a file of folds -> (file, row) that its text came from."""
LEAST_AGREEMENT = 0.7
"""Below it errors of the model outnumber those of any labels that are worth training on."""
FEW = 50
"""Below so many texts the thresholds are means over a handful of texts per class."""


@dataclass(frozen=True)
class Suspect:
    """A text whose label is likely wrong."""

    split: str
    language: str
    file: str
    row: int
    label: str
    likely: str
    label_probability: float
    likely_probability: float
    margin: float
    """Of the given label's probability over the likeliest other one's."""
    text: str | None
    text_pair: str | None


@dataclass(frozen=True)
class Inspected:
    """What was looked at in one split of one language; of several labels, under one of them."""

    split: str
    language: str
    label: str | None
    """The one label of several that is looked at; None where each text has one class."""
    texts: int
    suspects: int
    agreement: float
    """Share of the texts that the model answers as they are labelled: it bounds what its suspicions are worth."""
    rate: float
    """Estimated share of wrong labels."""


@dataclass(frozen=True)
class LabelQuality:
    """Everything that was found."""

    inspected: list[Inspected]
    suspects: list[Suspect]
    """The likeliest errors first."""
    notes: list[str]


def examine_labels(runs: Sequence[RunData], *, whole: bool, origins: Origins | None = None) -> LabelQuality:
    """Confident learning over held-out predictions, by split and language.

    Thresholds are of one language: in another one the same model is less sure of everything.

    Args:
        runs: of one variant or several on the same texts, whose probabilities are averaged.
        whole: they hold out-of-fold predictions, so that every text was predicted by a model that never saw it;
            otherwise texts that stand in training too are left out.
        origins: of the rows of a study's folds.

    Raises:
        UserError: scores instead of labels, no held-out predictions, or runs that predicted other texts.
    """
    first = runs[0]
    if first.kind.name == "score":
        raise UserError(
            f"{first.path} answers scores", expected="labels: confident learning asks which class a text counts as"
        )
    inspected: list[Inspected] = []
    suspects: list[Suspect] = []
    notes = list(_notes(runs, whole))
    for split, language in sorted(first.prediction_paths):
        if split not in ("validation", "test"):
            continue  # what a model was trained on it confirms
        table, probabilities = _averaged(runs, split, language)
        seen_B = np.zeros(len(table), bool) if whole else first.leaked_among(table)
        if seen_B is None:
            notes.append(
                f"{split}, {named(language)}: some texts stand in training too, and which can't be told, since rows of "
                "several files share numbers and this run's profile names none; they are kept. A new run names them"
            )
        kept = np.arange(len(table)) if seen_B is None else np.flatnonzero(~seen_B)
        if left_out := len(table) - len(kept):
            notes.append(f"{split}, {named(language)}: {count(left_out)} texts left out that stand in training too")
        if len(kept) == 0:
            continue
        for label, given, chances, names in _questions(table, probabilities, kept, first.manifest.labels):
            noise = confident_learning(given[0], chances)
            found = _suspects(first, table, given, chances, noise.errors, noise.likely_N, names, origins)
            suspects += found
            agreement = float((chances.argmax(axis=1) == given[0]).mean())
            inspected.append(Inspected(split, language, label, len(chances), len(found), agreement, noise.rate))
    if not inspected:
        raise UserError(
            f"{first.path} holds no predictions of texts that were held out of training",
            expected="validation or test predictions of texts that do not stand in training too: a model confirms "
            "the labels that it learned",
            remedy="Run a study with folds: it predicts every text by a model that never saw it",
        )
    poor = sorted({named(each.language) for each in inspected if each.agreement < LEAST_AGREEMENT})
    if poor:
        notes.append(
            f"the model answers fewer than {percent(LEAST_AGREEMENT, 0)} of the texts as they are labelled in "
            f"{', '.join(poor)}: most of what it suspects there will be its own errors"
        )
    few = sorted({named(each.language) for each in inspected if each.texts < FEW})
    if few:
        notes.append(f"fewer than {FEW} texts in {', '.join(few)}: the thresholds there rest on a handful of texts")
    return LabelQuality(inspected, sorted(suspects, key=lambda each: each.margin), notes)


Given = tuple[NDArray[np.int64], NDArray[np.int64]]
"""(class ids, places in the table) of N texts."""


def _questions(
    table: Predictions, probabilities: NDArray[np.float64], kept: NDArray[np.int64], labels: list[str]
) -> Iterator[tuple[str | None, Given, NDArray[np.float64], list[str]]]:
    """One question for each text's class; of several labels one for each: does it apply, where it is annotated?"""
    given = table.label_B[kept]
    if given.ndim == 1:
        yield None, (given, kept), probabilities[kept], labels
        return
    for place, name in enumerate(labels):
        annotated = kept[given[:, place] >= 0]
        if len(annotated):
            applies = probabilities[annotated, place]
            classes = (table.label_B[annotated, place], annotated)
            yield name, classes, np.stack([1 - applies, applies], axis=1), [f"not {name}", name]


def _suspects(
    run: RunData,
    table: Predictions,
    given: Given,
    chances: NDArray[np.float64],
    errors: NDArray[np.int64],
    likely: NDArray[np.int64],
    names: list[str],
    origins: Origins | None,
) -> list[Suspect]:
    labels, places = given
    margins = normalised_margins(labels, chances)
    texts = table.texts(places[errors]) if len(errors) else []
    files = {source.sha256: source.path for source in run.manifest.data}
    found = []
    for place, (text, pair) in zip(errors.tolist(), texts, strict=True):
        in_table = int(places[place])
        row = int(table.row_B[in_table])
        source = table.sources[int(table.source_B[in_table])]
        file, line = (files.get(source, source[:16]), row) if origins is None else origins[row]
        mine, theirs = int(labels[place]), int(likely[place])
        found.append(
            Suspect(
                table.split, table.language, file, line, names[mine], names[theirs],
                float(chances[place, mine]), float(chances[place, theirs]), float(margins[place]), text, pair,
            )
        )  # fmt: skip
    return found


def _averaged(runs: Sequence[RunData], split: str, language: str) -> tuple[Predictions, NDArray[np.float64]]:
    """The first run's table, and the mean of all runs' probabilities in its order."""
    tables = []
    for run in runs:
        run.outcomes(split, language)  # raises where they are missing, or not what the run wrote
        table = run.predictions(split, language)
        assert table is not None
        tables.append(table)
    base = tables[0]
    total = np.zeros_like(base.probabilities_BC)
    for run, table in zip(runs, tables, strict=True):
        same = len(table) == len(base) and all(
            np.array_equal(mine[base.order_B], theirs[table.order_B])
            for mine, theirs in ((base.row_B, table.row_B), (base.label_B, table.label_B))
        )
        if not same:
            raise UserError(f"{run.path} predicted other texts of {split}/{language} than {runs[0].path}")
        total[base.order_B] += table.probabilities_BC[table.order_B]
    return base, total / len(tables)


def _notes(runs: Sequence[RunData], whole: bool) -> Iterator[str]:
    if len(runs) > 1:
        yield f"probabilities are the mean of {count(len(runs))} runs: {', '.join(run.path.name for run in runs)}"
    if whole:
        yield "every text was predicted by a model that was not trained on it"
    else:
        yield (
            "held-out texts only: of the training texts this run can say nothing, since a model confirms the labels "
            "that it learned. A study with folds predicts every text by a model that never saw it"
        )
    for run in runs:
        status = "missing" if run.verdict is None else run.verdict.status
        if status != "sound":
            yield (
                f"{run.path.name}'s verdict is {status}: what it says of labels means "
                f"{'less than it could' if run.is_sound else 'little'}"
            )


# ---- what is shown ------------------------------------------------------------------------------------


def write_table(found: LabelQuality, path: Path) -> None:
    """All suspects as CSV, the likeliest errors first; raises UserError where it can't be written."""
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    columns = ["language", "split", "file", "row", "label", "likely", "p_label", "p_likely", "text", "text_pair"]
    table.writerow(columns)
    for each in found.suspects:
        chances = [f"{each.label_probability:.6f}", f"{each.likely_probability:.6f}"]
        table.writerow(
            [each.language, each.split, each.file, each.row, each.label, each.likely, *chances,
             each.text or "", each.text_pair or ""]
        )  # fmt: skip
    write_output(path, text.getvalue())


def render(found: LabelQuality, title: str) -> str:
    """The page as HTML; whatever the texts hold is shown as text."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"named": named, "number": count, "percent": percent}
    source = resources.files("glotune.evidence").joinpath("label_quality.html.j2").read_text(encoding="utf-8")
    style = resources.files("glotune.data").joinpath("page_style.css").read_text(encoding="utf-8")
    by_language: dict[str, list[Suspect]] = {}
    for each in found.suspects:
        by_language.setdefault(each.language, []).append(each)
    return environment.from_string(source).render(
        found=found,
        by_language=by_language,
        title=title,
        style=Markup(style),
    )


def write_page(found: LabelQuality, title: str, path: Path) -> None:
    """Writes the page, whole or not at all; raises UserError where it can't be written."""
    write_output(path, render(found, title))
