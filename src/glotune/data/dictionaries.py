"""The dictionaries of code-switching: word lists that the user brings, or what sentence pairs teach (`alignment`).

A file is refused where its words are not those of the training texts: nothing would be replaced, in silence.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from glotune.data.alignment import induced, within_reach
from glotune.data.code_switching import Dictionary, looked_up, words_of
from glotune.data.coded_columns import is_in
from glotune.data.csv_files import CsvForm, records_of
from glotune.data.opening import decoded_lines, open_bytes, reading, sha256_of
from glotune.data.source_table import text_keys
from glotune.data.sources import is_line_file, kind_of
from glotune.data.spelling import is_blank
from glotune.data.spilling import keep
from glotune.data.streams import refuse_stream_names
from glotune.data.texts import TextData
from glotune.data.translations import some, versions
from glotune.errors import UserError
from glotune.languages import find_language, language_scripts
from glotune.languages import languages as known_languages
from glotune.recipe.paths import meant_beside, place_of
from glotune.recipe.schema import CodeSwitch, Data
from glotune.run.record import DataSource
from glotune.words import count, counted, named, percent

KEY = "data.augment.code_switch"
DICTIONARIES = ("lexicons", "pairs")
"""The keys that name files."""
FEWEST = 0.01
"""Share of the words of the texts that a dictionary must know: one of another language knows some names alone."""
_WITHOUT_SPACES = frozenset(["Han", "Hiragana", "Katakana", "Thai", "Lao", "Khmer", "Myanmar", "Tibetan"])
"""Scripts whose words nothing stands between."""

Warn = Callable[[str], None]


def read_dictionary(texts: TextData, spec: CodeSwitch, data: Data, warn: Warn) -> tuple[Dictionary, list[DataSource]]:
    """Reads dictionaries and sentence pairs, and induces what the pairs teach.

    Args:
        texts: the run's, translations among them.
        warn: called with a line for what is left out.

    Returns:
        The dictionary, and the files that it was read from.

    Raises:
        UserError: a file that can't be read, with wrong columns, or whose words are not those of the texts; languages
            whose words stand without spaces.
    """
    languages = [language for language in texts.source_languages if _has_spaces(language)]
    if not languages:
        raise _no_words(texts.source_languages[0], f"code-switching changes words of its texts ({KEY})")
    reader = _Reader(texts, languages, data, warn)
    for kind, language, name in dictionary_files(spec):
        (reader.lexicon if kind == "lexicons" else reader.pairs)(name, language)
    if spec.from_translations:
        reader.translations()
    words = {
        source: {
            language: {word: tuple(dict.fromkeys(each)) for word, each in entries.items()}
            for language, entries in by_language.items()
        }
        for source, by_language in reader.found.items()
    }
    known = {source: reader.share_known({word for each in by_language.values() for word in each}, source)
             for source, by_language in words.items()}  # fmt: skip
    for source, share in known.items():
        if share < spec.share:
            warn(f"{percent(share)} of the words of the training texts in {named(source)} have a translation: all of "
                 f"these are replaced, where {KEY}.share asks for {percent(spec.share)}")  # fmt: skip
    return Dictionary(words, known), reader.sources


def dictionary_files(spec: CodeSwitch) -> list[tuple[str, str, str]]:
    """(Kind of `DICTIONARIES`, language, file) of all that are named; raises UserError for what can't be one."""
    found = []
    for kind in DICTIONARIES:
        for language, files in getattr(spec, kind).items():
            key = f"{KEY}.{kind}.{language}"
            refuse_stream_names(files, key, "a run that reads it again when it goes on")
            for name in [files] if isinstance(files, str) else files:
                _refuse_unfit(name, key)
                found.append((kind, language, name))
    return found


def _refuse_unfit(name: str, key: str) -> None:
    path = place_of(name)
    if not path.is_file():
        raise UserError(f"there is no file {name}", where=key, expected="an existing file", remedy=meant_beside(path))
    if kind_of(path) not in ("csv", "tsv") and not is_line_file(name):
        raise UserError(f"{name} has an unknown format", where=key, expected="a .csv, .tsv or .txt file, or .gz")


