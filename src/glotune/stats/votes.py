"""What annotators' votes say of a model beyond the label with most of them, one number for each text.

Cross-entropy against the distribution of votes is the loss of these texts. Beside it stand the Jensen-Shannon distance
of both distributions, and how often the annotators agree with the model's answer. The latter has a ceiling: annotators
do not agree with one another. It is measured by leaving one out, as human performance is on SQuAD (Rajpurkar et al.
2016, arXiv:1606.05250, section 5): how often an annotator votes as most of the others of the same text did.

Shape letters: B texts, C classes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from glotune.stats.arrays import Outcomes
from glotune.stats.confusion import FloatArray

FEWEST_VOTES = 2
"""Of a text of which one annotator can be left out."""


def js_distances(outcomes: Outcomes) -> FloatArray:
    """[B] Jensen-Shannon distance of stated probabilities and shares of votes, 0 to 1: the root of the divergence in
    bits (Endres and Schindelin 2003), as ``scipy.spatial.distance.jensenshannon(..., base=2)``."""
    from scipy.special import rel_entr

    stated_BC, shares_BC = outcomes.probabilities_BC, outcomes.shares_BC
    middle_BC = (stated_BC + shares_BC) / 2.0
    bits_B = (rel_entr(stated_BC, middle_BC) + rel_entr(shares_BC, middle_BC)).sum(axis=1) / (2.0 * np.log(2.0))
    return np.asarray(np.sqrt(np.clip(bits_B, 0.0, 1.0)), dtype=np.float64)


def agreements(outcomes: Outcomes) -> FloatArray:
    """[B] the share of a text's annotators who voted for the class that was answered."""
    found: FloatArray = outcomes.shares_BC[np.arange(outcomes.num_texts), outcomes.prediction_B]
    return found


def ceilings(outcomes: Outcomes) -> FloatArray:
    """[B] the share of a text's annotators who voted as most of its others did; NaN where that can't be asked.

    Where several classes have most of the others' votes, the answer is one of them at random. Texts with fewer than two
    votes, or with shares in the place of whole votes, have nobody to leave out.
    """
    assert outcomes.votes_BC is not None
    votes_BC = outcomes.votes_BC
    total_B = votes_BC.sum(axis=1)
    found_B = np.zeros(outcomes.num_texts)
    for label in range(outcomes.num_labels):
        others_BC = votes_BC.copy()
        others_BC[:, label] -= 1.0
        most_B = others_BC.max(axis=1)
        hit_B = (others_BC[:, label] == most_B) / (others_BC == most_B[:, None]).sum(axis=1)
        found_B += np.where(votes_BC[:, label] > 0, votes_BC[:, label] * hit_B, 0.0)
    is_whole_B = (votes_BC == np.round(votes_BC)).all(axis=1) & (total_B >= FEWEST_VOTES)
    return np.where(is_whole_B, found_B / total_B, np.nan)


VOTE_METRICS: dict[str, Callable[[Outcomes], FloatArray]] = {
    "js_distance": js_distances,
    "agreement": agreements,
    "agreement_ceiling": ceilings,
}
"""Metric -> of each text what the metric is the mean of, over those of which it is known."""
