"""What `Classifier.fit` and its predictions are given, read or refused: texts, labels, votes, scores, weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import column_or_1d

from glotune.data.encoding import Text
from glotune.data.given_rows import indicators
from glotune.data.label_names import odd_labels, quoted
from glotune.data.rows import encodable
from glotune.data.spelling import name_of
from glotune.errors import UserError
from glotune.recipe.kinds import KINDS
from glotune.verbs.predict import problem_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Meaning = Callable[[NDArray[Any]], tuple[NDArray[Any], "Target"]]
"""Labels, a row for each text, to ``classes_`` and what is learned."""


def texts_of(given: Any) -> list[Text]:
    """Texts, or pairs of them, one or the other throughout.

    Raises:
        UserError: none, one without content, or a mixture.
    """
    if isinstance(given, str):
        raise UserError("one string was given", expected="a list of texts")
    if hasattr(given, "columns"):  # a DataFrame goes by its columns; its rows are meant
        given = np.asarray(given)
    texts: list[Text] = [_text(text) for text in given]
    if not texts:
        raise UserError("no texts were given", expected="a list of texts")
    takes_pairs = isinstance(texts[0], tuple)
    for number, text in enumerate(texts, 1):
        problem = problem_of(text, takes_pairs)
        if problem:
            raise UserError(problem, where=f"text {number}", expected="texts with content, or pairs of them throughout")
    return [str(text) if isinstance(text, str) else (str(text[0]), str(text[1])) for text in texts]


@dataclass(frozen=True)
class Target:
    """What `fit` was given to learn, as columns of a table and keys of a recipe."""

    columns: dict[str, Any]
    keys: dict[str, Any]

    @property
    def names(self) -> set[str]:
        """Of the columns of several labels, which the recipe names in a list."""
        return set(self.columns) - {"label"}


def _of_classes(labels: NDArray[Any]) -> tuple[NDArray[Any], Target]:
    """The classes of one label for each text, sorted, and their names."""
    classes, ids = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise UserError(f"the one label {classes.tolist()[0]!r} in y: 1 class", expected="at least two classes")
    names = _label_names(classes)
    _warn_of_odd_labels(classes, ids)
    return classes, Target({"label": [names[index] for index in ids]}, {"data.labels": names})


def read_target(given: Any, keys: Mapping[str, Any], votes: bool) -> tuple[NDArray[Any], Meaning]:
    """What `fit` was given as y, a row for each text, and what it means.

    Raises:
        UserError: it can't be read so.
    """
    if votes or keys.get("task") == "score":
        numbers = _numbers(given, "votes" if votes else "scores")
        if votes and numbers.shape[1] < 2:
            raise UserError(
                f"votes of shape {numbers.shape}", expected="[N, C], a column for each of at least two classes"
            )
        return numbers, lambda rows: _of_columns(rows, given, "votes" if votes else "score")
    several = indicators(given)
    if several is None:
        return _labels(given), _of_classes
    return several, lambda rows: _of_columns(rows, given, "multi_label")


def _of_columns(
    labels_NL: NDArray[np.float64], given: Any, kind: Literal["multi_label", "score", "votes"]
) -> tuple[NDArray[Any], Target]:
    """A column for each of several labels, scores or classes, by its name in a DataFrame, else by its number."""
    named = [str(name) for name in given.columns] if hasattr(given, "columns") else None
    names = named or [str(place) for place in range(labels_NL.shape[1])]
    _refuse_half_characters(names)
    taken = {"text", "text_pair", "weight", "label", "language", "split"}
    columns = {
        f"label {name}" if name in taken else name: pa.array(column_N, from_pandas=True)
        for name, column_N in zip(names, labels_NL.T, strict=True)
    }
    if len(columns) < len(names):
        raise UserError(f"y has columns of one name: {', '.join(names)}", expected="each column name once")
    classes = np.array(names) if named else np.arange(len(names))
    keys: dict[str, Any] = {"data.columns.labels": list(columns), "task": kind, "data.labels": None}
    if kind == "votes":
        keys = {"data.columns.votes": dict(zip(names, columns, strict=True)), "data.labels": None}
    if kind == "score":
        keys["evaluate.metric"] = KINDS["score"].metric
    return classes, Target(columns, keys)


def _numbers(given: Any, what: str) -> NDArray[np.float64]:
    """[N, L]; raises UserError where it is something else."""
    try:
        found = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(f"y holds something else than {what} ({error})", expected="numbers") from error
    if found.ndim not in (1, 2):
        raise UserError(f"{what} of shape {found.shape}", expected="[N] or [N, L], a row for each text")
    return found.reshape(len(found), -1)


def _text(given: Any) -> Any:
    """A row of one column is its text, one of two a pair."""
    if not isinstance(given, list | np.ndarray):
        return given
    return given[0] if isinstance(given, np.ndarray) and given.shape == (1,) else tuple(given)


def _labels(given: ArrayLike) -> NDArray[Any]:
    """[N] labels of one type.

    Raises:
        UserError: no labels of classes, one is missing, or they are of several types.
    """
    if given is None:
        raise UserError("Classifier requires y to be passed, but the target y is None", expected="a label per text")
    labels = np.asarray(given)
    labels = column_or_1d(labels, warn=True) if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if labels.ndim != 1:
        raise UserError(f"labels of shape {labels.shape}", expected="one label per text")
    as_given = np.asarray(given, dtype=object).ravel().tolist()  # NumPy makes strings of what stands beside one
    for number, label in enumerate(as_given, 1):
        if _is_missing(label):
            raise UserError(f"Input y contains NaN: label {number} is {label}", expected="a label for each text")
    kinds = sorted({type(label).__name__ for label in as_given})
    strings_and_others = len({isinstance(label, str) for label in as_given}) > 1
    if strings_and_others or (labels.dtype == object and len(kinds) > 1):
        raise UserError(f"labels of the types {' and '.join(kinds)}", expected="labels of one type")
    labels = np.array(labels.tolist()) if labels.dtype == object else labels
    if type_of_target(labels) not in ("binary", "multiclass"):
        raise UserError(
            f"Unknown label type: {type_of_target(labels)}",
            expected="labels of classes: strings, whole numbers or truth values",
            remedy="Bring scores into classes first",
        )
    return labels


def _is_missing(label: Any) -> bool:
    if label is None or type(label).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(label, float) and not np.isfinite(label)


def weights_of(given: ArrayLike, count: int) -> NDArray[np.float32]:
    """[N] finite weights of at least 0.

    Raises:
        UserError: others, another number of them, or none above 0.
    """
    try:
        weights = np.asarray(given, np.float32)
    except (TypeError, ValueError) as error:
        raise UserError(f"sample_weight holds something else than numbers ({error})") from error
    if weights.shape != (count,):
        raise UserError(f"sample_weight has the shape {weights.shape}", expected=f"({count},), a weight per text")
    if not np.isfinite(weights).all() or (weights < 0).any():
        number = int(np.argmin(np.isfinite(weights) & (weights >= 0))) + 1
        raise UserError(f"weight {number} is {weights[number - 1]}", expected="finite weights of at least 0")
    if not weights.any():
        raise UserError("every weight is zero", expected="a sample_weight with a weight above zero")
    return weights


def _label_names(classes: NDArray[Any]) -> list[str]:
    """The classes as label names; their numbers where a name is empty."""
    names = [name_of(str(label)) for label in classes]
    _refuse_half_characters(names)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        alike = [str(label) for label, name in zip(classes, names, strict=True) if name == twice]
        raise UserError(f"the labels {quoted(alike)} look the same", expected="one spelling of a label")
    return names if all(names) else [str(index) for index in range(len(names))]


def _refuse_half_characters(names: list[str]) -> None:
    for name in names:
        if not encodable(name):
            raise UserError(f"half of a surrogate pair in the label {name!r}", expected="valid Unicode")


def _warn_of_odd_labels(classes: NDArray[Any], ids: NDArray[np.int64]) -> None:
    """Python warnings about labels that are hardly meant as classes; 1.0 is as good a class as 1."""
    names = [f"{label:g}" if isinstance(label, float) else str(label) for label in classes]
    for odd in odd_labels(dict(zip(names, np.bincount(ids).tolist(), strict=True))):
        warnings.warn(odd.message, stacklevel=3)


def table_of(texts: list[Text], target: dict[str, Any], weights: NDArray[np.float32] | None) -> pa.Table:
    """Texts, what is learned of them and their weights, as the table that a run reads."""
    columns: dict[str, Any] = {"text": [text if isinstance(text, str) else text[0] for text in texts]}
    if isinstance(texts[0], tuple):
        columns["text_pair"] = [text[1] for text in texts]
    columns |= target
    if weights is not None:
        columns["weight"] = weights
    return pa.table(columns)
