"""From selected rows to the three splits: which rows train, which validate, which test.

Rows are chosen at random by seed and in strata, on integer arrays of N rows; the same seed gives the same rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from glotune.data.coded_columns import codes, distinct, is_in, value_counts
from glotune.data.label_names import odd_labels
from glotune.data.selection import Selected
from glotune.data.spilling import keep
from glotune.data.targets import Meaning, Targets, meaning_of, strata_of
from glotune.data.texts import belonging, first_rows
from glotune.errors import UserError
from glotune.languages import nearest_language
from glotune.recipe.kinds import TaskName
from glotune.recipe.schema import Data

Warn = Callable[[str], None]
_VALIDATION, _TEST, _SHARE, _FEW_SHOT = 1, 2, 3, 4
"""Streams of chance, one per purpose: a change of one leaves the others' draws as they were."""


@dataclass(frozen=True)
class Pools:
    """The rows of each split, labels as class ids or rows of `targets`."""

    tables: dict[str, pa.Table]
    labels: list[str]
    source_languages: list[str]
    named_validation: list[str] | None = None
    """Languages of the rows that ``data.validation`` names; None where it names none."""
    targets: Targets | None = None
    """See `TextData.targets`."""


def choose_splits(
    selected: dict[str, list[Selected]], data: Data, seed: int, warn: Warn, task: TaskName = "single_label"
) -> Pools:
    """Distributes the rows of all sources.

    Args:
        selected: rows per recipe key (train, and validation and test where they are named).
        data: the recipe's section.
        seed: of the recipe; shares and few-shot rows are drawn from it, made splits from one of their own.
        warn: called with a line for what is odd but no error.

    Raises:
        UserError: a split or language without rows, or few-shot rows that are not there.
    """
    tables = {split: held_out(_given(rows, split, data), data) for split, rows in selected.items() if split != "train"}
    train = _given(selected["train"], "train", data)
    languages = _source_languages(train, data)
    named_validation = distinct(tables["validation"]["language"]) if "validation" in tables else None
    for split in ("validation", "test"):
        own = pa.concat_tables([rows.of_split(getattr(data.split_names, split)) for rows in selected["train"]])
        if own.num_rows:
            tables[split] = _with_own(split, tables.get(split), held_out(own, data), languages, warn)
    everything = train
    train = keep(train, is_in(train["language"], languages))
    paths = {int(rows.table["source"][0].as_py()): rows.name for each in selected.values() for rows in each}
    labels = meaning_of(task, data, distinct(train["label"]))
    if data.labels is None and data.columns.votes is None and task == "single_label":
        for odd in odd_labels(value_counts(train["label"])):
            warn(odd.message)
    train = labels.apply(train, paths)
    few_shot = _few_shot(everything, languages, labels, paths, data, seed)
    tables = {split: labels.apply(table, paths) for split, table in tables.items()}
    whole = train
    for split, stream in (("validation", _VALIDATION), ("test", _TEST)):
        rng = np.random.default_rng([data.made_splits.seed, stream])
        train = _make(split, train, whole, few_shot, tables, languages, data, rng, warn, labels.targets)
    if "validation" not in tables:
        cut_some = data.made_splits.validation > 0
        apart = "" if data.columns.id is None else " of different ids"
        raise UserError(
            "there are no validation rows to choose the best checkpoint by"
            + (f", and no label has two different texts{apart} of which one could be kept for it" if cut_some else ""),
            where="data.validation",
            remedy="Name a file there"
            + (", or check data.columns.label" if cut_some else ", or set data.made_splits.validation above 0"),
        )
    train = _share(train, data, np.random.default_rng([seed, _SHARE]), labels.targets)
    tables["train"] = pa.concat_tables([train, *few_shot])
    for table in tables.values():
        refuse_unfit_weights(table, paths)
    order = [split for split in ("train", "validation", "test") if split in tables]
    return Pools({split: tables[split] for split in order}, labels.names, languages, named_validation, labels.targets)


