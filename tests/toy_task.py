"""A task of the suite's own, written by following "How to add a task" in docs/architecture.md: is a text long?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from glotune.data.batches import PackedBatch, Rows
from glotune.data.tokenization import TokenStore
from glotune.run.records import Evaluation
from glotune.tasks.single_label import by_language
from glotune.tasks.task import Answers, Choice, Judgement, Metrics, Part, sums_dtype


@dataclass(frozen=True)
class IsLong:
    """Whether a text has more than so many tokens, told from the first of the network's logits."""

    stores: Mapping[str, TokenStore]
    limit: int
    choice: Choice
    num_sums: int = 1
    """Texts answered right."""
    may_be_filled: bool = False

    @property
    def drawn(self) -> int:
        return len(self.stores["train"])

    def objective(self, step: int, rows: Rows) -> IsLongObjective:
        return IsLongObjective(self, rows)

    def epoch_metrics(self, sums: Sequence[float]) -> Mapping[str, float]:
        return {"right": sums[0]}

    def dress(self, batch: PackedBatch) -> PackedBatch:
        return replace(batch, targets={"is_long": torch.tensor(batch.lengths) > self.limit})

    @property
    def decision(self) -> None:
        """Nothing is fitted."""

    def passes(self, split: str) -> list[IsLongPass]:
        return [IsLongPass(self)]

    def scores(self, split: str, answers: Answers) -> Mapping[str, Metrics]:
        store, right_N = self.stores[split], answers[0][:, 0]
        rows_of = by_language(store)
        return {name: {"n": len(rows), "accuracy": float(right_N[rows].mean())} for name, rows in rows_of.items()}

    def judge(self, answers: Answers) -> Judgement:
        metrics, value = self.scores("validation", answers), float(answers[0][:, 0].mean())
        return Judgement(metrics, value, f"validation accuracy {value:.4f}")

    def record(self, folder: Path, split: str, answers: Answers) -> list[Evaluation]:
        return [
            Evaluation(split=split, language=language, n=int(found["n"] or 0), scores={"accuracy": found["accuracy"]})
            for language, found in self.scores(split, answers).items()
        ]

    def excerpts(self, rows: Rows) -> list[str]:
        return []


@dataclass(frozen=True)
class IsLongObjective:
    """Mean cross-entropy over the effective batch."""

    task: IsLong
    rows: Rows
    across: None = None

    def dress(self, batch: PackedBatch) -> PackedBatch:
        return self.task.dress(batch)

    def part(self, network: Any, batch: PackedBatch) -> Part:
        score_B, is_long_B = network(batch)[:, 0].float(), batch.targets["is_long"]
        summed = functional.binary_cross_entropy_with_logits(score_B, is_long_B.float(), reduction="sum")
        return Part(
            summed / len(self.rows),
            ((score_B.detach() > 0) == is_long_B).sum().to(sums_dtype(score_B.device)).reshape(1),
        )

    def details(self, sums: Sequence[float]) -> None:
        return None


@dataclass(frozen=True)
class IsLongPass:
    """One sweep: whether each text was answered right."""

    task: IsLong
    width: int = 1

    def dress(self, batch: PackedBatch) -> PackedBatch:
        return self.task.dress(batch)

    def answer(self, network: Any, batch: PackedBatch) -> Tensor:
        return ((network(batch)[:, :1] > 0) == batch.targets["is_long"].unsqueeze(1)).float()


def is_long(stores: Mapping[str, TokenStore]) -> IsLong:
    """The task over these texts, half of which are long."""
    choice = Choice("accuracy", "source", higher_is_better=True)
    return IsLong(stores, int(np.median(stores["train"].lengths)), choice)
