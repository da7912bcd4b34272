"""What the claims of a study get wrong, case by case: the rates of docs/how/claims.md.

``python -m tests.simulation.cases`` runs every case at full size and prints the table's last column; the suite runs the
same cases with fewer repetitions (test_cases.py).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import norm

from glotune.evidence.claims import Claim, Variant, answer_claims
from glotune.stats.arrays import outcomes
from glotune.stats.bootstrap import score_intervals
from glotune.stats.contrasts import contrast
from glotune.stats.count_bootstrap import resample_counts
from glotune.stats.seed_prior import seed_prior
from glotune.stats.selection import shrunken_lead


def answered(labels, right, clusters=None):
    """A two-class model that is right where said."""
    return outcomes(labels, np.eye(2)[np.where(right, labels, 1 - labels)], cluster_B=clusters)


def equal_variants(rng, texts, languages, copies, seeds=3):
    """Two variants of equal skill whose texts are hard in their own ways, the same in every language and copy."""
    labels = rng.integers(2, size=texts)
    ease = rng.normal(size=texts)
    clusters = np.tile(np.arange(texts), copies)
    variants = []
    for name in "ab":
        own, runs = rng.normal(0, 0.8, texts), []
        for _ in range(seeds):
            skill = 0.8 + ease + own + rng.normal(0, 0.03)
            found = {}
            for language in range(languages):
                right = skill + rng.normal(0, 0.5, texts) > 0
                found[str(language)] = answered(np.tile(labels, copies), np.tile(right, copies), clusters)
            runs.append(found)
        variants.append(Variant(name, outcomes_S=runs))
    return variants


def support(repeats, make, claim=None, seed=0):
    """How often a claim that is false, or false by a hair, is supported."""
    rng, supported = np.random.default_rng(seed), 0
    asked = claim or Claim("better", "superior", "accuracy")
    for _ in range(repeats):
        supported += answer_claims([(asked, make(rng))])[0].answer == "supported"
    return supported / repeats


def copies_of_texts(repeats):
    return support(repeats, lambda rng: equal_variants(rng, 150, 1, 4))


def eight_parallel_languages(repeats):
    return support(repeats, lambda rng: equal_variants(rng, 150, 8, 1))


def sixteen_parallel_languages(repeats):
    return support(repeats, lambda rng: equal_variants(rng, 150, 16, 1))


def with_deficit(rng, texts, share, deficit, seeds=3):
    """A reference that is always right, and a candidate that is not: `deficit` worse on the rarer class of `share`."""
    labels = (np.arange(texts) < share * texts).astype(int)
    missed = (rng.random(texts) < deficit) & ((labels == 1) if share < 0.5 else True)
    candidate = [{"en": answered(labels, ~missed)} for _ in range(seeds)]
    return Variant("a", outcomes_S=candidate), Variant("b", outcomes_S=[{"en": answered(labels, labels >= 0)}] * seeds)


def nearly_all_right(repeats):
    claim = Claim("at most 2 points worse", "non_inferior", "accuracy", margin=0.02)
    return support(repeats, lambda rng: with_deficit(rng, 30, 0.5, 0.02), claim)


def minority_nearly_all_right(repeats):
    claim = Claim("at most 5 points worse", "non_inferior", "minority_recall", margin=0.05)
    return support(repeats, lambda rng: with_deficit(rng, 180, 0.1, 0.05), claim)


def unstable_variant(repeats, texts, drop=0.06):
    """Every fifth seed of one variant is bad; both are equally good on average. (Supported for the unstable one.)"""

    def make(rng):
        labels, ease = rng.integers(2, size=texts), rng.normal(size=texts)
        variants = []
        for unstable in (True, False):
            runs = []
            for _ in range(3):
                accuracy = 0.8 + (0.2 * drop - drop * (rng.random() < 0.2) if unstable else 0.0) + rng.normal(0, 0.003)
                right = ease + rng.normal(0, 0.5, texts) < norm.ppf(accuracy) * np.sqrt(1.25)
                runs.append({"en": answered(labels, right)})
            variants.append(Variant("ab"[unstable], outcomes_S=runs))
        return variants

    return support(repeats, make)


def recall_of_a_class(repeats, texts=50):
    """Coverage of the 95 % interval for the recall (0.9) of a class of a fifth of the texts; the other errs more."""
    rng, hits, counted = np.random.default_rng(1), 0, 0
    joint = np.array([[0.56, 0.24], [0.02, 0.18]])
    for repeat in range(repeats):
        confusion = rng.multinomial(texts, joint.ravel()).reshape(2, 2)
        if confusion[1].sum():
            interval = resample_counts(confusion, ["recall[1]"], seed=(repeat,), resamples=500)["recall[1]"].interval()
            hits, counted = hits + (interval.low <= 0.9 <= interval.high), counted + 1
    return hits / counted


def auc_near_one(repeats, texts=30):
    """Coverage of the 95 % interval for an AUC of 0.993 on 30 texts."""
    rng, hits, counted = np.random.default_rng(2), 0, 0
    truth = norm.cdf(3.5 / np.sqrt(2))
    for repeat in range(repeats):
        labels = rng.integers(2, size=texts)
        positive = 1 / (1 + np.exp(-(rng.normal(size=texts) + 3.5 * labels - 1.75)))
        made = outcomes(labels, np.column_stack([1 - positive, positive]))
        interval = score_intervals(made, ("roc_auc",), seed=repeat, resamples=300).get("roc_auc")
        if interval is not None:
            hits, counted = hits + (interval.low <= truth <= interval.high), counted + 1
    return hits / counted


def borrowed_spread(repeats, effect, spreads, borrow=True, text_spread=0.3):
    """How often the first of several variants with three seeds is found better than the second."""
    rng, found = np.random.default_rng(3), 0
    for _ in range(repeats):
        values = rng.normal(size=(len(spreads), 3)) * np.asarray(spreads)[:, None]
        values[0] += effect + rng.normal(0, text_spread)
        first = contrast(
            values[:2].mean(axis=1), values[:2].var(axis=1, ddof=1), [3, 3], [1, -1], text_variance=text_spread**2,
            prior=seed_prior(values.tolist()) if borrow else None,
        )  # fmt: skip
        found += bool(first.estimate > first.half_width(0.95))
    return found / repeats


def lead_of_the_best(repeats, variants=8):
    """(measured, shrunken) lead over the others' mean of the best of equal variants, seeds scattering by one."""
    rng, leads = np.random.default_rng(4), []
    for repeat in range(repeats):
        pulls = rng.normal(0, 0.5 / 20, size=(variants, 400))
        scores = rng.normal(size=(variants, 3)) + pulls.sum(axis=1, keepdims=True)
        pulls -= pulls.mean(axis=1, keepdims=True)
        leads.append(shrunken_lead(scores.tolist(), pulls, seed=repeat, resamples=200))
    measured, shrunken = np.mean(leads, axis=0)
    return float(measured), float(shrunken)


