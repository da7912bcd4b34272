import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glotune.evidence.collapse import collapsed_from_published, one_class_scores
from glotune.stats.arrays import outcomes
from glotune.stats.scores import score_outcomes


@settings(deadline=None)
@given(st.lists(st.integers(1, 60), min_size=2, max_size=6), st.data())
def test_one_class_scores_are_those_of_a_model_that_answers_one_class(support, data):
    answer = data.draw(st.integers(0, len(support) - 1))
    labels = np.repeat(np.arange(len(support)), support)
    scores = score_outcomes(outcomes(labels, np.eye(len(support))[np.full(len(labels), answer)]))
    expected = one_class_scores(support[answer] / sum(support), len(support))
    assert scores.accuracy == pytest.approx(expected.accuracy)
    assert scores.macro_f1 == pytest.approx(expected.macro_f1)
    assert scores.weighted_f1 == pytest.approx(expected.weighted_f1)
    figures = [round(scores.macro_f1, 4), round(scores.weighted_f1, 4)]
    assert collapsed_from_published(round(scores.accuracy, 4), figures, len(support))
