"""The network's answers on a whole split, in the order of its store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from glotune.data.batches import shard
from glotune.engine.observer import Observer
from glotune.engine.parts import Parts
from glotune.engine.prefetch import ahead
from glotune.model.cpu.packed_weights import packed_weights
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
        return outcomes(labels_N[rows], softmax(self.logits_NC[rows]), self.losses_N[rows])

    @property
    def refused(self) -> int:
        """Texts whose logits are not all finite."""
        return int((~np.isfinite(self.logits_NC).all(axis=1)).sum())


@torch.no_grad()
def evaluate_split(parts: Parts, split: str, observer: Observer, token_budget: int | None = None) -> Outputs:
    """Runs every text of a split through the network in evaluation mode; every rank gets all answers.

    The cut is by length under the run's planned budget, never the one that memory may have halved while training:
    so a resumed run cuts as the uninterrupted one.
    """
    store = parts.stores[split]
    processes = parts.processes
    rows = shard(np.arange(len(store)), store.lengths, processes.rank, processes.ranks)
    answers = np.zeros((len(store.labels), len(parts.labels) + 1))
    parts.network.eval()
    done = 0
    with packed_weights():
        for micro_batch in ahead(parts.micro_batches_lazily(split, rows, token_budget or parts.plan.token_budget)):
            micro = micro_batch.to(parts.device)
            with parts.autocast():
                logits_BC = parts.network(micro.batch, micro.hidden_TH)
            losses_B = text_losses(logits_BC, micro.batch.labels)
            both = torch.cat([logits_BC.float(), losses_B.unsqueeze(1)], dim=1)
            answers[micro.batch.rows] = both.double().cpu().numpy()
            done += len(micro.batch)
            observer.progress("evaluate", done, len(rows), {})
    summed = processes.sum_array(answers)
    return Outputs(logits_NC=summed[:, :-1], losses_N=summed[:, -1])


def by_language(parts: Parts, split: str) -> Mapping[str, NDArray[np.int64]]:
    """Language -> the rows of a split's store, languages in the order of the data."""
    store = parts.stores[split]
    found = {name: np.flatnonzero(store.languages == code) for code, name in enumerate(store.language_names)}
    return {name: rows for name, rows in found.items() if len(rows)}
