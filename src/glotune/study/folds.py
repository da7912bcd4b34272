"""k-fold cross-validation by data keys alone: one file with the texts and their folds, read k ways.

The folds are stratified by label and language. Exact duplicates (after normalisation) share a fold, as rows of one id
do (``data.columns.id``), so that no text is tested by a model that trained on it. A run of fold k names fold k as its
test split and the others as its training split; training itself knows nothing of folds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from glotune.data.pools import strata
from glotune.data.reading import read_texts
from glotune.data.texts import LabelledTexts, TextData, belonging
from glotune.errors import UserError
from glotune.recipe import Recipe, load_recipe
from glotune.whole_files import written_aside

_OF_NO_EFFECT_ON_FOLDS = (
    "fraction",
    "train_rows",
    "max_length",
    "truncation",
    "windows",
    "sampling_alpha",
    "made_splits",
)
"""Keys of ``data`` that a run applies to its own training folds."""

_FIELDS = ("text", "text_pair", "id", "language", "split", "weight", "file", "row")
_VOTES = "votes {}"
"""Column of the votes for a class."""
MADE_VALIDATION = 0.1
"""Share of its training folds by which a run chooses its checkpoint, where the recipe cuts none."""


@dataclass(frozen=True)
class FoldFile:
    """The texts that are cross-validated, on disk.

    Columns: text, text_pair (with pairs), id (where named), weight (null where there is none), label (its name; of
    several labels, scores or votes a column each, by their names), language, split (``fold-1`` … ``fold-k``, or
    ``test`` for languages that are not trained on, or ``validation``), and at the end ``file`` and ``row``: where each
    text came from. Where a label or score has such a name, it keeps it, and the other column is named ``row_``.
    """

    path: Path
    folds: int
    labels: list[str]
    has_pairs: bool
    has_targets: bool
    has_validation: bool
    is_one_class: bool = True
    """Whether a text has one label; otherwise each of `labels` is a column."""
    has_votes: bool = False
    """Whether each of `labels` is a column of votes."""

    def recipe(self, recipe: Recipe, fold: int) -> Recipe:
        """The recipe of one fold, counted from 1: its texts are tested, all others trained on."""
        others = [f"fold-{other}" for other in range(1, self.folds + 1) if other != fold]
        named = _columns_beside([] if self.is_one_class else self.labels)
        columns: dict[str, Any] = {field: named[field] for field in ("text", "language", "split")}
        columns |= {"text_pair": named["text_pair"]} if self.has_pairs else {}
        columns |= {"id": named["id"]} if recipe.data.columns.id is not None else {}
        columns |= {"weight": named["weight"]} if recipe.data.columns.weight is not None else {}
        columns |= {} if self.is_one_class else {"labels": self.labels}
        columns |= {"votes": {label: _VOTES.format(label) for label in self.labels}} if self.has_votes else {}
        share = recipe.data.made_splits.validation or MADE_VALIDATION
        data = {
            **recipe.data.model_dump(mode="json"),
            "train": str(self.path),
            "validation": str(self.path) if self.has_validation else None,
            "test": str(self.path),
            "columns": columns,
            "labels": self.labels if self.is_one_class and not self.has_votes else None,
            "made_splits": {"validation": share},
            "split_names": {
                "train": others,
                "validation": ["validation"],
                "test": [f"fold-{fold}", "test"] if self.has_targets else [f"fold-{fold}"],
            },
        }
        return load_recipe(recipe, {"data": data})


def fold_file(recipe: Recipe, folds: int, seed: int, folder: Path) -> FoldFile:
    """Reads a recipe's texts, draws the folds and writes them to `folder`; the same texts and seed give one file.

    What is cross-validated are the training texts and, where the recipe names no ``data.validation``, the validation
    texts too: each run then cuts its own from its training folds. Test texts of source languages are not used: the
    held-out folds take their place. Test texts in other languages are predicted by every run.

    Raises:
        UserError: few-shot rows (they belong to no fold), fewer different texts than folds, or as `read_texts`.
    """
    if recipe.data.few_shot:
        raise UserError(
            "data.few_shot is set",
            where=recipe.name,
            expected="no few-shot texts in a cross-validated study: they belong to no fold",
            remedy="Add the language to data.source_languages, or leave folds out",
        )
    if recipe.data.translations or recipe.data.unlabelled:
        what = "translations" if recipe.data.translations else "unlabelled"
        raise UserError(
            f"data.{what} is set",
            where=recipe.name,
            expected="no translations or unlabelled texts in a cross-validated study: they belong to no fold",
            remedy="Leave folds out",
        )
    made = recipe.data.made_splits.model_copy(update={"test": 0.0})
    whole = recipe.data.model_copy(update={"fraction": 1.0, "train_rows": None, "made_splits": made})
    # Validation rows that are pooled are trained on in other folds: they keep their weights. Test files need none.
    weighs = whole.columns.weight is not None and whole.validation is None and not whole.weighted_metrics
    weighed = whole.model_copy(update={"weighted_metrics": True, "test": None}) if weighs else whole
    pool = read_texts(weighed, seed, recipe.task)
    texts = pool if weighed.test == whole.test else read_texts(whole, seed, recipe.task)
    pooled = ["train"] if recipe.data.validation is not None else ["train", "validation"]
    table = pa.concat_tables([pool.splits[split].table for split in pooled])
    table = table.sort_by([("source", "ascending"), ("row", "ascending")])
    fold_B = draw_folds(strata(table, pool.targets), belonging(table), folds, np.random.default_rng(seed))
    parts = [_part(table, pool, pa.array([f"fold-{fold + 1}" for fold in fold_B]))]
    targets = _targets(texts)
    if targets is not None:
        parts.append(_part(targets, texts, pa.array(["test"] * len(targets))))
    if recipe.data.validation is not None:
        kept = texts.splits["validation"].table
        parts.append(_part(kept, texts, pa.array(["validation"] * len(kept))))
    path = folder / f"{_key(recipe, folds, seed, texts)}.parquet"
    _write(pa.concat_tables(parts), path)
    return FoldFile(
        path,
        folds,
        texts.labels,
        has_pairs=texts.splits["train"].has_pairs,
        has_targets=targets is not None,
        has_validation=recipe.data.validation is not None,
        is_one_class=texts.targets is None,
        has_votes=texts.splits["train"].votes is not None,
    )


def draw_folds(strata_B: np.ndarray, key_B: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """[B] fold of each text, from 0: equal keys in one fold, each stratum spread as evenly as its groups allow.

    Largest groups are dealt first, each to the fold with the fewest texts of its stratum (then of all).

    Args:
        key_B: equal for texts that belong together, see `glotune.data.texts.belonging`.

    Raises:
        UserError: fewer different texts than folds.
    """
    keys, first, group, sizes = np.unique(key_B, return_index=True, return_inverse=True, return_counts=True)
    if len(keys) < folds:
        raise UserError(
            f"{len(keys)} different texts (those of one id count once)",
            expected=f"at least one for each of {folds} folds",
        )
    fold_of_group = np.zeros(len(keys), np.int64)
    total = np.zeros(folds)
    for stratum in np.unique(strata_B):
        members = np.flatnonzero(strata_B[first] == stratum)
        members = members[np.argsort(first[members], kind="stable")]  # independent of the hash's order
        dealt = rng.permutation(members)
        filled = np.zeros(folds)
        for member in dealt[np.argsort(-sizes[dealt], kind="stable")]:
            fold = int(np.lexsort((total, filled))[0])
            fold_of_group[member] = fold
            filled[fold] += sizes[member]
            total[fold] += sizes[member]
    return fold_of_group[group]


def _targets(texts: TextData) -> pa.Table | None:
    """Test rows in languages that are not trained on."""
    if "test" not in texts.splits:
        return None
    table = texts.splits["test"].table
    sources = pa.array(texts.source_languages, pa.string())
    found = table.filter(pc.invert(pc.is_in(table["language"].cast(pa.string()), sources)))
    return found if found.num_rows else None


def _part(table: pa.Table, texts: TextData, split: pa.Array) -> pa.Table:
    paths = pa.array([source.path for source in texts.sources])
    named = _columns_beside([] if texts.targets is None else texts.labels)
    kept = [field for field in ("text", "text_pair", "id") if field in table.column_names]
    columns = {named[field]: table[field].cast(pa.string()) for field in kept}
    if "votes" in table.column_names:
        votes_NC = LabelledTexts(table, "train").votes
        assert votes_NC is not None
        columns |= {
            _VOTES.format(name): pa.array(votes_N) for name, votes_N in zip(texts.labels, votes_NC.T, strict=True)
        }
    elif texts.targets is None:
        columns["label"] = pa.array(texts.labels).take(table["label"].cast(pa.int32()))
    else:
        targets_NL = texts.targets[table["label"].to_numpy()].astype(np.float64)
        columns |= {
            name: pa.array(targets_N, from_pandas=True)
            for name, targets_N in zip(texts.labels, targets_NL.T, strict=True)
        }
    columns[named["language"]] = table["language"].cast(pa.string())
    columns[named["split"]] = split
    weights = table["weight"] if "weight" in table.column_names else pa.nulls(len(table), pa.float32())
    columns[named["weight"]] = weights
    columns[named["file"]] = paths.take(table["source"].cast(pa.int32()))
    columns[named["row"]] = table["row"]
    return pa.table(columns)


def _columns_beside(labels: Sequence[str]) -> dict[str, str]:
    """Field -> its column beside columns of labels: the field's name, with underscores where a label has that name."""
    return {field: next(name for more in count() if (name := field + "_" * more) not in labels) for field in _FIELDS}


def _key(recipe: Recipe, folds: int, seed: int, texts: TextData) -> str:
    data = recipe.data.model_dump(mode="json", exclude=set(_OF_NO_EFFECT_ON_FOLDS))
    about = json.dumps([data, folds, seed, texts.data_hash], sort_keys=True, ensure_ascii=False)
    return f"folds-{hashlib.sha256(about.encode()).hexdigest()[:12]}"


def _write(table: pa.Table, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(path) as file:
        pq.write_table(table, file)
