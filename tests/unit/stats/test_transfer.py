import numpy as np
import pytest

from glotune.errors import UserError
from glotune.stats.arrays import outcomes
from glotune.stats.transfer import transfer_gaps, transfer_matrix


def language(num_texts, accuracy, seed=0, loss=1.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=num_texts)
    right = np.arange(num_texts) < round(accuracy * num_texts)
    predicted = np.where(right, labels, (labels + 1) % 3)
    return outcomes(labels, np.eye(3)[predicted], np.full(num_texts, loss) + rng.normal(0, 0.1, num_texts))


LANGUAGES = {"en": language(500, 0.8), "bn": language(400, 0.5), "sw": language(300, 0.7), "hi": language(300, 0.72)}


def test_gaps_by_hand():
    transfer = transfer_gaps(LANGUAGES, ["en"], "accuracy", seed=0)
    assert transfer.source_score == pytest.approx(0.8)
    assert [(gap.language, gap.n) for gap in transfer.gaps] == [("bn", 400), ("sw", 300), ("hi", 300)]
    assert [gap.points for gap in transfer.gaps] == pytest.approx([30, 10, 8])
    assert transfer.average_points == pytest.approx(16)
    assert transfer.average_interval.low < 16 < transfer.average_interval.high
    assert (transfer.worst_language, transfer.worst_share, transfer.unit) == ("bn", 1.0, "points")
    for gap in transfer.gaps:
        assert gap.interval.low < gap.points < gap.interval.high
    # two independent shares: sd of the difference is sqrt(.8 * .2 / 500 + .5 * .5 / 400)
    width = transfer.gaps[0].interval.high - transfer.gaps[0].interval.low
    assert width == pytest.approx(2 * 1.96 * 100 * np.sqrt(0.16 / 500 + 0.25 / 400), rel=0.07)


def test_two_source_languages_are_averaged():
    transfer = transfer_gaps(LANGUAGES, ["en", "sw"], "accuracy", seed=0)
    assert transfer.source_score == pytest.approx(0.75)
    assert [gap.language for gap in transfer.gaps] == ["bn", "hi"]


def test_a_close_race_for_the_worst_is_not_called_clear():
    close = transfer_gaps({"en": LANGUAGES["en"], "sw": LANGUAGES["sw"], "hi": LANGUAGES["hi"]}, ["en"], seed=0)
    assert 0.4 < close.worst_share < 0.95


def test_a_higher_loss_is_a_positive_gap():
    transfer = transfer_gaps({"en": language(99, 1, loss=0.5), "bn": language(99, 1, loss=0.9)}, ["en"], "loss", seed=0)
    assert transfer.gaps[0].points == pytest.approx(0.4, abs=0.05)
    assert transfer.unit == "nats"


def test_only_the_source_language_has_no_gap():
    transfer = transfer_gaps({"en": LANGUAGES["en"]}, ["en"], seed=0)
    assert transfer.gaps == ()
    assert (transfer.average_points, transfer.worst_language) == (None, None)


def test_a_language_without_the_metric_is_named():
    two_classes = outcomes([0, 1, 0, 1], np.eye(3)[[0, 1, 0, 1]])
    transfer = transfer_gaps(LANGUAGES | {"yo": two_classes}, ["en"], "roc_auc", seed=0, resamples=100)
    assert transfer.undefined == ("yo",)
    with pytest.raises(UserError, match="undefined on the source language yo"):
        transfer_gaps(LANGUAGES | {"yo": two_classes}, ["yo"], "roc_auc", seed=0, resamples=100)


@pytest.mark.parametrize("sources", [["fr"], []])
def test_a_source_without_texts_is_refused(sources):
    with pytest.raises(UserError, match="texts of every source language"):
        transfer_gaps(LANGUAGES, sources, seed=0)


def test_the_matrix_of_a_study():
    matrix = transfer_matrix("macro_f1", {("en", "en"): 0.8, ("en", "bn"): 0.5, ("bn", "bn"): 0.7, ("en", "sw"): 0.6})
    assert (matrix.sources, matrix.targets) == (("bn", "en"), ("bn", "en", "sw"))
    assert matrix.score_ST == ((0.7, None, None), (0.5, 0.8, 0.6))
    assert matrix.average_to_others("en") == pytest.approx(0.55)
    assert matrix.average_to_others("bn") is None


def test_the_mean_of_the_others_leaves_out_all_languages_trained_on():
    scores = {("en", "en"): 0.9, ("en", "de"): 0.5, ("en", "es"): 0.6}
    scores |= {("de+en", "en"): 0.9, ("de+en", "de"): 0.9, ("de+en", "es"): 0.4}
    matrix = transfer_matrix("macro_f1", scores)
    assert matrix.average_to_others("de+en") == pytest.approx(0.4)
    assert matrix.average_to_others("en") == pytest.approx(0.55)
