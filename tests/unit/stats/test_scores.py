import json

import numpy as np
import pytest

from glotune.errors import UserError
from glotune.recipe.kinds import KINDS
from glotune.stats.arrays import outcomes
from glotune.stats.calibration import reliability
from glotune.stats.curves import precision_recall_curves, roc_curves
from glotune.stats.label_sets import label_sets
from glotune.stats.ratings import ratings
from glotune.stats.scores import score_outcomes
from glotune.stats.traits import TRAITS, trait

LABELS = [0, 1, 1, 0]
PROBABILITIES = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]]


def test_scores_by_hand():
    scores = score_outcomes(outcomes(LABELS, PROBABILITIES, [0.1, 0.2, 0.9, 0.4]))
    assert (scores.n, scores.accuracy, scores.loss) == (4, 0.75, pytest.approx(0.4))
    assert scores.per_class[1].recall == 0.5
    assert scores.per_class[1].precision == 1.0
    assert scores.confusion_CC == ((2, 0), (1, 1))
    assert scores.roc_auc == 1.0


def test_every_value_is_plain_json_and_has_a_trait():
    scores = score_outcomes(outcomes(LABELS, PROBABILITIES))
    written = json.loads(json.dumps(scores.values(), allow_nan=False))
    assert written["loss"] is None
    assert written["accuracy"] == 0.75
    assert json.loads(json.dumps(scores.class_values(["no", "yes"]), allow_nan=False))["no"]["support"] == 2
    assert set(scores.values()) <= set(TRAITS)
    assert scores.class_values(["no", "yes"])["yes"]["recall"] == 0.5


def test_class_names_must_match_the_classes():
    with pytest.raises(UserError, match="1 label names for 2 classes"):
        score_outcomes(outcomes(LABELS, PROBABILITIES)).class_values(["no"])


def test_a_tie_goes_to_the_lower_label():
    assert score_outcomes(outcomes([0], [[0.5, 0.5]])).accuracy == 1.0


def test_one_class_only_has_no_auc_and_no_mcc():
    scores = score_outcomes(outcomes([1, 1], [[0.1, 0.9], [0.2, 0.8]]))
    assert (scores.roc_auc, scores.mcc, scores.macro_f1) == (None, 0.0, 0.5)
    assert roc_curves(outcomes([1, 1], [[0.1, 0.9], [0.2, 0.8]]).rankings()) == (None, None)


def test_an_absent_class_has_no_curve():
    assert precision_recall_curves(outcomes([1], [[0.1, 0.9]]).rankings())[0] is None


@pytest.mark.parametrize(
    ("labels", "probabilities", "losses", "message"),
    [
        ([0, 1], [[0.5, 0.5]], None, "one row for each label"),
        ([], np.zeros((0, 2)), None, "at least one text"),
        ([0], [[1.0]], None, "two classes"),
        ([2], [[0.5, 0.5]], None, "label 2"),
        ([-1], [[0.5, 0.5]], None, "label -1"),
        ([0], [[2.0, -3.0]], None, "softmax"),
        ([0], [[0.5, 0.5]], [1.0, 2.0], "one loss for each text"),
        ([0], [[np.nan, 0.5]], None, "diverged"),
        ([0], [[0.5, 0.5]], [np.inf], "diverged"),
    ],
)
def test_wrong_arrays_are_named(labels, probabilities, losses, message):
    with pytest.raises(UserError, match=message):
        score_outcomes(outcomes(labels, probabilities, losses))


def test_non_finite_outcomes_can_be_gathered_for_the_verdict():
    assert not outcomes([0], [[np.nan, np.nan]]).is_finite


def test_reliability_bins_hold_every_text_once():
    bars = reliability(outcomes(LABELS, PROBABILITIES), num_bins=10)
    assert [bar.n for bar in bars] == [0, 0, 0, 0, 0, 1, 1, 1, 1, 0]
    assert bars[5].accuracy == 0.0
    assert bars[5].confidence == pytest.approx(0.6)
    assert bars[0].accuracy is None
    assert (bars[9].low, bars[9].high) == (0.9, 1.0)


def test_an_unknown_metric_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'macro_f1'"):
        trait("macro-f1")
    assert trait("loss").direction == "lower"
    assert not trait("peak_memory_bytes").higher_is_better
    assert trait("weighted_f1").average == "weighted"


def test_every_kind_of_task_knows_all_its_scores():
    stated_BC, votes_BC = [[0.7, 0.3], [0.4, 0.6], [0.2, 0.8]], np.array([[2, 1], [0, 3], [1, 2]])
    given = {
        "single_label": score_outcomes(outcomes([0, 1, 1], stated_BC, [1, 1, 1], votes_BC=votes_BC)),
        "multi_label": label_sets([[1, 0]], [[0.7, 0.3]], [[1, 0]], [0.1]),
        "score": ratings([[1.0], [2.0]], [[1.5], [2.0]], [0.1, 0.2], levels=(1.0, 2.0)),
    }
    for name, kind in KINDS.items():
        assert set(kind.scored) == set(given[name].values())
        assert set(kind.told) | set(kind.counted) | set(kind.choosable) <= set(kind.scored)


def test_a_label_that_there_is_not_is_refused():
    with pytest.raises(UserError, match="a label from 0 to 1"):
        label_sets([[1, 0]], [[0.7, 0.3]], [[1, 0]]).statistic("f1[7]")
