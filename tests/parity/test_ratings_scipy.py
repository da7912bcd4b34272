"""Scores of scores against SciPy's and scikit-learn's."""

import numpy as np
import pytest
from scipy import stats as scipy_stats
from sklearn import metrics as sk

from glotune.stats.evaluation import evaluation_of
from glotune.stats.ratings import ratings


def made_up(num_texts=120, seed=0, blank=0.0, shift=0.0, levels=()):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(num_texts, 2)) * [1.0, 20.0] + shift
    truth = np.round(truth).clip(0, 3) if len(levels) else truth
    answers = truth + rng.normal(size=truth.shape) * [1.0, 20.0]
    return ratings(np.where(rng.random(truth.shape) < blank, np.nan, truth), answers, levels=levels)


@pytest.mark.parametrize("shift", [0.0, 1e6])
@pytest.mark.parametrize("blank", [0.0, 0.3])
def test_correlations_and_errors(blank, shift):
    found = made_up(blank=blank, shift=shift)
    told, parts = found.values(), {"pearson": [], "spearman": [], "rmse": [], "mae": []}
    for place in range(2):
        known = ~np.isnan(found.truth_BL[:, place])
        truth, said = found.truth_BL[known, place], found.answer_BL[known, place]
        parts["pearson"].append(scipy_stats.pearsonr(truth, said).statistic)
        parts["spearman"].append(scipy_stats.spearmanr(truth, said).statistic)
        parts["rmse"].append(sk.root_mean_squared_error(truth, said))
        parts["mae"].append(sk.mean_absolute_error(truth, said))
        one = found.by_label(["a", "b"])[("a", "b")[place]]
        assert {name: one[name] for name in parts} == pytest.approx({name: parts[name][-1] for name in parts})
    assert {name: told[name] for name in parts} == pytest.approx({name: np.mean(parts[name]) for name in parts})
    assert told["kappa"] is None


def test_quadratic_kappa_of_levels():
    levels = (0, 1, 2, 3)
    found = made_up(levels=levels, shift=1.5, seed=3)
    expected = [
        sk.cohen_kappa_score(
            found.truth_BL[:, place].astype(int),
            np.clip(np.round(found.answer_BL[:, place]), 0, 3).astype(int),
            weights="quadratic",
            labels=levels,
        )
        for place in range(2)
    ]
    assert found.values()["kappa"] == pytest.approx(np.mean(expected))


def test_weighted_forms_are_those_of_repeated_texts():
    found = made_up(num_texts=40, levels=(0, 1, 2, 3), shift=1.0)
    weights = np.random.default_rng(1).integers(0, 4, size=40)
    again = ratings(
        np.repeat(found.truth_BL, weights, axis=0), np.repeat(found.answer_BL, weights, axis=0), levels=found.levels
    )
    for name in ("pearson", "spearman", "kappa", "rmse", "mae"):
        assert found.statistic(name)(weights[None].astype(float))[0] == pytest.approx(again.values()[name]), name


def test_agreement_is_told_of_levels_alone():
    told = evaluation_of(made_up(num_texts=30), "test", "en", ["a", "b"])
    assert set(told.intervals) == {"pearson", "spearman", "rmse", "mae"}
    assert told.scores["kappa"] is None
    levels = evaluation_of(made_up(num_texts=30, levels=(0, 1, 2, 3), shift=1.5), "test", "en", ["a", "b"])
    assert "kappa" in levels.intervals


def test_no_correlation_without_a_spread():
    found = ratings([[1.0], [2.0], [3.0]], [[5.0], [5.0], [5.0]])
    assert found.values()["pearson"] is None
    assert found.values()["spearman"] is None
    assert found.values()["mae"] == pytest.approx(3.0)
