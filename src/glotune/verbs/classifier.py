"""A recipe with scikit-learn's interface: ``Classifier(...).fit(X, y).predict(X)``, through the same spine."""

from __future__ import annotations

import secrets
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from glotune.data.encoding import Text
from glotune.errors import UserError
from glotune.recipe import Recipe
from glotune.recipe.auto import AUTO
from glotune.run.directory import RunDirectory
from glotune.verbs.fit_inputs import read_target, table_of, texts_of, weights_of
from glotune.verbs.predict import Predictor, load
from glotune.verbs.train import train

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

NO_LANGUAGE = "und"
"""ISO 639-3 for texts whose language was not said."""
SAID_BY_FIT = ("data.train", "data.labels", "data.columns", "data.source_languages")
OWN = ("encoder", "recipe", "language", "out")
"""Parameters that are no keys of the recipe."""


class Classifier(ClassifierMixin, BaseEstimator):
    """Fine-tunes an encoder on texts and labels.

    Args:
        encoder: Hub name, folder, or ``glotune-nano`` (embedded).
        recipe: a built-in recipe or file to start from; ``auto``: chosen by the texts and the machine (`glotune train
            auto`); None: the defaults of the keys.
        language: of the texts, for the run's records.
        out: a folder that keeps the runs, each fit's in a subfolder of its own, so that the fits of a search don't
            meet; None: in a temporary folder that goes with this object.
        keys: recipe keys with ``__`` for the dots: ``train__epochs=3``, ``model__layers=6``, ``seed=1``.

    Attributes:
        classes_: the labels seen in fit, sorted; predictions are of the same type. Of several labels, scores and
            votes their columns: names where `fit` got a DataFrame, else numbers.
        run_: path of the run directory.
        device_: what it was trained on: ``cpu``, ``cuda`` or ``mps``.

    A validation share (``data__made_splits={"validation": 0.1}`` by default) is cut from the training texts to choose
    the checkpoint. The same texts, labels and keys give the same model, bit for bit on a CPU. A fitted classifier is
    pickled with its model, and predicts the same where it is unpickled.
    """

    def __init__(
        self,
        encoder: str = "glotune-nano",
        *,
        recipe: str | Path | None = AUTO,
        language: str = NO_LANGUAGE,
        out: str | Path | None = None,
        **keys: Any,
    ) -> None:
        self.encoder = encoder
        self.recipe = recipe
        self.language = language
        self.out = out
        self.set_params(**keys)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments of this classifier, recipe keys among them."""
        return {name: getattr(self, name) for name in OWN} | self._keys()

    def set_params(self, **params: Any) -> Classifier:
        """Changes arguments; recipe keys are checked by `fit`."""
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def fit(
        self,
        X: Sequence[Text],
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        votes: bool = False,
        unlabelled: Mapping[str, Sequence[Text]] | None = None,
    ) -> Classifier:
        """Trains on texts (or pairs, as tuples) and their labels.

        Args:
            X: N texts or pairs: a list, an array, a Series, or the columns of a DataFrame.
            y: N labels: strings, whole numbers or truth values; or [N, L] of 1 and 0 for several labels of each text
                (NaN where one was not annotated), a column for each. With ``task="score"``, [N] or [N, L] numbers
                (NaN where there is none).
            sample_weight: N numbers, how much each text counts in the loss: 2 as two of it, 0 as if it was not there.
            votes: y is [N, C], how many annotators voted for each class, or their shares: a column for each class.
            unlabelled: {language code: texts} without labels, for ``self_training``; three rounds of it unless the key
                says otherwise.

        Warns:
            ConvergenceWarning: scikit-learn's own; the run collapsed, or is not shown to be better than chance.

        Raises:
            UserError: texts, labels and weights don't go together, a label is missing (None, NaN, pandas.NA), two
                labels differ in blanks, Unicode form or invisible characters alone, or a recipe key is wrong.
        """
        texts = texts_of(X)
        keys = self._keys()
        _refuse_what_fit_says(keys)
        labels, meaning = read_target(y, keys, votes)
        if len(labels) != len(texts):
            raise UserError(f"{len(texts)} texts and labels of shape {labels.shape}", expected="one label per text")
        weights = None if sample_weight is None else weights_of(sample_weight, len(texts))
        if weights is not None:
            texts = [text for text, weight in zip(texts, weights, strict=True) if weight]
            labels, weights = labels[weights > 0], weights[weights > 0]
        classes, target = meaning(labels)
        table = table_of(texts, target.columns, weights)
        further = (
            {} if unlabelled is None else {"unlabelled": {code: texts_of(each) for code, each in unlabelled.items()}}
        )
        temporary = tempfile.TemporaryDirectory(prefix="glotune-") if self.out is None else None
        run = train(
            self._base(),
            {"model.name": self.encoder, "data.source_languages": [self.language]},
            {"data.columns": {name: name for name in table.column_names if name not in target.names}},
            target.keys,
            {"self_training": {"rounds": 3}} if further else {},
            keys,
            data={"train": {self.language: table}, **further},
            out=_new_folder(self.out) if self.out is not None else Path(temporary.name if temporary else "") / "run",
            report=False,
        )
        verdict = run.manifest.verdict
        if verdict is not None and not verdict.is_sound:
            told = " ".join([*verdict.evidence, *verdict.remedy])
            warnings.warn(f"{verdict.status}: {told}", ConvergenceWarning, stacklevel=2)
        plan = run.manifest.plan
        self.classes_, self.run_ = classes, str(run.path)
        self.device_ = plan.device if plan is not None else "cpu"
        self._kept = _Kept(run.path, temporary)
        return self

    def predict(self, X: Sequence[Text]) -> NDArray[Any]:
        """The label of each text, of the type given to `fit`; of several labels [N, L] of 1 and 0; scores as given."""
        check_is_fitted(self, "run_")
        predictor = self._kept.predictor
        answers, kind = predictor.read(predictor.logits(texts_of(X)))[1], predictor.kind.name
        if kind == "score":
            return answers if answers.shape[1] > 1 else answers[:, 0]
        return answers.astype(np.int64) if kind == "multi_label" else np.asarray(self.classes_[answers])

    def predict_proba(self, X: Sequence[Text]) -> NDArray[np.float64]:
        """Probabilities_NC, columns in the order of ``classes_``; raises UserError where scores were learned."""
        check_is_fitted(self, "run_")
        if self._kept.predictor.kind.name == "score":
            raise UserError("this classifier answers scores, which state no probability", expected="predict")
        return self._kept.predictor.predict_proba(texts_of(X))

    def decision_function(self, X: Sequence[Text]) -> NDArray[np.float64]:
        """Logits_NC, columns in the order of ``classes_``; of two classes [N], the second's minus the first's."""
        check_is_fitted(self, "run_")
        logits_NC = self._kept.predictor.logits(texts_of(X))
        if len(self.classes_) > 2 or self._kept.predictor.kind.name == "multi_label":
            return logits_NC
        return logits_NC[:, 1] - logits_NC[:, 0]

    def score(self, X: Sequence[Text], y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Accuracy, of several labels the share of texts with all of them right; of scores R^2, as of a regressor."""
        check_is_fitted(self, "run_")
        if self._kept.predictor.kind.name != "score":
            return float(super().score(X, y, sample_weight))
        from sklearn.metrics import r2_score

        return float(r2_score(y, self.predict(X), sample_weight=sample_weight))

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

    def _keys(self) -> dict[str, Any]:
        """The recipe keys: attributes that are no parameter of another kind, nothing private and nothing learned."""
        return {
            name: value
            for name, value in vars(self).items()
            if name not in OWN and not name.startswith("_") and not name.endswith("_")
        }

    def _base(self) -> str | Path | Recipe:
        """The recipe to start from; `fit` names its texts."""
        if self.recipe is not None:
            return self.recipe
        return Recipe.model_validate({"name": "classifier", "model": {"name": self.encoder}, "data": {"train": "rows"}})

    def __getstate__(self) -> dict[str, Any]:
        """The parameters and what was learned, the files that predicting reads among it."""
        state = dict(vars(self))
        if "_kept" in state:
            state["_kept"] = self._kept.files()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Files that came along go to a temporary folder, unless the run that `out` keeps is here."""
        self.__dict__.update(state)
        if "_kept" not in state:
            return
        is_here = self.out is not None and RunDirectory(self.run_).manifest_path.is_file()
        self._kept = _Kept(Path(self.run_)) if is_here else _Kept.of_files(state["_kept"])
        self.run_ = str(self._kept.run)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "run_")

    def __sklearn_tags__(self) -> Tags:
        """Takes strings, no matrix of numbers."""
        tags = super().__sklearn_tags__()
        tags.input_tags.string = tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        return tags


@dataclass(eq=False)
class _Kept:
    """The run of a fitted classifier; its model is loaded when first asked."""

    run: Path
    temporary: tempfile.TemporaryDirectory[str] | None = None
    """The folder that holds the run and goes with this object; None where the run stays."""

    @classmethod
    def of_files(cls, files: dict[str, bytes]) -> _Kept:
        """The run of another process, as far as it came along, in a temporary folder."""
        temporary = tempfile.TemporaryDirectory(prefix="glotune-")
        run = Path(temporary.name) / "run"
        for name, content in files.items():
            (run / name).parent.mkdir(parents=True, exist_ok=True)
            (run / name).write_bytes(content)
        return cls(run, temporary)

    def files(self) -> dict[str, bytes]:
        """Whatever predicting reads: the model, and the recipe and manifest that say how."""
        run = RunDirectory(self.run)
        found = [run.manifest_path, run.recipe, *sorted(run.require_model().rglob("*"))]
        return {file.relative_to(run.path).as_posix(): file.read_bytes() for file in found if file.is_file()}

    @cached_property
    def predictor(self) -> Predictor:
        return load(self.run)


def _new_folder(out: str | Path) -> Path:
    """A place in `out` that no other fit takes, also none that begins at the same moment elsewhere."""
    return Path(out).expanduser() / f"{datetime.now().strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}"


def _refuse_what_fit_says(keys: dict[str, Any]) -> None:
    """Texts, labels and their order come with `fit`: a key that says otherwise would make the answers wrong."""
    for key in keys:
        if f"{key.replace('__', '.')}.".startswith(tuple(f"{said}." for said in SAID_BY_FIT)):
            raise UserError(f"the key {key}", expected="what fit is given to say it", remedy="Leave it out")
