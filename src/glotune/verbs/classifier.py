"""A recipe behind scikit-learn's interface: ``Classifier(...).fit(X, y).predict(X)``, through the same spine."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from glotune.data.encoding import Text
from glotune.data.odd_labels import odd_labels, quoted
from glotune.data.spelling import name_of
from glotune.errors import UserError
from glotune.recipe import Recipe, load_recipe
from glotune.verbs.predict import Predictor, load, problem_of
from glotune.verbs.train import train

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

NO_LANGUAGE = "und"
"""ISO 639-3 for texts whose language was not said."""


class Classifier(ClassifierMixin, BaseEstimator):
    """Fine-tunes an encoder on texts and labels.

    Args:
        encoder: Hub name, folder, or ``glotune-nano`` (embedded).
        recipe: a built-in recipe or file to start from; None: the defaults.
        language: of the texts, for the run's records.
        out: the run directory; None: in a temporary folder that goes with this object.
        keys: recipe keys with ``__`` for the dots: ``train__epochs=3``, ``model__layers=6``, ``seed=1``.

    Attributes:
        classes_: the labels seen in fit, sorted; predictions are of the same type.
        run_: path of the run directory.
        device_: what it was trained on: ``cpu``, ``cuda`` or ``mps``.

    A validation share (``data__made_splits={"validation": 0.1}`` by default) is cut from the training texts to choose
    the checkpoint. The same texts, labels and keys give the same model, bit for bit on a CPU.
    """

    def __init__(
        self,
        encoder: str = "glotune-nano",
        *,
        recipe: str | Path | None = None,
        language: str = NO_LANGUAGE,
        out: str | Path | None = None,
        **keys: Any,
    ) -> None:
        self.encoder = encoder
        self.recipe = recipe
        self.language = language
        self.out = out
        self.keys = keys

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments of this classifier, recipe keys among them."""
        own = {"encoder": self.encoder, "recipe": self.recipe, "language": self.language, "out": self.out}
        return {**own, **self.keys}

    def set_params(self, **params: Any) -> Classifier:
        """Changes arguments; recipe keys are checked by `fit`."""
        for name, value in params.items():
            if name in ("encoder", "recipe", "language", "out"):
                setattr(self, name, value)
            else:
                self.keys = {**self.keys, name: value}
        return self

    def fit(self, X: Sequence[Text], y: ArrayLike) -> Classifier:
        """Trains on texts (or pairs, as tuples) and their labels.

        Raises:
            UserError: texts and labels don't go together, a label is missing (None, NaN, pandas.NA), two labels differ
                in blanks, Unicode form or invisible characters alone, or a recipe key is wrong.
        """
        texts = _texts(X)
        labels = np.asarray(y)
        _refuse_missing_labels(np.asarray(y, dtype=object))
        if labels.ndim != 1 or len(labels) != len(texts):
            raise UserError(f"{len(texts)} texts and labels of shape {labels.shape}", expected="one label per text")
        self.classes_, ids = np.unique(labels, return_inverse=True)
        names = _label_names(self.classes_)
        _warn_of_odd_labels(self.classes_, ids)
        self._temporary = tempfile.TemporaryDirectory(prefix="glotune-") if self.out is None else None
        target = self.out if self._temporary is None else Path(self._temporary.name) / "run"
        with tempfile.TemporaryDirectory(prefix="glotune-") as place:
            source = Path(place) / "train.parquet"
            _write(texts, [names[index] for index in ids], source)
            run = train(self._recipe(source, names, isinstance(texts[0], tuple)), out=target, report=False)
        self.run_ = str(run.path)
        plan = run.manifest.plan
        self.device_ = plan.device if plan is not None else "cpu"
        self._predictor: Predictor | None = None
        return self

    def predict(self, X: Sequence[Text]) -> NDArray[Any]:
        """The label of each text, of the type given to `fit`."""
        probabilities = self.predict_proba(X)
        return np.asarray(self.classes_[probabilities.argmax(axis=1)])

    def predict_proba(self, X: Sequence[Text]) -> NDArray[np.float64]:
        """Probabilities_NC, columns in the order of ``classes_``."""
        check_is_fitted(self, "run_")
        if self._predictor is None:
            self._predictor = load(self.run_)
        return self._predictor.predict_proba(_texts(X))

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        """``Classifier(encoder='glotune-nano', seed=3)``; with the labels and the device once it is fitted."""
        given = {"encoder": self.encoder, **{key: value for key, value in self._set().items() if key != "encoder"}}
        if hasattr(self, "run_"):
            given |= {"labels": self.classes_.tolist(), "device": self.device_}
        text = f"Classifier({', '.join(f'{key}={value!r}' for key, value in given.items())})"
        return text if len(text) <= N_CHAR_MAX else f"{text[: N_CHAR_MAX - 2]}…)"

    def _set(self) -> dict[str, Any]:
        """The arguments that are not at their defaults."""
        usual = {"recipe": None, "language": NO_LANGUAGE, "out": None}
        return {key: value for key, value in self.get_params().items() if key not in usual or value != usual[key]}

    def _recipe(self, source: Path, names: list[str], pairs: bool) -> Recipe:
        fixed: dict[str, Any] = {
            "data.train": {self.language: str(source)},
            "data.labels": names,
            "data.source_languages": [self.language],
        }
        if pairs:
            fixed["data.columns.text_pair"] = "text_pair"
        if self.recipe is not None:
            return load_recipe(self.recipe, {"model.name": self.encoder, **fixed}, self.keys)
        base = {"name": "classifier", "model": {"name": self.encoder}, "data": {"train": str(source)}}
        return load_recipe(Recipe.model_validate(base), fixed, self.keys)

    def __getstate__(self) -> dict[str, Any]:
        if getattr(self, "_temporary", None) is not None:
            raise UserError(
                "this classifier lies in a temporary folder and can't be pickled",
                remedy="Give it a place with out=FOLDER, or use the run directory in run_",
            )
        return {**self.__dict__, "_predictor": None}

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "run_")


