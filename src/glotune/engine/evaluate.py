"""The network's answers on a whole split, in the order of its store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from glotune.data.batches import shard
from glotune.data.mapped_arrays import chunks, numbers, places, zeros
from glotune.engine.observer import Observer
from glotune.engine.parts import Parts
from glotune.stats.arrays import Outcomes, outcomes, softmax
from glotune.tasks.losses import text_losses


@dataclass(frozen=True)
class Outputs:
    """What the network says of the N texts of a split."""

    logits_NC: NDArray[np.float64]
    losses_N: NDArray[np.float64]
    """Plain cross-entropy per text, unweighted and unsmoothed."""

    def outcomes(self, rows: NDArray[np.int64], labels_N: NDArray[np.int16]) -> Outcomes:
        """What the network says of the texts at `rows`, beside the truth, as every metric reads it.

        Raises:
            UserError: see `glotune.stats.arrays.outcomes`.
        """
        label_B, loss_B = zeros(len(rows), np.int64), zeros(len(rows), np.float64)
        probabilities_BC = zeros((len(rows), self.logits_NC.shape[1]), np.float64)
        for part in chunks(len(rows)):
            mine = rows[part]
            label_B[part], loss_B[part] = labels_N[mine], self.losses_N[mine]
            probabilities_BC[part] = softmax(self.logits_NC[mine])
        return outcomes(label_B, probabilities_BC, loss_B)

    @property
    def refused(self) -> int:
        """Texts whose logits are not all finite."""
        parts = (self.logits_NC[part] for part in chunks(len(self.logits_NC)))
        return sum(int((~np.isfinite(logits_BC).all(axis=1)).sum()) for logits_BC in parts)


@torch.no_grad()
def evaluate_split(parts: Parts, split: str, observer: Observer, token_budget: int | None = None) -> Outputs:
    """Runs every text of a split through the network in evaluation mode; every rank gets all answers.

    The cut is by length under the run's planned budget, never the one that memory may have halved while training:
    so a resumed run cuts as the uninterrupted one.
    """
    store = parts.stores[split]
    processes = parts.processes
    rows = shard(numbers(len(store)), store.lengths, processes.rank, processes.ranks)
    answers = zeros((len(store.labels), len(parts.labels) + 1), np.float64)
    done = 0
    for batch, logits_BC in parts.forward(
        parts.micro_batches_lazily(split, rows, token_budget or parts.plan.token_budget)
    ):
        losses_B = text_losses(logits_BC, batch.labels)
        both = torch.cat([logits_BC.float(), losses_B.unsqueeze(1)], dim=1)
        answers[batch.rows] = both.double().cpu().numpy()
        done += len(batch)
        observer.progress("evaluate", done, len(rows), {})
    summed = processes.sum_array(answers)
    return Outputs(logits_NC=summed[:, :-1], losses_N=summed[:, -1])


def by_language(parts: Parts, split: str) -> Mapping[str, NDArray[np.int64]]:
    """Language -> the rows of a split's store, languages in the order of the data."""
    store = parts.stores[split]
    found = {name: places(store.languages == code) for code, name in enumerate(store.language_names)}
    return {name: rows for name, rows in found.items() if len(rows)}
