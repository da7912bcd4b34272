"""Rows that were given as Python objects instead of files: written as Parquet beside the run, then read as any file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from glotune.data.checks import refuse_unfit_languages
from glotune.data.hub import names_of
from glotune.data.reading import read_texts
from glotune.data.rows import CHUNK, ColumnMap, encodable, half_character
from glotune.data.texts import SPLITS, TextData
from glotune.errors import UserError, did_you_mean
from glotune.recipe import Recipe
from glotune.recipe.loading import anchor_paths
from glotune.recipe.schema import Columns, Data, SplitNames
from glotune.run.record import DataSource

FOLDER = "data"
"""Of the run directory: where the rows lie, and what its recipe calls them by, so that a run can be moved."""
UNLABELLED = "unlabelled"
"""Beside the splits: texts without labels, by language."""
KINDS = "a DataFrame (pandas, polars), a datasets.Dataset, a pyarrow.Table or (texts, labels)"


@dataclass(frozen=True)
class GivenRows:
    """What was given as `data`, each table under the name that the recipe calls it by."""

    folder: Path | None = None
    """A temporary one that stands in for the run directory until there is one; None where nothing was given."""
    tables: dict[str, Any] = field(default_factory=dict)
    """``data/train.en.parquet`` -> what was given."""
    keys: dict[str, Any] = field(default_factory=dict)
    """What it means for the recipe: the rows take the place of all the texts that it names."""

    @property
    def files(self) -> Path | None:
        """The folder of the files that belong to the run."""
        return None if self.folder is None else self.folder / FOLDER

    def read(self, recipe: Recipe) -> TextData:
        """Writes the columns that the recipe names, and reads its texts as `read_texts`.

        Raises:
            UserError: as `read_texts`; or rows are of no kind that is read, or the recipe does not name them.
        """
        if self.folder is None:
            return read_texts(recipe.data, recipe.seed, recipe.task)
        self._refuse_unread(recipe.data.model_dump(mode="json"))
        for name, rows in self.tables.items():
            kind = _kind(name)
            weighs = kind == "train" or (recipe.data.weighted_metrics and kind != UNLABELLED)
            columns = recipe.data.columns if weighs else recipe.data.columns.unweighted()
            _write(rows, self.folder / name, columns, need_label=kind != UNLABELLED)
        with self.located(recipe) as located:
            texts = read_texts(located.data, recipe.seed, recipe.task)
        place = f"{self.folder}/"
        return replace(
            texts,
            sources=self.as_named(texts.sources),
            warnings=[each.replace(place, "") for each in texts.warnings],
            skipped=[replace(each, path=each.path.removeprefix(place)) for each in texts.skipped],
        )

    @contextmanager
    def located(self, recipe: Recipe) -> Iterator[Recipe]:
        """The recipe with the files that stand in for the rows; messages still call these as the recipe does."""
        if self.folder is None:
            yield recipe
            return
        data = anchor_paths({"data": recipe.data.model_dump(mode="json")}, self.folder)["data"]
        try:
            yield recipe.model_copy(update={"data": Data.model_validate(data)})
        except UserError as error:
            raise error.with_words(f"{self.folder}/", "") from error

    def as_named(self, sources: list[DataSource]) -> list[DataSource]:
        """Files as the recipe calls them."""
        return [each.model_copy(update={"path": each.path.removeprefix(f"{self.folder}/")}) for each in sources]

    def _refuse_unread(self, content: Mapping[str, Any]) -> None:
        """An override that names other files leaves no given rows unread in silence."""
        named = {name for split in (*SPLITS, UNLABELLED) for name in _names(content[split])}
        for name in self.tables:
            if name not in named:
                split = _kind(name)
                raise UserError(f"data gives {split} rows, and a key sets data.{split} too", expected="one of the two")


def _kind(name: str) -> str:
    """``train`` of ``data/train.en.parquet``."""
    return Path(name).name.split(".")[0]


def _names(source: Any) -> Iterator[str]:
    parts = source.values() if isinstance(source, dict) else source if isinstance(source, list) else [source]
    return (name for part in parts for name in (_names(part) if isinstance(part, list) else [part]))


@contextmanager
def given_rows(data: Any) -> Iterator[GivenRows]:
    """The rows of `glotune.train`'s `data`; what is written of them is gone afterwards.

    Raises:
        UserError: a name that is no split, or no training rows.
    """
    if data is None:
        yield GivenRows()
        return
    tables: dict[str, Any] = {}
    keys: dict[str, Any] = {f"data.{split}": None for split in SPLITS}
    for split, rows in _by_split(data).items():
        if split == UNLABELLED and not isinstance(rows, Mapping):
            raise UserError("data has unlabelled texts without a language", expected="{language: texts}")
        if isinstance(rows, Mapping):
            refuse_unfit_languages(rows)
            keys[f"data.{split}"] = {language: f"{FOLDER}/{split}.{language}.parquet" for language in rows}
            tables |= {f"{FOLDER}/{split}.{language}.parquet": its for language, its in rows.items()}
        else:
            keys[f"data.{split}"] = f"{FOLDER}/{split}.parquet"
            tables[f"{FOLDER}/{split}.parquet"] = rows
    with tempfile.TemporaryDirectory(prefix="glotune-") as folder:
        place = Path(folder).resolve()
        (place / FOLDER).mkdir()
        yield GivenRows(place, tables, keys)


def _by_split(data: Any) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        return {"train": data}
    meaning = {name: split for split, names in SplitNames().model_dump().items() for name in (split, *names)}
    meaning[UNLABELLED] = UNLABELLED
    found: dict[str, Any] = {}
    for name, rows in data.items():
        if name not in meaning:
            raise UserError(
                f"data has rows under {name!r}",
                expected=f"the splits {', '.join(SPLITS)}, each with {KINDS}, or {{language: any of these}}",
                remedy=did_you_mean(str(name), meaning) or "Leave it out, or name it as the split that it is",
            )
        if meaning[name] in found:
            raise UserError(f"data has two splits that mean {meaning[name]}", expected="each split once")
        found[meaning[name]] = rows
    if "train" not in found:
        raise UserError(f"data has {', '.join(found) or 'nothing'} and no training rows", expected="a split 'train'")
    return found


def _write(rows: Any, path: Path, columns: Columns, *, need_label: bool) -> None:
    """The columns that the recipe names, as Parquet; a `datasets.Dataset` a piece at a time."""
    from pyarrow import parquet

    shown = f"{FOLDER}/{path.name}"
    try:
        parts = iter(_tables(rows, columns, shown, need_label=need_label))
        first = next(parts, None)
        if first is None:
            raise UserError(f"{shown} is empty", expected="data rows")
        with parquet.ParquetWriter(path, first.schema) as writer:
            writer.write_table(first)
            for part in parts:
                writer.write_table(part)
    except (pa.ArrowException, TypeError, UnicodeEncodeError) as error:
        raise UserError(
            f"the rows can't be written as a table ({'; '.join(map(str, error.args))})",
            where=shown,
            expected="strings, numbers or truth values, of one type in each column",
        ) from error


def _tables(rows: Any, columns: Columns, shown: str, *, need_label: bool) -> Iterable[pa.Table]:
    if type(rows).__module__.partition(".")[0] == "datasets" and hasattr(rows, "num_rows"):
        return _of_dataset(rows, columns, shown, need_label=need_label)
    if not need_label and isinstance(rows, list | tuple):
        return [_of_texts(rows, None, columns, shown)]
    if isinstance(rows, tuple) and len(rows) == 2:
        return [_of_texts(*rows, columns, shown)]
    if not hasattr(rows, "__arrow_c_stream__"):
        raise UserError(f"{shown} is of the type {type(rows).__name__}", expected=KINDS)
    if hasattr(rows, "reset_index"):  # pandas: its index would come along as a column, and names may be numbers
        rows = rows.reset_index(drop=True).set_axis([str(name) for name in rows.columns], axis=1)
    header = list(rows.column_names if hasattr(rows, "column_names") else rows.columns)
    wanted = _wanted(columns, header, shown, need_label=need_label)
    try:
        return [pa.table(rows.select(wanted) if isinstance(rows, pa.Table) else rows[wanted])]
    except UnicodeEncodeError:
        _refuse_half_characters({name: rows[name] for name in wanted}, shown)
        raise


def _wanted(columns: Columns, header: list[str], shown: str, *, need_label: bool) -> list[str]:
    """The columns that the recipe names, each once: one may be read in two roles, as the text that is its own id."""
    return list(dict.fromkeys(ColumnMap(columns, header, shown, need_label=need_label).names.values()))


def _of_dataset(dataset: Any, columns: Columns, shown: str, *, need_label: bool) -> Iterator[pa.Table]:
    """Class ids as the names that the data set gives them."""
    names = _wanted(columns, dataset.column_names, shown, need_label=need_label)
    for part in dataset.select_columns(names).with_format("arrow").iter(CHUNK):
        for place, name in enumerate(part.column_names):
            classes = getattr(dataset.features[name], "names", None)
            if classes:
                named = pa.array(names_of(part[name].combine_chunks(), classes), pa.string())
                part = part.set_column(place, name, named)
        yield part


def _of_texts(texts: Any, labels: Any, columns: Columns, shown: str) -> pa.Table:
    _refuse_matrix(labels, shown)
    texts, labels = list(texts), None if labels is None else list(labels)
    if labels is not None and len(texts) != len(labels):
        raise UserError(f"{len(texts)} texts and {len(labels)} labels", where=shown, expected="one label per text")
    found = {columns.text: texts}
    if texts and not isinstance(texts[0], str) and isinstance(texts[0], Iterable):
        if columns.text_pair is None:
            raise UserError(
                "pairs of texts",
                where=shown,
                expected="single texts, as data.columns.text_pair is null",
                remedy="Name the second texts: data__columns__text_pair='text_pair'",
            )
        found = {columns.text: [text[0] for text in texts], columns.text_pair: [text[1] for text in texts]}
    try:
        arrays = {name: pa.array(values, pa.string(), from_pandas=True) for name, values in found.items()}
        return pa.table(arrays if labels is None else {**arrays, columns.label: pa.array(labels, from_pandas=True)})
    except UnicodeEncodeError:
        _refuse_half_characters(found if labels is None else {**found, columns.label: labels}, shown)
        raise


def _refuse_half_characters(columns: Mapping[str, Iterable[Any]], shown: str) -> None:
    """Names row and column of the first value that can't be written."""
    for name, values in columns.items():
        if not all(map(encodable, values)):
            raise half_character(values, name, 1, shown)


def _refuse_matrix(labels: Any, shown: str) -> None:
    """A column for each label has no names here: its ones and zeros would be read as the names."""
    is_array = isinstance(labels, np.ndarray) and labels.ndim > 1 and labels.dtype.kind in "biuf"
    if is_array or hasattr(labels, "columns") or indicators(labels) is not None:
        raise UserError(
            f"a table of labels, of shape {np.shape(labels)}",
            where=shown,
            expected="one label per text, or with task multi_label a list of the names of its labels",
            remedy="Give a DataFrame with the texts and a column for each label, and name these: "
            "data__columns__labels=['joy', 'anger']; or fit a glotune.Classifier, which takes such a table",
        )


def indicators(given: Any) -> NDArray[np.float64] | None:
    """[N, L] of 1, 0 and NaN where labels are given as a column for each of several; None where they are not."""
    try:
        found = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    if found.ndim != 2 or found.shape[1] < 2 or not np.isin(found[~np.isnan(found)], (0.0, 1.0)).all():
        return None
    return found
