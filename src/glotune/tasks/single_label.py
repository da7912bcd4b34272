"""One label for each text, or annotators' votes for each: weighted cross-entropy, and what judges a classifier."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glotune.data.batches import PackedBatch, Rows, sent
from glotune.data.texts import TextData
from glotune.data.tokenization import TokenStore
from glotune.errors import RunError
from glotune.recipe import Recipe
from glotune.recipe.kinds import KINDS, Kind
from glotune.run.records import Decision, Evaluation
from glotune.stats.confusion import count_metric
from glotune.stats.scores import Scores, score_outcomes
from glotune.stats.traits import trait
from glotune.tasks.cross_entropy import (
    class_weights,
    divergences,
    shares_of,
    soft_losses,
    summed_loss,
    text_losses,
    total_weight,
)
from glotune.tasks.monitoring import collapse_seen, mean_loss, monitored_languages, monitored_value
from glotune.tasks.records import Outputs, record_split
from glotune.tasks.soft_targets import ClassProbabilities, SoftTargets
from glotune.tasks.task import Answers, Choice, Judgement, Metrics, Part, counted
from glotune.tasks.tuning import Tuning, by_thresholds

EXCERPT, EXCERPTS = 120, 10
"""Characters of a text that a diagnosis shows, and of how many texts."""


@dataclass(frozen=True)
class SingleLabel:
    """The task of a classifier. Each text counts with its own weight times that of its class.

    Raises:
        UserError: no validation text is in a language that may choose the checkpoint.
    """

    labels: list[str]
    stores: Mapping[str, TokenStore]
    source_languages: list[str]
    choice: Choice
    class_weights: NDArray[np.float32] | None = None
    """[C]"""
    label_smoothing: float = 0.0
    focal_gamma: float = 0.0
    """Exponent of the focal loss, see `focused`; 0: plain cross-entropy."""
    tuned_for: str | None = None
    """The metric that thresholds are tuned for; None: the most probable class is the answer."""
    consistency: float | None = None
    """Weight of the divergence between two views of a text; None: one view."""
    texts: TextData | None = None
    """What the stores were tokenized from, for records and for messages to people."""
    with_text: bool = False
    """Records and messages may hold the texts."""
    _on_device: dict[torch.device, Tensor] = field(default_factory=dict, compare=False)
    _decided: dict[str, Decision] = field(default_factory=dict, compare=False)
    """The thresholds of the last answers to the validation texts: a function of these alone."""

    def __post_init__(self) -> None:
        assert self.monitored  # raises, before anything is trained, where nothing would choose the checkpoint

    @classmethod
    def of(cls, recipe: Recipe, texts: TextData, stores: Mapping[str, TokenStore]) -> SingleLabel:
        """As a recipe says."""
        train, spec = stores["train"], recipe.evaluate
        return cls(
            labels=texts.labels,
            stores=stores,
            source_languages=texts.source_languages,
            choice=Choice(spec.metric, spec.on, trait(spec.metric).direction != "lower"),
            class_weights=class_weights(
                recipe.loss.class_weights, train.labels, texts.labels, train.weights, train.shares
            ),
            label_smoothing=recipe.loss.label_smoothing,
            focal_gamma=recipe.loss.focal_gamma,
            tuned_for=recipe.evaluate.tune_thresholds,
            consistency=None if recipe.loss.consistency is None else recipe.loss.consistency.weight,
            texts=texts,
            with_text=recipe.records.text,
        )

    # ---- training -------------------------------------------------------------------------------------

    @property
    def drawn(self) -> int:
        """All training texts."""
        return len(self.stores["train"])

    @property
    def num_sums(self) -> int:
        """The cells of a confusion matrix, dropout on: ``[true][predicted]``, row by row; then the divergence between
        two views, where there are two."""
        return len(self.labels) ** 2 + (self.consistency is not None)

    @property
    def may_be_filled(self) -> bool:
        """A text without a label counts for nothing."""
        return True

    def objective(self, step: int, rows: Rows) -> WeightedCrossEntropy | TwoViews:
        """The loss of these texts; nothing in it is drawn by chance."""
        store = self.stores["train"]
        plain = self.loss_of(store, rows)
        if self.consistency is None:
            return plain
        weights_B = None if store.weights is None else store.weights[rows]
        return TwoViews(plain, rows, self.consistency, total_weight(store.labels[rows], None, weights_B))

    def loss_of(self, store: TokenStore, rows: Rows) -> WeightedCrossEntropy:
        """The loss of these texts of a store, of which some, or all, may have no label."""
        known = rows[store.labels[rows] >= 0]
        weights_B = None if store.weights is None else store.weights[known]
        shares_BC = None if store.shares is None else store.shares[known]
        denominator = total_weight(store.labels[known], self.class_weights, weights_B, shares_BC)
        return WeightedCrossEntropy(self, store, rows, denominator or 1.0)

    def soft_targets(self, temperature: float) -> SoftTargets:
        """How a teacher's logits are learned."""
        return ClassProbabilities(temperature)

    def summed_loss(self, logits_BC: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        """Sum of the weighted losses of a micro-batch with the targets of `with_labels`."""
        labels, shares_BC, weights_B = targets["labels"], targets.get("shares"), targets.get("weights")
        weights_C = self.weights_on(labels.device)
        if shares_BC is None and not self.focal_gamma:
            return summed_loss(logits_BC, labels, weights_C, self.label_smoothing, weights_B)
        aims_BC = shares_of(labels, len(self.labels)) if shares_BC is None else shares_BC
        losses_B = soft_losses(logits_BC, aims_BC, weights_C, self.label_smoothing, self.focal_gamma)
        return losses_B.sum() if weights_B is None else (losses_B * weights_B).sum()

    def weights_on(self, device: torch.device) -> Tensor | None:
        """The class weights there; copied once."""
        if self.class_weights is None:
            return None
        if device not in self._on_device:
            self._on_device[device] = sent(torch.from_numpy(self.class_weights), device)
        return self._on_device[device]

    def epoch_metrics(self, sums: Sequence[float]) -> Mapping[str, float]:
        """Accuracy and macro-F1 of the training texts as they were answered on the way."""
        num_labels = len(self.labels)
        confusion_CC = np.array(sums[: num_labels**2]).reshape(num_labels, num_labels)
        return {name: float(count_metric(name)(confusion_CC)) for name in ("accuracy", "macro_f1")}

    def excerpts(self, rows: Rows) -> list[str]:
        """How the first of these training texts begin; none where the recipe keeps texts out of records."""
        return [] if self.texts is None or not self.with_text else excerpts_of(self.texts, rows)

    @property
    def decision(self) -> Decision | None:
        """The thresholds of the last answers to the validation texts; None: the most probable class is the answer."""
        return self._decided.get("")

    # ---- evaluation -----------------------------------------------------------------------------------

    @cached_property
    def monitored(self) -> list[str]:
        """The validation languages that choose the checkpoint."""
        return monitored_languages(self.choice.on, self.source_languages, list(by_language(self.stores["validation"])))

    def passes(self, split: str) -> list[LogitsAndLosses]:
        """One: logits, and each text's own loss."""
        return [LogitsAndLosses(self.stores[split], len(self.labels))]

    def scores(self, split: str, answers: Answers) -> Mapping[str, Metrics]:
        """By language; raises RunError where the network's answers are not finite."""
        return {
            language: event_metrics(found.n, found.values(), KINDS["single_label"])
            for language, found in self._scores(split, answers).items()
        }

    def _scores(self, split: str, answers: Answers) -> dict[str, Scores]:
        store, outputs = self.stores[split], self._outputs(split, answers)
        if outputs.refused:
            raise RunError(
                f"the network's answers to {outputs.refused} of {len(outputs.losses_N)} {split} texts are not finite: "
                "it diverged. Lower optimizer.learning_rate or add warmup"
            )
        return {
            language: score_outcomes(outputs.outcomes(rows, store.labels))
            for language, rows in by_language(store).items()
        }

    def judge(self, answers: Answers) -> Judgement:
        """Of the validation texts."""
        scores = self._scores("validation", answers)
        value = monitored_value(scores, self.monitored, self.choice.metric)
        return Judgement(
            metrics={
                language: event_metrics(found.n, found.values(), KINDS["single_label"])
                for language, found in scores.items()
            },
            value=value,
            summary=f"validation loss {mean_loss(scores):.4f}, {self.choice.metric} {value:.4f} "
            f"on {', '.join(self.monitored)}",
            alarm=collapse_seen(scores, self.labels, self.source_languages),
        )

    def record(self, folder: Path, split: str, answers: Answers) -> list[Evaluation]:
        """One record per prediction, a file per language; the scores that follow from them."""
        assert self.texts is not None
        languages = by_language(self.stores[split])
        return record_split(folder, self.texts, split, languages, self._outputs(split, answers), self.with_text)

    def _outputs(self, split: str, answers: Answers) -> Outputs:
        outputs = Outputs.of(answers, None if self.texts is None else self.texts.splits[split])
        if self.tuned_for is None or outputs.refused:
            return outputs
        if split != "validation":
            return by_thresholds(outputs, self._decided[""])
        assert self.texts is not None
        store, of_language = self.stores[split], by_language(self.stores[split])
        rows = np.sort(np.concatenate([of_language[name] for name in self.monitored]))
        tuning = Tuning(rows, store.labels[rows], self.texts.splits[split].groups[rows], self.monitored, self.tuned_for)
        self._decided[""] = tuning.decide(outputs)
        return tuning.answered(outputs, self._decided[""])


@dataclass(frozen=True)
class WeightedCrossEntropy:
    """The loss of one effective batch: a sum over its texts, divided by the sum of their weights."""

    task: SingleLabel
    store: TokenStore
    rows: Rows
    denominator: float
    """1 where none of the texts has a label: the sum is 0 then."""
    across: None = None

    def dress(self, batch: PackedBatch) -> PackedBatch:
        """Adds each text's class id and, where texts have weights, its weight."""
        return with_labels(batch, self.store)

    def part(self, network: Any, batch: PackedBatch) -> Part:
        """Its share of the loss; how the texts are answered, as counts."""
        return self.of(network(batch), batch)

    def of(self, logits_BC: Tensor, batch: PackedBatch) -> Part:
        """The same of these answers to the micro-batch."""
        labels, number = batch.targets["labels"], len(self.task.labels) ** 2
        summed = self.task.summed_loss(logits_BC, batch.targets)
        cells = labels * len(self.task.labels) + logits_BC.detach().argmax(dim=1)
        # Texts without a label (dummies of a filled batch) fall into a cell of their own, which is cut off.
        counts = counted(torch.where(labels >= 0, cells, number), number + 1)[:number]
        return Part(summed / self.denominator, counts)

    def details(self, sums: Sequence[float]) -> None:
        """The loss is all there is."""


@dataclass(frozen=True)
class TwoViews:
    """The loss of one effective batch over two views of each text: the mean of both losses, and how far the answers lie
    apart (Liang et al. 2021, arXiv:2106.14448, equations 1 to 3)."""

    plain: WeightedCrossEntropy
    rows: Rows
    weight: float
    denominator: float
    """Sum of the row weights: a class that counts more in the loss is not to be answered more consistently."""
    across: None = None

    def dress(self, batch: PackedBatch) -> PackedBatch:
        """As for one view."""
        return self.plain.dress(batch)

    def part(self, network: Any, batch: PackedBatch) -> Part:
        """Its share of both; the counts are of the first view. The second pass draws dropout of its own."""
        logits = network(batch), network(batch if batch.twin is None else batch.twin)
        first, second = (self.plain.of(each, batch) for each in logits)
        apart_B = divergences(*logits) * (batch.targets["labels"] >= 0)  # dummies of a filled batch count for nothing
        weights_B = batch.targets.get("weights")
        apart = (apart_B if weights_B is None else apart_B * weights_B).sum() / self.denominator
        loss = (first.loss + second.loss) / 2 + self.weight * apart
        return Part(loss, torch.cat([first.sums, apart.detach().to(first.sums).reshape(1)]))

    def details(self, sums: Sequence[float]) -> Mapping[str, float]:
        """The divergence, in nats, as a mean over the texts."""
        return {"consistency": sums[-1]}


@dataclass(frozen=True)
class LogitsAndLosses:
    """The sweep of an evaluation: C logits and the plain loss of each text."""

    store: TokenStore
    num_labels: int

    @property
    def width(self) -> int:
        """C + 1."""
        return self.num_labels + 1

    def dress(self, batch: PackedBatch) -> PackedBatch:
        """Adds each text's class id."""
        return with_labels(batch, self.store)

    def answer(self, network: Any, batch: PackedBatch) -> Tensor:
        """[B, C + 1]"""
        logits_BC = network(batch)
        shares_BC = batch.targets.get("shares")
        if shares_BC is None:
            losses_B = text_losses(logits_BC, batch.targets["labels"])
        else:
            losses_B = soft_losses(logits_BC, shares_BC)
        return torch.cat([logits_BC.float(), losses_B.unsqueeze(1)], dim=1)


def excerpts_of(texts: TextData, rows: Rows) -> list[str]:
    """How the first of these training texts begin."""
    column = texts.splits["train"].table["text"]
    return [column[int(row)].as_py()[:EXCERPT] for row in rows[:EXCERPTS]]


def with_labels(batch: PackedBatch, store: TokenStore) -> PackedBatch:
    """The batch with ``labels`` [B] int64 and, where there are any, ``shares`` of votes [B, C] and ``weights`` [B]."""
    targets = {"labels": torch.from_numpy(store.labels[batch.rows].astype(np.int64))}
    if store.shares is not None:
        targets["shares"] = torch.from_numpy(store.shares[batch.rows])
    if store.weights is not None:
        targets["weights"] = torch.from_numpy(store.weights[batch.rows])
    return replace(batch, targets=targets)


# ---- judgement ----------------------------------------------------------------------------------------


def by_language(store: TokenStore) -> Mapping[str, NDArray[np.int64]]:
    """Language -> the rows of a store, languages in the order of the data."""
    found = {name: np.flatnonzero(store.languages == code) for code, name in enumerate(store.language_names)}
    return {name: rows for name, rows in found.items() if len(rows)}


def event_metrics(n: int, values: Mapping[str, float | None], kind: Kind) -> Metrics:
    """What an evaluation event says of one language; None for what is undefined there."""
    found: dict[str, float | int | None] = {"n": n}
    for name in kind.followed:
        value = values.get(name)
        found[name] = value if value is not None and math.isfinite(value) else None
    return found
