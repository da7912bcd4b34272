"""Several targets for each text, any of which may be missing: labels that apply or don't, or scores.

The loss of an effective batch is the weighted sum over all targets that are there, divided by the sum of their
weights, which the host knows before the first forward pass (contract C2). What differs between labels and scores is the
`Reading`: their loss, and how outputs become answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glotune.data.batches import PackedBatch, Rows
from glotune.data.texts import TextData
from glotune.data.tokenization import TokenStore
from glotune.errors import RunError
from glotune.recipe.kinds import Kind
from glotune.run.records import Decision, Evaluation
from glotune.stats.arrays import Answered
from glotune.tasks.monitoring import CORRELATIONS, correlation, deciding_targets, monitored_languages
from glotune.tasks.records import SplitAnswers, record_split
from glotune.tasks.single_label import by_language, event_metrics, excerpts_of
from glotune.tasks.soft_targets import SoftTargets
from glotune.tasks.task import Answers, Choice, Judgement, Metrics, Part

TargetArray = NDArray[np.float32]
"""[..., L]: targets, NaN where there is none."""


class Reading(Protocol):
    """What targets are, and how they are learned and answered."""

    @property
    def kind(self) -> Kind:
        """Of the task."""
        ...

    @property
    def sums_each(self) -> int:
        """Numbers that are added up while training, for each target."""
        ...

    def cell_weights(self, targets_BL: TargetArray) -> NDArray[np.float32]:
        """[B, L] how much each target counts in the loss; 0 where there is none."""
        ...

    def aims(self, targets_BL: TargetArray) -> NDArray[np.float32]:
        """[B, L] what the outputs are to be; anything finite where there is no target."""
        ...

    def losses(self, outputs_BL: Tensor, aims_BL: Tensor) -> Tensor:
        """[B, L] the loss that is trained, in fp32."""
        ...

    def plain_losses(self, outputs_BL: Tensor, aims_BL: Tensor) -> Tensor:
        """[B, L] the loss that evaluations tell: unweighted, unsmoothed."""
        ...

    def sums(self, outputs_BL: Tensor, aims_BL: Tensor, is_there_BL: Tensor) -> Tensor:
        """[L, sums_each] float64, what adds up over the texts of an epoch."""
        ...

    def epoch_metrics(self, sums: NDArray[np.float64]) -> Mapping[str, float]:
        """What the epoch's event says of the sums [L, sums_each]."""
        ...

    def decide(self, targets_NL: TargetArray, outputs_NL: NDArray[np.float64], languages: Sequence[str]) -> Decision:
        """How outputs become answers, fitted on the validation texts that choose the checkpoint, in these languages."""
        ...

    def answering(
        self,
        outputs_NL: NDArray[np.float64],
        losses_N: NDArray[np.float64],
        targets_KL: TargetArray,
        decision: Decision,
        fitted_on: tuple[Rows, TargetArray, NDArray[np.integer]] | None,
    ) -> SplitAnswers:
        """What the outputs say.

        Args:
            fitted_on: of the validation split, which rows the decision was fitted on, their targets, and a key that
                equal texts share: these are answered by what the others fit.
        """
        ...

    def text_losses(self, outputs_NL: NDArray[np.float64], targets_NL: TargetArray) -> NDArray[np.float64]:
        """[N] the plain loss of each text, as `plain_losses` over the targets that it has."""
        ...

    def as_outputs(self, values_NL: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities of labels, or scores, as a network would say them."""
        ...

    def cheap_model(
        self, features: Any, target_N: NDArray[np.float64], weights_N: NDArray[np.float64]
    ) -> Callable[[Any], NDArray[np.float64]]:
        """A linear model of one target on sparse features [N, F]: features to probabilities, or scores."""
        ...

    def soft_targets(self, temperature: float) -> SoftTargets:
        """How a teacher's outputs are learned."""
        ...

    def alarm(self, answered: Mapping[str, Answered], labels: Sequence[str], sources: Sequence[str]) -> str | None:
        """Why training goes wrong, seen from the validation texts; None where it doesn't."""
        ...


@dataclass(frozen=True)
class TargetTask:
    """The task of several labels or scores.

    Raises:
        UserError: no validation text is in a language that may choose the checkpoint, or defines the metric.
    """

    labels: list[str]
    stores: Mapping[str, TokenStore]
    source_languages: list[str]
    choice: Choice
    reading: Reading
    texts: TextData
    with_text: bool = False
    """Records and messages may hold the texts."""
    _decided: dict[str, Decision] = field(default_factory=dict, compare=False)
    """The decision of the last answers to the validation texts: a function of these alone."""

    def __post_init__(self) -> None:
        assert self.deciding  # raises, before anything is trained, where nothing would choose the checkpoint

    # ---- training -------------------------------------------------------------------------------------

    @property
    def drawn(self) -> int:
        """All training texts."""
        return len(self.stores["train"])

    @property
    def num_sums(self) -> int:
        """Of every target."""
        return len(self.labels) * self.reading.sums_each

    @property
    def may_be_filled(self) -> bool:
        """A text without targets counts for nothing."""
        return True

    def objective(self, step: int, rows: Rows) -> CellLoss:
        """The loss of these texts; nothing in it is drawn by chance."""
        return self.loss_of(self.stores["train"], rows)

    def loss_of(self, store: TokenStore, rows: Rows) -> CellLoss:
        """The loss of these texts of a store, of which some, or all, may have no target."""
        return CellLoss(self, store, rows, float(self.weights(store, rows).sum(dtype=np.float64)) or 1.0)

    def soft_targets(self, temperature: float) -> SoftTargets:
        """How a teacher's outputs are learned."""
        return self.reading.soft_targets(temperature)

    def weights(self, store: TokenStore, rows: Rows) -> NDArray[np.float32]:
        """[B, L] how much each target of these training texts counts."""
        weights_BL = self.reading.cell_weights(targets_of(store, rows))
        return weights_BL if store.weights is None else weights_BL * store.weights[rows][:, None]

    def epoch_metrics(self, sums: Sequence[float]) -> Mapping[str, float]:
        """Of the training texts as they were answered on the way."""
        return self.reading.epoch_metrics(np.array(sums).reshape(len(self.labels), -1))

    def excerpts(self, rows: Rows) -> list[str]:
        """How the first of these training texts begin; none where the recipe keeps texts out of records."""
        return excerpts_of(self.texts, rows) if self.with_text else []

    # ---- evaluation -----------------------------------------------------------------------------------

    @cached_property
    def monitored(self) -> list[str]:
        """The validation languages that choose the checkpoint."""
        return monitored_languages(self.choice.on, self.source_languages, list(by_language(self.stores["validation"])))

    @cached_property
    def deciding(self) -> Mapping[str, NDArray[np.int64]]:
        """Of these languages those whose texts define the metric, and at which targets."""
        return deciding_targets(self.choice.on, self.choice.metric, self.texts)

    @property
    def decision(self) -> Decision | None:
        """Of the last answers to the validation texts."""
        return self._decided.get("")

    def passes(self, split: str) -> list[OutputsAndLosses]:
        """One: outputs, and each text's own loss."""
        return [OutputsAndLosses(self, self.stores[split])]

    def scores(self, split: str, answers: Answers) -> Mapping[str, Metrics]:
        """By language; raises RunError where the network's answers are not finite."""
        return {name: self._event(found) for name, found in self._answered(split, answers).items()}

    def judge(self, answers: Answers) -> Judgement:
        """Of the validation texts."""
        answered = self._answered("validation", answers)
        metrics = {name: self._event(found) for name, found in answered.items()}
        value = self._value(answered, metrics)
        losses = [float(each["loss"] or 0.0) for each in metrics.values()]
        return Judgement(
            metrics=metrics,
            value=value,
            summary=f"validation loss {sum(losses) / len(losses):.4f}, {self.choice.metric} {value:.4f} "
            f"on {', '.join(self.deciding)}",
            alarm=self.reading.alarm(answered, self.labels, self.source_languages),
        )

    def record(self, folder: Path, split: str, answers: Answers) -> list[Evaluation]:
        """One record per prediction, a file per language; the scores that follow from them."""
        languages = by_language(self.stores[split])
        return record_split(folder, self.texts, split, languages, self._answering(split, answers), self.with_text)

    def _answered(self, split: str, answers: Answers) -> dict[str, Answered]:
        (answers_NK,) = answers
        refused = int((~np.isfinite(answers_NK).all(axis=1)).sum())
        if refused:
            raise RunError(
                f"the network's answers to {refused} of {len(answers_NK)} {split} texts are not finite: it diverged. "
                "Lower optimizer.learning_rate or add warmup"
            )
        store, outputs = self.stores[split], self._answering(split, answers)
        return {name: outputs.outcomes(rows, store.labels) for name, rows in by_language(store).items()}

    def _answering(self, split: str, answers: Answers) -> SplitAnswers:
        """What the outputs say; of the validation split also what decides from here on."""
        (answers_NK,) = answers
        store, fitted_on = self.stores[split], None
        outputs_NL, losses_N = answers_NK[:, :-1], answers_NK[:, -1]
        if split == "validation":
            of_language = by_language(store)
            rows = np.sort(np.concatenate([of_language[name] for name in self.monitored]))
            targets = targets_of(store, rows)
            self._decided[""] = self.reading.decide(targets, outputs_NL[rows], self.monitored)
            fitted_on = (rows, targets, self.texts.splits[split].groups[rows])
        assert store.targets is not None
        return self.reading.answering(outputs_NL, losses_N, store.targets, self._decided[""], fitted_on)

    def _value(self, answered: Mapping[str, Answered], metrics: Mapping[str, Metrics]) -> float:
        """Of the choice: the mean over the languages that define it, each counting once."""
        metric, found = self.choice.metric, self.deciding
        if metric in CORRELATIONS:
            return sum(correlation(answered[name], metric, places) for name, places in found.items()) / len(found)
        values = [metrics[name][metric] for name in found]
        return sum(float("nan") if each is None else float(each) for each in values) / len(values)

    def _event(self, answered: Answered) -> Metrics:
        return event_metrics(answered.num_texts, answered.values(), self.reading.kind)


@dataclass(frozen=True)
class CellLoss:
    """The loss of one effective batch: a sum over its targets, divided by the sum of their weights."""

    task: TargetTask
    store: TokenStore
    rows: Rows
    denominator: float
    """1 where none of the texts has a target: the sum is 0 then."""
    across: None = None

    def dress(self, batch: PackedBatch) -> PackedBatch:
        """Adds what the outputs are to be, and how much each counts."""
        dressed = with_aims(batch, self.store, self.task.reading)
        weights_BL = torch.from_numpy(self.task.weights(self.store, batch.rows))
        return replace(dressed, targets={**dressed.targets, "weights": weights_BL})

    def part(self, network: Any, batch: PackedBatch) -> Part:
        """Its share of the loss; how the texts are answered, as sums."""
        return self.of(network(batch), batch)

    def of(self, outputs_BL: Tensor, batch: PackedBatch) -> Part:
        """The same of these answers to the micro-batch."""
        outputs_BL, aims_BL, reading = outputs_BL.float(), batch.targets["aims"], self.task.reading
        loss = (reading.losses(outputs_BL, aims_BL) * batch.targets["weights"]).sum() / self.denominator
        return Part(loss, reading.sums(outputs_BL.detach(), aims_BL, batch.targets["is_there"]).reshape(-1))

    def details(self, sums: Sequence[float]) -> None:
        """The loss is all there is."""


@dataclass(frozen=True)
class OutputsAndLosses:
    """The sweep of an evaluation: L outputs and the plain loss of each text."""

    task: TargetTask
    store: TokenStore

    @property
    def width(self) -> int:
        """L + 1."""
        return len(self.task.labels) + 1

    def dress(self, batch: PackedBatch) -> PackedBatch:
        """Adds each text's targets."""
        return with_aims(batch, self.store, self.task.reading)

    def answer(self, network: Any, batch: PackedBatch) -> Tensor:
        """[B, L + 1]; the loss of a text is the mean over the targets that it has."""
        outputs_BL, there_BL = network(batch).float(), batch.targets["is_there"]
        losses_BL = self.task.reading.plain_losses(outputs_BL, batch.targets["aims"]) * there_BL
        losses_B = losses_BL.sum(dim=1) / there_BL.sum(dim=1)
        return torch.cat([outputs_BL, losses_B.unsqueeze(1)], dim=1)


def targets_of(store: TokenStore, rows: Rows) -> TargetArray:
    """[B, L] the targets of these texts, NaN where there is none."""
    assert store.targets is not None
    found: TargetArray = store.targets[store.labels[rows]]
    return found


def with_aims(batch: PackedBatch, store: TokenStore, reading: Reading) -> PackedBatch:
    """The batch with ``aims`` [B, L] and ``is_there`` [B, L], both float32."""
    targets_BL = targets_of(store, batch.rows)
    there_BL = (~np.isnan(targets_BL)).astype(np.float32)
    aims = {"aims": torch.from_numpy(reading.aims(targets_BL)), "is_there": torch.from_numpy(there_BL)}
    return replace(batch, targets=aims)