@dataclass
class _Reader:
    """Reads file after file; all of them together are the dictionary."""

    texts: TextData
    languages: list[str]
    """The source languages, those that put spaces between words."""
    data: Data
    warn: Warn
    found: dict[str, dict[str, dict[str, list[str]]]] = field(default_factory=dict)
    """Source language -> language -> word -> translations."""
    sources: list[DataSource] = field(default_factory=list)

    @cached_property
    def _in_texts(self) -> dict[str, Counter[str]]:
        """Source language -> its words in the training texts, and how often each stands there."""
        table = self.texts.splits["train"].table
        counts = {language: Counter[str]() for language in self.languages}
        for language, counter in counts.items():
            for text in keep(table, is_in(table["language"], [language]))["text"]:
                counter.update(words_of(text.as_py()))
        return counts

    # ---- dictionaries ---------------------------------------------------------------------------------

    def lexicon(self, name: str, language: str) -> None:
        """A file of word pairs."""
        key = f"{KEY}.lexicons.{language}"
        header, rows = self._open(name, key)
        source, turned = self._sides(header, name, language, key)
        entries: dict[str, list[str]] = defaultdict(list)
        left = 0
        for number, fields in rows:
            if len(fields) != 2:
                raise UserError(
                    counted(len(fields), "field"),
                    where=f"{name}, row {number}",
                    expected="two in each row: a word and its translation",
                    remedy="A .txt file has them apart by a space or a tab, .csv and .tsv files have a header",
                )
            word, translation = (each.strip() for each in (reversed(fields) if turned else fields))
            if not looked_up(word) or is_blank(translation) or len(word.split()) > 1:
                left += 1
            else:
                entries[looked_up(word)].append(translation)
        if left:
            self.warn(f"{count(left)} rows of {name} not used: of several words, or with an empty side")
        self._refuse_other_words(entries, [word for each in entries.values() for word in each], source, name, key)
        self._add(source, language, entries)

    def _sides(self, header: list[str] | None, name: str, language: str, key: str) -> tuple[str, bool]:
        """The source language of a file's words, and whether they stand in its second column."""
        sources = self.languages
        if header is not None and len(header) != 2:
            raise UserError(
                f"{name} has {counted(len(header), 'column')}: {some(header)}",
                where=key,
                expected="two, a word and its translation",
            )
        first, second = header or ("", "")
        for source in sources:
            if _means(first, source) and not _means(first, language):
                return source, False
            if _means(second, source) and _means(first, language):
                return source, True
        if (other := _language_named(first)) is not None and not _means(first, language):
            raise UserError(
                f"the words of {name} are in {other}, as its header says",
                where=key,
                expected=f"words in {_listed(sources)}, and their translations into {named(language)}",
            )
        if len(sources) > 1:
            raise UserError(
                f"which of the source languages the words of {name} are in is not said",
                where=key,
                expected=f"a header that names one of {_listed(sources)}, and {named(language)}",
            )
        return sources[0], False

    def _refuse_other_words(
        self, entries: Mapping[str, list[str]], other_side: Sequence[str], source: str, name: str, key: str
    ) -> None:
        """A dictionary of another pair of languages, or one the wrong way round."""
        share = self.share_known(entries, source)
        turned = self.share_known(set(map(looked_up, other_side)), source)
        is_turned = turned >= FEWEST and turned > 1.5 * share
        if share >= FEWEST and not is_turned:
            return
        raise UserError(
            f"{name} knows {percent(share)} of the words of the training texts in {named(source)}",
            where=key,
            expected="those in its first column, their translations in the second"
            if is_turned
            else f"a dictionary of their words: {percent(FEWEST, 0)} of them at least",
            remedy=f"Its other column knows {percent(turned)}: it is the wrong way round"
            if is_turned
            else f"Is it of another pair of languages? Its words begin {some(list(entries))}",
        )

    def share_known(self, known: Container[str], source: str) -> float:
        """Of the words of the training texts, each as often as it stands there."""
        counts = self._in_texts[source]
        return sum(times for word, times in counts.items() if word in known) / max(counts.total(), 1)

    # ---- sentence pairs -------------------------------------------------------------------------------

    def pairs(self, name: str, language: str) -> None:
        """A file of sentence pairs, those of its training rows where it says its splits."""
        key = f"{KEY}.pairs.{language}"
        if not _has_spaces(language):
            raise _no_words(language, f"a dictionary is induced from words ({key})")
        header, rows = self._open(name, key)
        if header is None:
            raise UserError(f"{name} has no columns", where=key, expected="sentence pairs in a .csv or .tsv file")
        source, here, there = self._columns(header, name, language, key)
        places = {column: place for place, column in enumerate(header)}
        split, own = places.get(self.data.columns.split), places.get(self.data.columns.language)
        trained = set(self.data.split_names.train)
        chosen = [
            (fields[here], fields[there])
            for _, fields in rows
            if (split is None or fields[split] in trained) and (own is None or _means(fields[own], language))
            if not is_blank(fields[here]) and not is_blank(fields[there])
        ]
        if not chosen:
            raise UserError(
                f"no row of {name} is a training row in {named(language)}",
                where=key,
                expected="sentence pairs"
                + ("" if own is None else f" whose column '{self.data.columns.language}' says '{language}'")
                + ("" if split is None else f" of the split {' or '.join(self.data.split_names.train)}"),
            )
        self._induce(source, language, self._without_held_out(chosen, name), name, key)

    def _columns(self, header: list[str], name: str, language: str, key: str) -> tuple[str, int, int]:
        """A source language, its column, and that of the translations."""
        texts = self.data.columns.text
        there = next((place for place, column in enumerate(header) if _means(column, language)), None)
        there = header.index(texts) if there is None and texts in header else there
        for source in self.languages:
            for here, column in enumerate(header):
                if there is not None and here != there and _means(column, source):
                    return source, here, there
        lacking = named(language) if there is None else _listed(self.languages)
        raise UserError(
            f"{name} has no column for {lacking}; its columns are {some(header)}",
            where=key,
            expected=f"columns named by the codes or English names of {_listed(self.languages)} and {named(language)}",
            remedy=f"The translations may stand in the column '{texts}' (data.columns.text)" if there is None else None,
        )

    def _without_held_out(self, pairs: list[tuple[str, str]], name: str) -> list[tuple[str, str]]:
        """A dictionary that learned from test texts would have seen them."""
        held = [split.keys for each, split in self.texts.splits.items() if each != "train"]
        sides = [pa.RecordBatch.from_pydict({"text": pa.array(side, pa.string())}) for side in zip(*pairs, strict=True)]
        keys = [text_keys(side, self.data.normalization).to_numpy(zero_copy_only=False) for side in sides]
        is_held = np.isin(keys[0], np.concatenate(held)) | np.isin(keys[1], np.concatenate(held))
        if left := int(is_held.sum()):
            self.warn(f"{count(left)} pairs of {name} not used: a side of theirs is a validation or test text")
        return [pair for pair, out in zip(pairs, is_held, strict=True) if not out]

    def translations(self) -> None:
        """The training texts and their translations."""
        table, sources = self.texts.splits["train"].table, self.languages
        texts = table["text"].to_pylist()
        found: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
        for places in versions(table, [*sources, *self.data.translations]).values():
            for source in sources:
                for language in self.data.translations:
                    if source in places and language in places:
                        found[source, language].append((texts[places[source]], texts[places[language]]))
        for (source, language), pairs in found.items():
            key = f"{KEY}.from_translations"
            if not _has_spaces(language):
                raise _no_words(language, f"a dictionary is induced from words ({key})")
            self._induce(source, language, pairs, f"data.translations.{language}", key)

    def _induce(self, source: str, language: str, pairs: list[tuple[str, str]], name: str, key: str) -> None:
        words = [(words_of(text), words_of(translation)) for text, translation in pairs]
        reach = within_reach(words)
        if reach < len(words):
            self.warn(f"only the first {count(reach)} of {count(len(words))} pairs of {name} are aligned: enough words")
        entries = {word: [translation] for word, translation in induced(words[:reach]).items()}
        if not entries:
            raise UserError(
                f"no word pair can be learned from the {counted(len(words), 'pair')} of {name}",
                where=key,
                expected="words that stand in several texts, and their translations in the same pairs",
            )
        self._refuse_other_words(entries, [], source, name, key)
        self._add(source, language, entries)

    # ---- both -----------------------------------------------------------------------------------------

    def _add(self, source: str, language: str, entries: Mapping[str, list[str]]) -> None:
        """What is written alike in both languages is no translation that would change anything."""
        known = self.found.setdefault(source, {}).setdefault(language, {})
        for word, translations in entries.items():
            if others := [each for each in translations if looked_up(each) != word]:
                known.setdefault(word, []).extend(others)

    def _open(self, name: str, key: str) -> tuple[list[str] | None, Iterator[tuple[int, list[str]]]]:
        """The header of a table, None of a file of lines; and the rows with their numbers, from 1."""
        path = place_of(name)
        kind = kind_of(path)
        with reading(path, name):
            rows = list(_pairs_of_lines(path, name)) if kind is None else list(_records(path, name, kind, self.data))
        header = None if kind is None else rows.pop(0)[1]
        if not rows:
            raise UserError(f"{name} holds no pairs", where=key, expected="a pair in each row")
        self.sources.append(DataSource(path=name, sha256=sha256_of(path, name), rows=len(rows)))
        return header, iter(rows)


