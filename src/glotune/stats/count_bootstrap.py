"""Bootstrap of scores that need only counts, by resampling the counts.

Resampling n texts with replacement gives multinomial counts over the cells (true label, predicted label), so 2,000
resamples of any number of texts cost 2,000 draws over the cells that are not empty. It is the same where several
lists of answers are drawn together, because two models answered the same texts or because the texts of several
languages are translations of one another: what is drawn then is a cluster of texts, and clusters that were answered
alike in every list are one kind.

Shape letters: R resamples, K kinds of clusters, P parts (lists of answers that are drawn together), Q kinds of texts
with prior mass, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from glotune.stats.arrays import Outcomes
from glotune.stats.clusters import common_numbers
from glotune.stats.confusion import FloatArray, IntArray, class_of, count_metric
from glotune.stats.resampling import FEW, FEW_OF_CLASS, RESAMPLES, Joint, Resampled

_SIGNATURE_SEED = 20_000


@dataclass(frozen=True, eq=False)
class ClusterKinds:
    """Clusters of texts, counted by what was answered in them.

    Attributes:
        counts_K: clusters of each kind.
        cells: for each part [K, C * C], the texts of such a cluster by (true label, predicted label).
    """

    counts_K: FloatArray
    cells: tuple[FloatArray, ...]

    @property
    def clusters(self) -> int:
        """How many there are."""
        return int(self.counts_K.sum())


@dataclass(frozen=True, eq=False)
class Unseen:
    """What few errors can't rule out: kinds of texts that have prior mass.

    Attributes:
        mass_Q: of each kind.
        cells: part -> [Q, C * C]; several parts where one text stands in all of them.
    """

    mass_Q: FloatArray
    cells: Mapping[int, FloatArray]


def resample_counts(
    confusion_CC: IntArray, metrics: Sequence[str], *, seed: Sequence[int], resamples: int = RESAMPLES
) -> dict[str, Resampled]:
    """Bootstrap metrics of one confusion matrix, each text by itself.

    Args:
        confusion_CC: counts, rows the truth.
        metrics: names of `glotune.stats.confusion.COUNT_METRICS`.
        seed: words that seed the draws, e.g. ``(0, language index)``.
        resamples: R.
    """
    kinds = _kinds_of_texts(confusion_CC)
    found = resample_kinds(kinds, {name: unseen_of_one(kinds, name) for name in metrics}, seed, resamples)
    return {name: joint.weighted([1.0]) for name, joint in found.items()}


def _kinds_of_texts(confusion_CC: IntArray) -> ClusterKinds:
    """Each text a cluster: those of one cell are one kind."""
    flat = confusion_CC.astype(np.float64).ravel()
    filled = np.flatnonzero(flat)
    cells_KM = np.zeros((len(filled), len(flat)))
    cells_KM[np.arange(len(filled)), filled] = 1.0
    return ClusterKinds(flat[filled], (cells_KM,))


def kinds_of(parts: Sequence[Outcomes], clusters: Sequence[IntArray | None]) -> ClusterKinds:
    """Count the clusters of several lists of answers by kind.

    Args:
        parts: P lists of answers on the same classes.
        clusters: of each; equal numbers in different lists are one cluster, None stands for texts of their own.
    """
    if len(parts) == 1 and clusters[0] is None:
        return _kinds_of_texts(parts[0].confusion_CC)
    numbers, num_clusters = common_numbers(clusters, [part.num_texts for part in parts])
    num_cells = parts[0].num_labels ** 2
    cell_of = [part.label_B * part.num_labels + part.prediction_B for part in parts]
    # Clusters of one kind hold the same texts cell by cell: sums of random 64-bit words, one a cell, tell them apart.
    words = np.random.default_rng(_SIGNATURE_SEED).integers(
        2**64, size=(len(parts), num_cells), dtype=np.uint64, endpoint=False
    )
    signature_G = np.zeros(num_clusters, np.uint64)
    for place, (number_B, cell_B) in enumerate(zip(numbers, cell_of, strict=True)):
        np.add.at(signature_G, number_B, words[place, cell_B])
    _, first_K, kind_G, counts_K = np.unique(signature_G, return_index=True, return_inverse=True, return_counts=True)
    speaks_G = np.zeros(num_clusters, bool)
    speaks_G[first_K] = True
    cells = []
    for number_B, cell_B in zip(numbers, cell_of, strict=True):
        told_B = speaks_G[number_B]
        cells_KM = np.zeros((len(counts_K), num_cells))
        np.add.at(cells_KM, (kind_G[number_B[told_B]], cell_B[told_B]), 1.0)
        cells.append(cells_KM)
    return ClusterKinds(counts_K.astype(np.float64), tuple(cells))


def resample_kinds(
    kinds: ClusterKinds, metrics: Mapping[str, Sequence[Unseen]], seed: Sequence[int], resamples: int = RESAMPLES
) -> dict[str, Joint]:
    """Every metric of every part under the same draws of clusters.

    Args:
        kinds: what is drawn.
        metrics: name -> what few errors can't rule out, for that metric.
        seed: words that seed the draws.
        resamples: R.
    """
    rng = np.random.default_rng(list(seed))
    draws_RK = rng.multinomial(kinds.clusters, kinds.counts_K / kinds.clusters, size=resamples).astype(np.float64)
    gammas_RK = rng.standard_gamma(kinds.counts_K, size=draws_RK.shape) if any(metrics.values()) else None
    drawn = [draws_RK @ cells_KM for cells_KM in kinds.cells]
    whole = [kinds.counts_K @ cells_KM for cells_KM in kinds.cells]
    joints = {}
    for name, unseen in metrics.items():
        posterior_RP = None
        if unseen and gammas_RK is not None:
            posterior_RP = _by_part(name, _posterior(kinds, gammas_RK, unseen, seed))
        joints[name] = Joint(
            estimate_P=_by_part(name, whole),
            draws_RP=_by_part(name, drawn),
            left_out_KP=_by_part(name, [total - cells_KM for total, cells_KM in zip(whole, kinds.cells, strict=True)]),
            counts_K=kinds.counts_K,
            posterior_RP=posterior_RP,
        )
    return joints


def _posterior(
    kinds: ClusterKinds, gammas_RK: FloatArray, unseen: Sequence[Unseen], seed: Sequence[int]
) -> list[FloatArray]:
    """For each part [R, C * C]: weights of the cells, drawn from the posterior over kinds of clusters (Rubin 1981)."""
    rng = np.random.default_rng([*seed, 1])
    found = [gammas_RK @ cells_KM for cells_KM in kinds.cells]
    for each in unseen:
        extra_RQ = rng.standard_gamma(each.mass_Q, size=(len(gammas_RK), len(each.mass_Q)))
        for part, cells_QM in each.cells.items():
            found[part] = found[part] + extra_RQ @ cells_QM
    return found


def _by_part(metric: str, cells: Sequence[FloatArray]) -> FloatArray:
    """The metric of every part, its last axis the parts."""
    value, size = count_metric(metric), round(cells[0].shape[-1] ** 0.5)
    return np.stack([value(flat.reshape(*flat.shape[:-1], size, size)) for flat in cells], axis=-1)


def unseen_of_one(kinds: ClusterKinds, metric: str) -> list[Unseen]:
    """What the errors of each part can't rule out, the parts by themselves.

    Half a text right and half a text wrong, Jeffreys' prior on a share: over all texts for scores that are a share of
    all texts, in each class for scores that are made of shares of classes. A class that no text has stays absent: its
    F1 is 0 by convention, not a guess of the prior.
    """
    found = []
    for part, cells_KM in enumerate(kinds.cells):
        confusion_CC, share = _confusion(kinds, part)
        present_C = confusion_CC.sum(axis=1) > 0
        right_CC = np.eye(len(confusion_CC), dtype=bool)
        if counts_by_class(metric):
            few_C = _rarest(confusion_CC) * share < FEW_OF_CLASS
            if not (few_C & present_C & _classes(metric, len(few_C))).any():
                continue
            wrong = 0.5 / max(1, len(few_C) - 1)
            mass_CC = present_C[:, None] * np.where(right_CC, 0.5, wrong)
        else:
            right = np.trace(confusion_CC)
            if min(right, confusion_CC.sum() - right) * share >= FEW:
                continue
            present_CC = np.broadcast_to(present_C[:, None], right_CC.shape)
            mass_CC = _half_mass(present_CC & right_CC) + _half_mass(present_CC & ~right_CC)
        filled = np.flatnonzero(mass_CC.ravel())
        cells_QM = np.zeros((len(filled), cells_KM.shape[1]))
        cells_QM[np.arange(len(filled)), filled] = 1.0 / share
        found.append(Unseen(mass_CC.ravel()[filled], {part: cells_QM}))
    return found


def unseen_of_pairs(kinds: ClusterKinds, pairs: Sequence[tuple[Outcomes, Outcomes]], metric: str) -> list[Unseen]:
    """The same for two models on the same texts; parts 2 i and 2 i + 1 are the models of pair i.

    What is few here are discordant texts, which one model alone gets right: half a text each way (Agresti and Min
    2005), over all texts or in each class.
    """
    found = []
    for place, (first, second) in enumerate(pairs):
        confusion_CC, share = _confusion(kinds, 2 * place)
        present_C = confusion_CC.sum(axis=1) > 0
        discordant_B = (first.prediction_B == first.label_B) != (second.prediction_B == second.label_B)
        discordant_C = np.bincount(first.label_B[discordant_B], minlength=first.num_labels) * share
        if counts_by_class(metric):
            if not (present_C & (discordant_C < FEW_OF_CLASS) & _classes(metric, len(present_C))).any():
                continue
            mass_C = np.where(present_C, 0.5, 0.0)
        else:
            if discordant_C.sum() >= FEW:
                continue
            mass_C = _half_mass(present_C)
        found.append(_discordant(place, mass_C, share))
    return found


def _discordant(place: int, mass_C: FloatArray, share: float) -> Unseen:
    """Texts of each class that the first model, then the second, gets right alone."""
    size = len(mass_C)
    right_CM, wrong_CM = answers_of_one_text(size)
    first = np.concatenate([right_CM, wrong_CM]) / share
    second = np.concatenate([wrong_CM, right_CM]) / share
    return Unseen(np.concatenate([mass_C, mass_C]), {2 * place: first, 2 * place + 1: second})


def answers_of_one_text(num_labels: int) -> tuple[FloatArray, FloatArray]:
    """[C, C * C] twice: a text of each class answered rightly, and wrongly, the wrong classes sharing it."""
    right_CCC, wrong_CCC = np.zeros((2, num_labels, num_labels, num_labels))
    places = np.arange(num_labels)
    right_CCC[places, places, places] = 1.0
    wrong_CCC[places, places, :] = 1.0 / max(1, num_labels - 1)
    wrong_CCC[places, places, places] = 0.0
    return right_CCC.reshape(num_labels, -1), wrong_CCC.reshape(num_labels, -1)


def counts_by_class(metric: str) -> bool:
    """Whether a score is made of shares of classes: each class then needs errors of its own to be known well."""
    return metric.startswith("macro_") or class_of(metric) is not None


def _classes(metric: str, num_labels: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """[C] the classes that a score by class is about."""
    index = class_of(metric)
    return np.ones(num_labels, bool) if index is None else np.arange(num_labels) == index


def _rarest(confusion_CC: FloatArray) -> FloatArray:
    """[C] the texts of the rarest outcome of each class: found, missed, or falsely found."""
    right_C = np.diagonal(confusion_CC)
    missed_C, falsely_C = confusion_CC.sum(axis=1) - right_C, confusion_CC.sum(axis=0) - right_C
    return np.asarray(np.minimum(np.minimum(right_C, missed_C), falsely_C), dtype=np.float64)


def _confusion(kinds: ClusterKinds, part: int) -> tuple[FloatArray, float]:
    """[C, C] of a part, and clusters per text there: copies count once."""
    flat = kinds.counts_K @ kinds.cells[part]
    size = round(len(flat) ** 0.5)
    clusters = kinds.counts_K[kinds.cells[part].any(axis=1)].sum()
    return flat.reshape(size, size), float(clusters / flat.sum())


def _half_mass(mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> FloatArray:
    return mask.astype(np.float64) * (0.5 / max(1, int(np.count_nonzero(mask))))
