"""Reads everything that a recipe's ``data`` section names, checks it, and fixes splits and labels. Writes nothing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import pyarrow as pa

from glotune.data.back_translations import KEY as BACK_TRANSLATIONS
from glotune.data.back_translations import paraphrases_of
from glotune.data.checks import check_duplicates, refuse_unfit_languages
from glotune.data.csv_files import about_swallowed
from glotune.data.dictionaries import read_dictionary
from glotune.data.label_names import quoted
from glotune.data.pools import Pools, choose_splits, evaluation_split
from glotune.data.rows import CELL
from glotune.data.selection import Selected, assumed_language, select, unnamed_splits
from glotune.data.source_table import SourceTable, load_source
from glotune.data.sources import Source, find_sources
from glotune.data.spelling import look_alikes, name_of
from glotune.data.streams import refuse_stream_names
from glotune.data.targets import meaning_of, refuse_unlearnable
from glotune.data.texts import SPLITS, LabelledTexts, SkippedRow, TextData, content_hash, reworded_hash
from glotune.data.translations import with_translations
from glotune.errors import UserError
from glotune.recipe.data_keys import Sources
from glotune.recipe.kinds import TaskName
from glotune.recipe.schema import Data

OnWarning = Callable[[str], None]


def read_texts(
    data: Data, seed: int, task: TaskName = "single_label", *, on_warning: OnWarning | None = None
) -> TextData:
    """Reads the texts of a run; the same data and seed give the same rows in the same order.

    Where ``data.validation`` or ``data.test`` is null, the rows of that split in the training files count (of all
    their languages); source languages that have none get a made split (``data.made_splits``). Rows of
    other languages in the training files are not trained on, save ``data.few_shot``.

    Args:
        data: the recipe's section.
        seed: of the recipe; shares and few-shot rows are drawn from it, made splits from ``data.made_splits.seed``.
        task: of the recipe: what a label is.
        on_warning: called with each warning as it arises; all are in the result too.

    Raises:
        UserError: for what can't be read or understood, naming file, row or recipe key.
    """
    reader = _Reader(data, on_warning, task)
    found = {split: reader.find(named, f"data.{split}") for split, named in _named(data).items()}
    selected = {split: reader.select_all(sources) for split, sources in found.items()}
    for split in selected:
        reader.warn_of_unused(selected[split])
    pools = choose_splits(selected, reader.data, seed, reader.warn, task)
    if data.hide_test:  # cut away after the splits are made: training and validation are what they are with it
        pools = replace(pools, tables={name: table for name, table in pools.tables.items() if name != "test"})
    pools = reader.translated(pools)
    files = reader.back_translations()
    return reader.reworded(reader.finish(pools), files)


def read_evaluation_texts(
    named: Sources,
    data: Data,
    labels: list[str],
    task: TaskName = "single_label",
    *,
    split: str = "test",
    on_warning: OnWarning | None = None,
) -> TextData:
    """Reads further labelled texts for a model that is trained: one split, labels as the run fixed them.

    Args:
        named: files, folders, Hub data sets, or {language: any of these}.
        data: the run's section: columns, label mapping and split names hold here too.
        labels: the label names of the run, in its order.
        task: of the run.
        split: which split to read where files name several.
        on_warning: called with each warning as it arises.

    Raises:
        UserError: as `read_texts`.
    """
    reader = _Reader(data, on_warning, task)
    selected = reader.select_all(reader.find(named, f"data.{split}"))
    reader.warn_of_unused(selected)
    known = meaning_of(task, reader.data, (), names=labels)
    return reader.finish(evaluation_split(selected, split, reader.data, known))


def read_again(data: Data, seed: int, labels: list[str], task: TaskName = "single_label") -> TextData:
    """The texts of a run that exists, under the label names that it was trained with.

    They are the names of today's reading save for a run of an earlier version, which took over any spelling.

    Raises:
        UserError: as `read_texts`.
    """
    texts = read_texts(data, seed, task)
    if texts.labels == labels or set(map(name_of, texts.labels)) != set(map(name_of, labels)):
        return texts
    return read_texts(data.model_copy(update={"labels": labels}), seed, task)


def _named(data: Data) -> dict[str, Sources]:
    return {split: named for split in SPLITS if (named := getattr(data, split)) is not None}


class _Reader:
    """Loads each file once, and gathers warnings, skipped rows and sources on the way."""

    def __init__(self, data: Data, on_warning: OnWarning | None, task: TaskName) -> None:
        self.data, self.task = awaiting_lists(data) if task == "multi_label" else data, task
        self.loaded: dict[str, SourceTable] = {}
        self.warnings: list[str] = []
        self._on_warning = on_warning

    def warn(self, message: str) -> None:
        if message not in self.warnings:
            self.warnings.append(message)
            if self._on_warning:
                self._on_warning(message)

    def find(self, named: Sources, key: str) -> list[Source]:
        return find_sources(named, key, self.data.split_names, self.warn)

    def select_all(self, sources: list[Source]) -> list[Selected]:
        return [self._select(source) for source in sources]

    def _select(self, source: Source) -> Selected:
        chosen = select(source, self._load(source), self._index(source), self.data)
        if message := assumed_language(source, self._load(source), self.data):
            self.warn(message)
        return chosen

    def translated(self, pools: Pools) -> Pools:
        """The pools with the translations of ``data.translations`` among the training rows."""
        found: dict[str, list[tuple[str, pa.Table]]] = {}
        for language, named in self.data.translations.items():
            key = f"data.translations.{language}"
            refuse_stream_names(named, key, "translations that are joined by their ids")
            for source in self.find({language: named}, "data.translations"):
                chosen = select(source, self._load(source, need_label=False), self._index(source), self.data)
                rows = chosen.as_split(self.data.split_names.train)
                found.setdefault(language, []).append((chosen.name, rows))
        if not found:
            return pools
        joined = with_translations(pools.tables["train"], pools.source_languages, found)
        for message in joined.warnings:
            self.warn(message)
        return replace(pools, tables={**pools.tables, "train": joined.train})

    def back_translations(self) -> list[tuple[str, pa.Table]]:
        """(File, rows) of ``data.augment.back_translations``."""
        named = None if self.data.augment is None else self.data.augment.back_translations
        if named is None:
            return []
        refuse_stream_names(named, BACK_TRANSLATIONS, "back-translations that are joined by their ids")
        found = []
        for source in self.find(named, BACK_TRANSLATIONS):
            chosen = select(source, self._load(source, need_label=False), self._index(source), self.data)
            found.append((chosen.name, chosen.as_split(self.data.split_names.train)))
        return found

    def reworded(self, texts: TextData, files: list[tuple[str, pa.Table]]) -> TextData:
        """The same texts with what ``data.augment`` makes of the training texts beside them."""
        spec = None if self.data.augment is None else self.data.augment.code_switch
        paraphrases, dictionary, sources = None, None, texts.sources
        if files:
            held_out = np.concatenate([split.keys for name, split in texts.splits.items() if name != "train"])
            paraphrases = paraphrases_of(texts.splits["train"].table, held_out, files, self.warn)
        if spec is not None:
            dictionary, more = read_dictionary(texts, spec, self.data, self.warn)
            sources = [*sources, *more]
        data_hash = reworded_hash(texts.data_hash, dictionary, paraphrases)
        return replace(texts, paraphrases=paraphrases, dictionary=dictionary, sources=sources, data_hash=data_hash)

    def _load(self, source: Source, *, need_label: bool = True) -> SourceTable:
        if source.name not in self.loaded:
            self.loaded[source.name] = load_source(source, self.data, need_label=need_label)
            loaded = self.loaded[source.name]
            for message in (*_about_skipped(loaded), *about_swallowed(loaded.swallowing)):
                self.warn(message)
        return self.loaded[source.name]

    def _index(self, source: Source) -> int:
        return list(self.loaded).index(source.name)

    def warn_of_unused(self, selected: list[Selected]) -> None:
        """Rows of a file that no key of this split means, by language or by split name."""
        read = defaultdict(set)
        for each in selected:
            read[each.name].add(each.source.language)
        for each in selected:
            left = sorted(each.other_languages - read[each.name])
            if left and None not in read[each.name]:
                self.warn(f"rows of {each.name} in {', '.join(left)} not used: {each.source.key} reads its own only")
            if message := unnamed_splits(each, self.data.split_names):
                self.warn(message)

    def finish(self, pools: Pools) -> TextData:
        """The last checks, and the hash."""
        splits = {name: LabelledTexts(table.unify_dictionaries(), name) for name, table in pools.tables.items()}
        languages = sorted({name for split in splits.values() for name in split.language_names})
        refuse_unfit_languages(languages)
        for group in look_alikes(languages):
            self.warn(f"the languages {quoted(group)} look the same and are told apart: write them one way")
        for split in splits.values():
            if (message := _about_ties(split, pools.labels)) is not None:
                self.warn(message)
        if pools.targets is not None or self.data.columns.votes is not None:
            _refuse_blank_languages(self.loaded.values(), languages)
        if "train" in splits:
            if pools.targets is None:
                _refuse_missing(splits["train"], pools.labels)
            else:
                refuse_unlearnable(self.task, pools.labels, pools.targets, splits["train"].labels)
            for message in check_duplicates(splits):
                self.warn(message)
        return TextData(
            splits=splits,
            labels=pools.labels,
            sources=[loaded.record for loaded in self.loaded.values()],
            source_languages=pools.source_languages,
            data_hash=content_hash(splits, pools.labels, pools.targets),
            warnings=self.warnings,
            skipped=[row for loaded in self.loaded.values() for row in loaded.skipped],
            swallowing=[row for loaded in self.loaded.values() for row in loaded.swallowing],
            named_validation=pools.named_validation,
            targets=pools.targets,
        )


def awaiting_lists(data: Data) -> Data:
    """The same where one column holds the labels of a text as lists, if no delimiter is named."""
    columns = data.columns
    if columns.labels is not None or columns.delimiter is not None:
        return data
    return data.model_copy(update={"columns": columns.model_copy(update={"delimiter": CELL})})


def _refuse_blank_languages(loaded: Iterable[SourceTable], languages: list[str]) -> None:
    """A language of which no row is annotated would vanish without a word."""
    for each in loaded:
        blank = {row.language for row in each.skipped if row.reason == "no label" and row.language} - set(languages)
        if blank:
            raise UserError(
                f"no row of {each.name} in '{min(blank)}' has anything in the columns of its labels",
                where=each.source.key,
                expected="annotated rows in each language",
                remedy="Leave the language out, or check data.columns",
            )


def _refuse_missing(train: LabelledTexts, names: list[str]) -> None:
    counts = np.bincount(train.labels, minlength=len(names)) if train.votes is None else train.votes.sum(axis=0)
    missing = [name for name, count in zip(names, counts, strict=True) if not count]
    if missing:
        more = f" (and {len(missing) - 10} more labels)" if len(missing) > 10 else ""
        raise UserError(
            f"no training row has {'the label' if train.votes is None else 'votes for'} "
            f"{' or '.join(repr(name) for name in missing[:10])}{more}",
            where="data.train",
            expected="at least one training row per label",
            remedy=f"Check {'data.labels' if train.votes is None else 'data.columns.votes'} against the file, or raise "
            "data.fraction or data.train_rows if they are set",
        )


def _about_ties(split: LabelledTexts, names: list[str]) -> str | None:
    """How many texts have several classes with most votes; None where none has."""
    if split.votes is None:
        return None
    tied_NC = split.votes == split.votes.max(axis=1, keepdims=True)
    count = int((tied_NC.sum(axis=1) > 1).sum())
    if not count:
        return None
    return (
        f"{count:,} of {len(split):,} {split.split} texts have as many votes for another class as for their label: of "
        f"these it is the one that data.columns.votes names first ({', '.join(names[:5])}{', …' * (len(names) > 5)})"
    )


def _about_skipped(loaded: SourceTable) -> list[str]:
    by_reason: dict[str, list[SkippedRow]] = defaultdict(list)
    for row in loaded.skipped:
        by_reason[row.reason].append(row)
    found = Counter(row.reason for row in loaded.skipped)
    messages = []
    for reason, count in found.items():
        numbers = ", ".join(str(row.row) for row in by_reason[reason][:10]) + (", …" if count > 10 else "")
        plural = "s" * (count != 1)
        messages.append(f"{count} row{plural} of {loaded.name} skipped: {reason} (row{plural} {numbers})")
    return messages