def evaluation_split(selected: list[Selected], split: str, data: Data, labels: Meaning) -> Pools:
    """One split for a trained model: the rows of all sources, none set apart."""
    table = held_out(_given(selected, split, data), data)
    paths = {int(rows.table["source"][0].as_py()): rows.name for rows in selected}
    refuse_unfit_weights(table, paths)
    applied = labels.apply(table, paths)
    return Pools({split: applied}, labels.names, data.source_languages or [], targets=labels.targets)


def _given(selected: list[Selected], split: str, data: Data) -> pa.Table:
    """The rows of one recipe key; every key must bring some, though of several training files some may not."""
    names = getattr(data.split_names, split)
    parts = [rows.as_split(names) for rows in selected]
    keys = [rows.source.key for rows in selected]
    for key in dict.fromkeys(keys if split != "train" else []):
        if not any(part.num_rows for part, its in zip(parts, keys, strict=True) if its == key):
            raise _no_rows(next(rows for rows in selected if rows.source.key == key), key, split, data)
    if not any(part.num_rows for part in parts):
        raise _no_rows(selected[0], f"data.{split}", split, data)
    return pa.concat_tables(parts)


def held_out(table: pa.Table, data: Data) -> pa.Table:
    """The rows without their weights, unless metrics ask for them."""
    has_more = "weight" in table.column_names and not data.weighted_metrics
    return table.drop_columns(["weight"]) if has_more else table


def refuse_unfit_weights(table: pa.Table, paths: dict[int, str]) -> None:
    """Every row has a weight, where they have any, and it is finite and above 0."""
    if "weight" not in table.column_names:
        return
    weights = table["weight"]
    fit = pc.fill_null(pc.and_(pc.is_finite(weights), pc.greater(weights, 0)), False)
    if pc.all(fit).as_py():
        return
    place = pc.index(fit, False).as_py()
    weight = weights[place].as_py()
    raise UserError(
        "no weight" if weight is None else f"the weight {weight:g}",
        where=f"{paths[table['source'][place].as_py()]}, row {table['row'][place].as_py()}",
        expected="a finite number above 0 in each row that is used (data.columns.weight)",
        remedy="Leave a row out that shall not count",
    )


def _with_own(split: str, named: pa.Table | None, own: pa.Table, languages: list[str], warn: Warn) -> pa.Table:
    """The rows of a split: those that its key names, and of the training files' own what it leaves open.

    Without a key these are all; else those in source languages that the key names no rows in.
    """
    if named is None:
        return own
    lacking = [language for language in languages if language not in distinct(named["language"])]
    added = keep(own, is_in(own["language"], lacking))
    if added.num_rows:
        warn(
            f"data.{split} names no rows in {', '.join(distinct(added['language']))}: "
            f"the {added.num_rows} {split} rows of data.train in it are taken"
        )
    left = pc.invert(pc.or_(is_in(own["language"], lacking), pc.is_in(own["source"], pc.unique(named["source"]))))
    if unused := pc.sum(left).as_py():
        warn(f"{unused} {split} rows of data.train not used: data.{split} names others")
    return pa.concat_tables([named, added])


def _no_rows(rows: Selected, key: str, split: str, data: Data) -> UserError:
    names = getattr(data.split_names, split)
    if rows.source.split is not None:
        return UserError(
            f"no file of {rows.source.path.parent} says by its name that it belongs to the split '{split}'",
            where=key,
            expected=f"{' or '.join(names) or '(none)'} in a file's name",
            remedy="Name the files themselves to read them whatever their names say",
        )
    place = "the data set" if rows.source.kind == "hub" else f"the column '{data.columns.split}'"
    return UserError(
        f"no row of {rows.name} belongs to the split '{split}'; its splits are {rows.says()}",
        where=key,
        expected=f"rows named {' or '.join(names) or '(none)'} in {place}",
        remedy=f"Say which count, e.g. data.split_names.{split}={rows.says().split(' ')[0]}",
    )


