import numpy as np
import pytest

from glotune.stats.arrays import outcomes
from glotune.stats.bootstrap import resample_together, score_intervals
from glotune.stats.clusters import TextKeys, common_numbers, find_clusters, sharing_clusters
from glotune.stats.transfer import transfer_gaps


def keys(labels, first_row=1, **known):
    return TextKeys(first_row + np.arange(len(labels)), np.asarray(labels), **known)


def test_files_with_the_same_rows_and_labels_are_parallel():
    labels = [0, 1, 1, 0, 2]
    found = find_clusters(
        {"en": keys(labels, 741), "bn": keys(labels), "de": keys(labels), "fr": keys([1, 1, 0, 0, 2])}
    )
    assert found.parallel == (("en", "bn", "de"),)
    assert not found.by_key
    np.testing.assert_array_equal(found.cluster_B["en"], found.cluster_B["de"])
    assert not set(found.cluster_B["en"]) & set(found.cluster_B["fr"])


@pytest.mark.parametrize("labels", [[0, 1, 2] * 20, [0] * 20 + [1] * 20 + [2] * 20])
def test_labels_that_follow_a_rule_say_nothing_about_texts(labels):
    found = find_clusters({"en": keys(labels), "bn": keys(labels)})
    assert found.parallel == (("en", "bn"),), "counted together all the same"
    assert found.by_accident
    shuffled = np.random.default_rng(0).permutation(labels)
    assert not find_clusters({"en": keys(shuffled), "bn": keys(shuffled)}).by_accident


def test_scores_that_occur_once_follow_no_rule():
    scores = np.arange(60).reshape(20, 3)
    found = find_clusters({"en": keys(scores), "bn": keys(scores)})
    assert found.parallel
    assert not found.by_accident


def test_a_named_column_decides_alone():
    labels = [0, 1, 1]
    one, other = keys(labels, key_B=np.array([7, 8, 9])), keys(labels, key_B=np.array([9, 8, 5]))
    found = find_clusters({"en": one, "bn": other})
    assert found.parallel == (("en", "bn"),)
    assert found.by_key
    assert found.cluster_B["en"][2] == found.cluster_B["bn"][0]
    assert found.cluster_B["en"][0] != found.cluster_B["bn"][0]


def test_copies_belong_together_across_languages_and_places():
    labels = [0, 1, 1, 0]
    en = keys(labels, text_B=np.array([1, 2, 1, 4]))
    bn = keys(labels, text_B=np.array([11, 12, 13, 4]))
    found = find_clusters({"en": en, "bn": bn})
    # Rows 1 and 3 of English are one text, so their translations belong to it too.
    assert found.repeated == 2
    assert found.cluster_B["bn"][0] == found.cluster_B["bn"][2] == found.cluster_B["en"][0]
    assert len(set(found.cluster_B["en"])) == 3


def test_texts_of_their_own_have_no_clusters():
    found = find_clusters({"en": keys([0, 1], text_B=np.array([1, 2])), "bn": keys([1, 0], text_B=np.array([3, 4]))})
    assert found.cluster_B == {}
    assert found.parallel == ()
    assert find_clusters({}).cluster_B == {}
    assert find_clusters({"en": keys([])}).cluster_B == {}


def test_numbers_are_shared_only_where_clusters_are():
    numbers, total = common_numbers([np.array([5, 9]), None, np.array([9, 2])], [2, 3, 2])
    assert total == 6
    assert numbers[0][1] == numbers[2][0]
    assert sharing_clusters(numbers, total) == [[0, 2], [1]]


def parallel_answers(rng, size, languages, shared):
    """Models that are right on about 7 of 10 texts; `shared` of what makes a text hard is the same in all languages."""
    labels, hard_B = rng.integers(2, size=size), rng.normal(size=size)
    found = {}
    for language in languages:
        ease = np.sqrt(shared) * hard_B + np.sqrt(1 - shared) * rng.normal(size=size)
        answers = np.eye(2)[np.where(ease > -0.52, labels, 1 - labels)]
        found[language] = outcomes(labels, answers, cluster_B=np.arange(size))
    return found


def unclustered(answered):
    return {name: outcomes(each.label_B, each.probabilities_BC) for name, each in answered.items()}


def test_a_mean_over_translations_is_less_certain_than_over_as_many_texts():
    answered = parallel_answers(np.random.default_rng(0), 200, "abcdefgh", 0.8)
    widths = []
    for each in (answered, unclustered(answered)):
        interval = resample_together(list(each.values()), "accuracy", seed=0).weighted([1 / 8] * 8).interval()
        widths.append(interval.high - interval.low)
    assert widths[0] > 1.8 * widths[1]


def test_a_gap_between_translations_is_paired():
    answered = parallel_answers(np.random.default_rng(1), 200, ("en", "bn"), 0.8)
    paired, apart = (transfer_gaps(each, ["en"], "accuracy", seed=0) for each in (answered, unclustered(answered)))
    assert paired.gaps[0].points == pytest.approx(apart.gaps[0].points)
    widths = [each.gaps[0].interval.high - each.gaps[0].interval.low for each in (paired, apart)]
    assert widths[0] < 0.8 * widths[1]


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "loss"])
def test_four_copies_are_as_certain_as_one(metric):
    rng = np.random.default_rng(2)
    labels = rng.integers(2, size=150)
    chance_B = np.clip(rng.normal(0.3, 0.25, 150), 0.02, 0.98)
    wrong = np.stack([chance_B, 1 - chance_B], 1)[np.arange(150)]
    answers = np.where(labels[:, None] == 0, 1 - wrong, wrong)[:, ::1]
    loss_B = -np.log(answers[np.arange(150), labels])
    once = outcomes(labels, answers, loss_B)
    copies = outcomes(np.tile(labels, 4), np.tile(answers, (4, 1)), np.tile(loss_B, 4), np.tile(np.arange(150), 4))
    one, four = (score_intervals(each, (metric,), seed=0)[metric] for each in (once, copies))
    assert four.low == pytest.approx(one.low, abs=0.02)
    assert four.high == pytest.approx(one.high, abs=0.02)
