"""scikit-learn's own checks of an estimator, as far as they make sense for one that reads texts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from sklearn.utils import Tags
from sklearn.utils.estimator_checks import estimator_checks_generator
from sklearn.utils.validation import check_is_fitted, validate_data

import glotune
from encoders import make_encoder
from glotune.data.encoding import Text

NUMBERS = "asks what is done with a matrix of numbers; texts are checked by tests of their own"
NOT_OF_TEXTS = {
    "check_readonly_memmap_input": NUMBERS,
    "check_n_features_in_after_fitting": NUMBERS,
    "check_n_features_in": NUMBERS,
    "check_positive_only_tag_during_fit": NUMBERS,
    "check_estimators_dtypes": NUMBERS,
    "check_complex_data": NUMBERS,
    "check_dtype_object": NUMBERS,
    "check_estimators_empty_data_messages": NUMBERS,
    "check_estimators_nan_inf": NUMBERS,
    "check_estimator_sparse_tag": NUMBERS,
    "check_estimator_sparse_array": NUMBERS,
    "check_estimator_sparse_matrix": NUMBERS,
    "check_array_api_input": NUMBERS,
    "check_f_contiguous_array_estimator": NUMBERS,
    "check_estimators_partial_fit_n_features": NUMBERS,
    "check_fit2d_1feature": NUMBERS,
    "check_fit1d": NUMBERS,
    "check_fit2d_predict1d": NUMBERS,
    "check_classifiers_train": "wants wrong numbers of columns refused; answers and their shapes are tested here",
    "check_sample_weight_equivalence_on_dense_data": (
        "rows are shuffled into batches, and a tenth of them validates: a repeated row meets other neighbours. That "
        "a weight of n is n such rows within a batch is a test of the loss, that 0 is an absent row one of fit"
    ),
}
"""Name of a check -> why it is not run. Whatever scikit-learn adds is run until it stands here."""


class OnNumbers(glotune.Classifier):
    """The classifier over words that are made of numbers, which is all that these checks bring."""

    def __init__(
        self,
        encoder: str = "glotune-nano",
        *,
        train__epochs: int = 1,
        train__batch_size: int = 64,
        train__precision: str = "fp32",
    ) -> None:
        super().__init__(
            encoder, train__epochs=train__epochs, train__batch_size=train__batch_size, train__precision=train__precision
        )

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        return {"encoder": self.encoder, **self._keys()}

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> OnNumbers:
        super().fit(words(validate_data(self, X)), y, sample_weight)
        return self

    def predict(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "run_")
        return super().predict(words(validate_data(self, X, reset=False)))

    def predict_proba(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "run_")
        return super().predict_proba(words(validate_data(self, X, reset=False)))

    def decision_function(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "run_")
        return super().decision_function(words(validate_data(self, X, reset=False)))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.one_d_array = True, False
        tags.classifier_tags.poor_score = True  # a random encoder, trained for one epoch
        return tags


def words(X: np.ndarray) -> list[Text]:
    return [" ".join(f"{chr(97 + place % 26)}{value:.2f}" for place, value in enumerate(row)) for row in X]


def name_of(check: Callable[..., None] | partial[None]) -> str:
    return (check.func if isinstance(check, partial) else check).__name__


CHECKS = {
    name_of(check): check  # those that come twice differ in how the numbers lie in memory
    for _, check in reversed(list(estimator_checks_generator(OnNumbers(), legacy=True)))
    if name_of(check) not in NOT_OF_TEXTS
}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    texts = [" ".join(f"{letter}{number}.{number}{number}" for letter in "abcde" for number in range(10))]
    return str(make_encoder(tmp_path_factory.mktemp("encoder") / "tiny", texts=texts, layers=1, hidden=16))


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_check(name: str, encoder: str) -> None:
    CHECKS[name](OnNumbers(encoder))


def test_the_classifier_itself_has_nothing_but_parameters() -> None:
    for name in ("check_no_attributes_set_in_init", "check_get_params_invariance", "check_estimator_repr"):
        CHECKS[name](glotune.Classifier())