def _source_languages(train: pa.Table, data: Data) -> list[str]:
    there = distinct(train["language"])
    if data.source_languages is None:
        return there
    for language in data.source_languages:
        if language not in there:
            guess = nearest_language(language, there)
            raise UserError(
                f"no training row is in '{language}'; the training rows are in {', '.join(there)}",
                where="data.source_languages",
                expected="languages that data.train has rows of",
                remedy=f"Did you mean '{guess}'?"
                if guess
                else f"Set data.source_languages=[{', '.join(there)}], or add a file of that language to data.train",
            )
    return list(dict.fromkeys(data.source_languages))


def _few_shot(
    train: pa.Table, languages: list[str], labels: Meaning, paths: dict[int, str], data: Data, seed: int
) -> list[pa.Table]:
    """The few-shot rows, one table per language, labels as class ids."""
    parts = []
    for language, wanted in data.few_shot.items():
        if language in languages:
            raise UserError(
                f"'{language}' is a source language already",
                where=f"data.few_shot.{language}",
                expected="a target language",
                remedy="Leave it out here, or name the source languages in data.source_languages",
            )
        rows = keep(train, is_in(train["language"], [language]))
        if rows.num_rows < wanted:
            raise UserError(
                f"{wanted} rows are wanted, and data.train has {rows.num_rows} in '{language}'",
                where=f"data.few_shot.{language}",
                expected=f"at most {rows.num_rows}" if rows.num_rows else "a training file of that language",
            )
        rows = labels.apply(rows, paths)
        rng = np.random.default_rng([seed, _FEW_SHOT, *language.encode()])
        parts.append(keep(rows, sample(strata(rows, labels.targets), wanted, rng)))
    return parts


def _make(
    split: str,
    train: pa.Table,
    whole: pa.Table,
    few_shot: list[pa.Table],
    tables: dict[str, pa.Table],
    languages: list[str],
    data: Data,
    rng: np.random.Generator,
    warn: Warn,
    targets: Targets | None,
) -> pa.Table:
    """Cuts `split` off the training rows of those source languages that have none; returns what is left.

    The share counts from the `whole`, before another split was cut off. Where the recipe names rows of the split in
    one of the source languages, none are cut. Rows that belong together stay together, and what belongs to a row that
    is trained on in any case, by its id, is not cut.
    """
    share: float = getattr(data.made_splits, split)
    has = set(distinct(tables[split]["language"])) if split in tables else set()
    named = getattr(data, split) is not None
    lacking = [language for language in languages if language not in has]
    if share == 0 or not lacking or (named and len(lacking) < len(languages)):
        return train
    eligible, groups = np.asarray(is_in(train["language"], lacking)), belonging(train)
    tied = _tied(train, groups, ~eligible, few_shot)
    if eligible.any() and not (eligible & ~tied).any():
        warn(f"no {split} rows are cut in {', '.join(lacking)}: each has the id of a row that is trained on")
    eligible &= ~tied
    cut = np.zeros(train.num_rows, bool)
    share *= int(np.count_nonzero(is_in(whole["language"], lacking))) / max(int(np.count_nonzero(eligible)), 1)
    cut[eligible] = cut_off(strata(train, targets)[eligible], groups[eligible], min(share, 1.0), rng)
    made = held_out(keep(train, cut), data)
    if not made.num_rows:
        return train
    tables[split] = pa.concat_tables([made, tables[split]]) if split in tables else made
    if named or has:
        warn(
            f"data.{split} has no rows in {', '.join(lacking)}: {made.num_rows} training rows are kept for it "
            f"(data.made_splits.{split}; 0 keeps none)"
        )
    return keep(train, ~cut)


def _tied(train: pa.Table, groups: np.ndarray, stays: np.ndarray, few_shot: list[pa.Table]) -> np.ndarray:
    """[N] the rows that belong together with one whose id stands among the rows that stay or the few-shot rows too."""
    if "id" not in train.column_names:
        return np.zeros(train.num_rows, bool)
    kept = [train.select(["id"]).filter(pa.array(stays)), *(rows.select(["id"]) for rows in few_shot)]
    ids = pc.unique(pa.concat_tables(kept)["id"]).drop_null()
    return np.isin(groups, groups[np.asarray(pc.is_in(train["id"], ids))])


