import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from glotune.stats.arrays import outcomes
from glotune.stats.confusion import COUNT_METRICS, accuracy, confusion_matrix
from glotune.stats.curves import roc_auc
from glotune.stats.scores import score_outcomes

counts = st.integers(2, 5).flatmap(lambda size: arrays(np.int64, (size, size), elements=st.integers(0, 40)))


@settings(deadline=None)
@given(counts)
def test_scores_stay_in_their_range(confusion):
    for name, metric in COUNT_METRICS.items():
        value = float(metric(confusion))
        assert (-1.0 - 1e-9 if name == "mcc" else 0.0) <= value <= 1.0 + 1e-9, name


@settings(deadline=None)
@given(counts, st.randoms(use_true_random=False))
def test_scores_don_t_depend_on_the_order_of_the_classes(confusion, random):
    order = list(range(len(confusion)))
    random.shuffle(order)
    for name, metric in COUNT_METRICS.items():
        assert np.isclose(metric(confusion), metric(confusion[np.ix_(order, order)])), name


@settings(deadline=None)
@given(counts)
def test_a_stack_of_matrices_is_scored_like_each_alone(confusion):
    stack = np.stack([confusion, confusion.T])
    for name, metric in COUNT_METRICS.items():
        assert np.allclose(metric(stack), [metric(confusion), metric(confusion.T)]), name


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1))
def test_a_confusion_matrix_counts_every_text_once(pairs):
    labels, predictions = np.array(pairs).T
    confusion = confusion_matrix(labels, predictions, 4)
    assert confusion.sum() == len(pairs)
    assert np.isclose(accuracy(confusion), np.mean(labels == predictions))


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=2))
def test_auc_is_the_share_of_ordered_pairs(texts):
    positive = np.array([flag for flag, _ in texts])
    score = np.array([value for _, value in texts], dtype=float)
    pairs = [1.0 if high > low else 0.5 if high == low else 0.0 for high in score[positive] for low in score[~positive]]
    ours = roc_auc(positive, score)
    assert (ours is None) if not pairs else np.isclose(ours, np.mean(pairs))


@settings(deadline=None)
@given(st.integers(2, 4), st.integers(1, 30), st.integers(0, 1000))
def test_a_perfect_model_scores_one_on_the_classes_that_are_there(num_labels, num_texts, seed):
    labels = np.random.default_rng(seed).integers(num_labels, size=num_texts)
    scores = score_outcomes(outcomes(labels, np.eye(num_labels)[labels]))
    assert scores.accuracy == scores.weighted_f1 == 1.0
    assert scores.ece == 0.0
    assert np.isclose(scores.macro_f1, 1 - len(scores.absent_labels) / num_labels)