def _records(path: Path, name: str, kind: str, data: Data) -> Iterator[tuple[int, list[str]]]:
    with open_bytes(path) as file:
        form = CsvForm("\t" if kind == "tsv" else ",", data.quoting)
        width = 0
        for number, fields in records_of(path, name, file, form):
            width = width or len(fields)
            if len(fields) != width:
                raise UserError(
                    f"{counted(len(fields), 'field')}, where the header has {width}",
                    where=f"{name}, row {number}",
                    expected="as many fields in each row as in the header",
                )
            yield number, fields


def _pairs_of_lines(path: Path, name: str) -> Iterator[tuple[int, list[str]]]:
    """As MUSE has them: a word, a blank or tab, its translation."""
    with open_bytes(path) as file:
        for number, line in enumerate(map(str.strip, decoded_lines(file, name)), 1):
            if not is_blank(line):
                yield number, line.split("\t") if "\t" in line else line.split()


def _means(column: str, language: str) -> bool:
    """Whether a column's name (or a cell) is that of a language: its code, or its English name."""
    said = column.strip().casefold().replace("_", " ")
    known = find_language(language)
    return bool(said) and said in {
        language.casefold(),
        *(() if known is None else (known.code, known.code3, known.name.casefold())),
    }


def _language_named(column: str) -> str | None:
    """The language whose English name a column has; codes are words of many meanings."""
    said = column.strip().casefold().replace("_", " ")
    return next((each.name for each in known_languages().values() if each.name.casefold() == said), None)


def _has_spaces(language: str) -> bool:
    """Between its words, as it is usually written."""
    return not set(language_scripts(language)[:1]) & _WITHOUT_SPACES


def _no_words(language: str, why: str) -> UserError:
    return UserError(
        f"the words of {named(language)} stand without spaces between them",
        where=KEY,
        expected=f"a language that puts spaces between words: {why}",
        remedy="Use data.translations, or dictionaries of other languages",
    )


def _listed(languages: Sequence[str]) -> str:
    return " or ".join(map(named, languages))