def _share(train: pa.Table, data: Data, rng: np.random.Generator, targets: Targets | None) -> pa.Table:
    wanted = min(round(data.fraction * train.num_rows), data.train_rows or train.num_rows)
    if wanted >= train.num_rows:
        return train
    return keep(train, sample(strata(train, targets), max(wanted, 1), rng))


def strata(rows: pa.Table, targets: Targets | None = None) -> np.ndarray:
    """A number per row for its label and language, [N]; numbered by name, so independent of the rows' order.

    Args:
        targets: what the labels stand for, see `strata_of`.
    """
    names = distinct(rows["language"])
    return strata_of(targets, rows["label"].to_numpy()) * len(names) + codes(rows["language"], names)


def allocate(counts: np.ndarray, total: int) -> np.ndarray:
    """Shares `total` out in proportion to `counts` by largest remainder (Hamilton's method).

    Every non-empty stratum gets at least one where `total` suffices, and none gets more than it has.

    Args:
        counts: rows per stratum, [S].
        total: how many to share out, at most ``counts.sum()``.
    """
    if total <= 0 or counts.sum() == 0:
        return np.zeros_like(counts)
    exact = counts * (total / counts.sum())
    shares = np.minimum(np.floor(exact).astype(np.int64), counts)
    if total >= np.count_nonzero(counts):
        shares = np.maximum(shares, (counts > 0).astype(np.int64))
    order = np.argsort(-(exact - np.floor(exact)), kind="stable")
    while shares.sum() < total:
        open_strata = [index for index in order if shares[index] < counts[index]]
        for index in open_strata[: total - int(shares.sum())]:
            shares[index] += 1
    while shares.sum() > total:  # the guaranteed ones are paid for by the strata furthest above their due
        surplus = np.where(shares > 1, shares - exact, -np.inf)
        shares[int(np.argmax(surplus))] -= 1
    return shares


def sample(strata: np.ndarray, total: int, rng: np.random.Generator) -> np.ndarray:
    """A stratified sample without replacement: mask [N] with `total` rows chosen.

    Args:
        strata: stratum of each row, [N] integers.
        total: rows to choose, at most N.
        rng: the only source of chance.
    """
    chosen = np.zeros(len(strata), bool)
    names = np.unique(strata)
    sizes = np.array([np.count_nonzero(strata == name) for name in names], np.int64)
    for name, share in zip(names, allocate(sizes, total), strict=True):
        chosen[rng.permutation(np.flatnonzero(strata == name))[:share]] = True
    return chosen


def cut_off(strata: np.ndarray, keys: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Cuts about `share` of the rows off, all rows with one key staying together: mask [N] of those cut off.

    Each stratum gives its share to within one group of equal keys, at least one row where it has two different
    texts, and keeps at least one. A group counts to the stratum of its first row.

    Args:
        strata: stratum (label and language) of each row, [N].
        keys: equal for rows that belong together, [N] (`belonging`).
        share: 0 to 1.
        rng: the only source of chance.
    """
    first = first_rows(keys)  # a group goes by its first row, which is independent of the hash's order
    sizes, leads = np.bincount(first, minlength=len(first)), first == np.arange(len(first))
    cut = np.zeros(len(first), bool)
    for name in np.unique(strata):
        groups = np.flatnonzero((strata == name) & leads)
        if len(groups) >= 2 and share > 0:
            cut[_fill(rng.permutation(groups), sizes, share)] = True
    return cut[first]


def _fill(groups: np.ndarray, sizes: np.ndarray, share: float) -> np.ndarray:
    """The first groups (never all) whose sizes come nearest to `share` of the rows from below, at least one."""
    wanted = max(1, round(share * int(sizes[groups].sum())))
    chosen: list[int] = []
    filled = 0
    for group in groups:
        if filled >= wanted or len(chosen) == len(groups) - 1:
            break
        if not chosen or filled + sizes[group] <= wanted:
            chosen.append(int(group))
            filled += int(sizes[group])
    return np.asarray(chosen, np.int64)