def _texts(given: Sequence[Text]) -> list[Text]:
    if isinstance(given, str):
        raise UserError("one string was given", expected="a list of texts")
    texts: list[Text] = [tuple(text) if isinstance(text, list | np.ndarray) else text for text in given]
    if not texts:
        raise UserError("no texts were given", expected="a list of texts")
    takes_pairs = isinstance(texts[0], tuple)
    for number, text in enumerate(texts, 1):
        problem = problem_of(text, takes_pairs)
        if problem:
            raise UserError(problem, where=f"text {number}", expected="texts with content, or pairs of them throughout")
    return [str(text) if isinstance(text, str) else (str(text[0]), str(text[1])) for text in texts]


def _refuse_missing_labels(labels: NDArray[Any]) -> None:
    """Raises UserError where a label is None, NaN, pandas.NA or NaT, or strings and other values are mixed."""
    for number, label in enumerate(labels.ravel(), 1):
        if _is_missing(label):
            raise UserError(
                f"{label!r} is no label",
                where=f"label {number}",
                expected="a label for each text",
                remedy="Leave texts without a label out",
            )
    kinds = {isinstance(label, str): type(label).__name__ for label in labels.ravel()}
    if len(kinds) > 1:
        raise UserError(
            f"labels of the types {kinds[True]} and {kinds[False]}", expected="only strings, or only numbers"
        )


def _is_missing(label: Any) -> bool:
    if label is None:
        return True
    try:
        return bool(label != label)
    except TypeError:  # pandas.NA is neither equal nor unequal
        return True


def _label_names(classes: NDArray[Any]) -> list[str]:
    """The classes as label names; their numbers where a name is empty."""
    names = [name_of(str(label)) for label in classes]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        alike = [str(label) for label, name in zip(classes, names, strict=True) if name == twice]
        raise UserError(f"the labels {quoted(alike)} look the same", expected="one spelling of a label")
    return names if all(names) else [str(index) for index in range(len(names))]


def _warn_of_odd_labels(classes: NDArray[Any], ids: NDArray[np.int64]) -> None:
    """Python warnings about labels that are hardly meant as classes; 1.0 is as good a class as 1."""
    names = [f"{label:g}" if isinstance(label, float) else str(label) for label in classes]
    for odd in odd_labels(dict(zip(names, np.bincount(ids).tolist(), strict=True))):
        warnings.warn(odd.message, stacklevel=3)


def _write(texts: list[Text], labels: list[str], path: Path) -> None:
    columns: dict[str, Any] = {"text": [text if isinstance(text, str) else text[0] for text in texts]}
    if isinstance(texts[0], tuple):
        columns["text_pair"] = [text[1] for text in texts]
    columns["label"] = labels
    pq.write_table(pa.table(columns), path)
