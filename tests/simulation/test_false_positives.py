"""Two models that are equally good must seldom be told apart."""

import numpy as np

from glotune.stats.arrays import outcomes
from glotune.stats.bootstrap import paired_difference
from glotune.stats.hypothesis_tests import bootstrap_test, mcnemar_exact, permutation_test

REPEATS = 400


def test_the_tests_hold_their_level():
    rng = np.random.default_rng(0)
    rejected = {"mcnemar": 0, "permutation": 0, "bootstrap": 0}
    for repeat in range(REPEATS):
        labels = rng.choice(3, p=[0.6, 0.3, 0.1], size=120)
        first, second = (
            outcomes(labels, np.eye(3)[np.where(rng.random(120) < 0.75, labels, rng.integers(3, size=120))])
            for _ in range(2)
        )
        rejected["mcnemar"] += mcnemar_exact(first, second) < 0.05
        rejected["permutation"] += (
            permutation_test("macro_f1", {"en": first}, {"en": second}, seed=repeat, permutations=400) < 0.05
        )
        difference = paired_difference("macro_f1", first, second, seed=repeat, resamples=400)
        rejected["bootstrap"] += bootstrap_test(difference) < 0.05
    # 0.05 plus three standard errors of a share of 400
    assert {name: count for name, count in rejected.items() if count / REPEATS > 0.083} == {}