CASES: dict[str, Callable[[], object]] = {
    "copies_of_texts": lambda: copies_of_texts(2000),
    "eight_parallel_languages": lambda: eight_parallel_languages(2000),
    "sixteen_parallel_languages": lambda: sixteen_parallel_languages(1000),
    "nearly_all_right": lambda: nearly_all_right(2000),
    "minority_nearly_all_right": lambda: minority_nearly_all_right(2000),
    "recall_of_a_class": lambda: recall_of_a_class(2000),
    "auc_near_one": lambda: auc_near_one(1000),
    "unstable_variant, 870 texts": lambda: unstable_variant(2000, 870),
    "unstable_variant, 3000 texts": lambda: unstable_variant(2000, 3000),
    "level, each for itself": lambda: borrowed_spread(5000, 0.0, [1] * 6, borrow=False),
    "level, borrowed": lambda: borrowed_spread(5000, 0.0, [1] * 6),
    "power at 2, each for itself": lambda: borrowed_spread(5000, 2.0, [1] * 6, borrow=False),
    "power at 2, borrowed": lambda: borrowed_spread(5000, 2.0, [1] * 6),
    "noisy variant (3 times), borrowed": lambda: borrowed_spread(5000, 0.0, [3, 1, 1, 1, 1, 1]),
    "lead of the best of 8": lambda: lead_of_the_best(1000),
}

if __name__ == "__main__":
    for name, case in CASES.items():
        print(f"{name}: {case()}", flush=True)
