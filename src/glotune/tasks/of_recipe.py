"""The task that a recipe names, and what any network's outputs say in its terms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glotune.data.texts import LabelledTexts, TextData
from glotune.data.tokenization import TokenStore
from glotune.recipe import Recipe
from glotune.recipe.kinds import TaskName
from glotune.run.records import Decision
from glotune.stats.traits import trait
from glotune.tasks import label_sets, scores
from glotune.tasks.records import Outputs, SplitAnswers
from glotune.tasks.single_label import SingleLabel
from glotune.tasks.targets import Reading, TargetTask
from glotune.tasks.task import Choice
from glotune.tasks.tuning import Tuning, by_thresholds

LEAST_PROBABILITY = 1e-300
"""Below it the probability of a class has no logarithm."""


def task_of(recipe: Recipe, texts: TextData, stores: Mapping[str, TokenStore]) -> SingleLabel | TargetTask:
    """What is learned.

    Raises:
        UserError: no validation text is in a language that may choose the checkpoint, or weights of other labels.
    """
    if recipe.task == "single_label":
        return SingleLabel.of(recipe, texts, stores)
    spec = recipe.evaluate
    return TargetTask(
        labels=texts.labels,
        stores=stores,
        source_languages=texts.source_languages,
        choice=Choice(spec.metric, spec.on, trait(spec.metric).direction != "lower"),
        reading=reading_of(recipe, texts),
        texts=texts,
        with_text=recipe.records.text,
    )


def reading_of(recipe: Recipe, texts: TextData) -> Reading:
    """How the targets of a task are learned and answered. Training texts that are annotated with nothing, as those that
    only a teacher answers, change nothing in it."""
    assert texts.targets is not None
    train = texts.splits["train"]
    targets_NL = texts.targets[train.labels]
    if recipe.task == "score":
        return scores.ScoreReading.of(recipe, targets_NL, train.weights)
    return label_sets.LabelSetReading.of(recipe, texts.labels, targets_NL, train.weights)


def answering(
    task: TaskName,
    outputs_NC: NDArray[np.float64],
    split: LabelledTexts,
    targets_KL: NDArray[np.float32] | None,
    decision: Decision | None,
    *,
    is_own: bool,
) -> SplitAnswers:
    """What a saved model's outputs say of labelled texts.

    Args:
        split: the texts.
        targets_KL: as `TextData.targets`.
        decision: of the run.
        is_own: whether they are the run's own split. Of its validation texts those that the thresholds were fitted on
            are cross-fitted then, as in the run.
    """
    fitted_on = decision.fitted_on if decision is not None and is_own and split.split == "validation" else []
    rows = split.places_in(fitted_on)
    if targets_KL is None or decision is None:
        outputs = class_outputs(outputs_NC, split)
        if decision is None:
            return outputs
        if not len(rows) or decision.tuned_for is None:
            return by_thresholds(outputs, decision)
        tuning = Tuning(rows, split.labels[rows], split.groups[rows], decision.fitted_on, decision.tuned_for)
        return tuning.answered(outputs, decision)
    targets_NL = targets_KL[split.labels]
    if task == "score":
        losses_N = scores.text_losses(outputs_NC, targets_NL, decision)
        return scores.ScoreOutputs(outputs_NC, losses_N, targets_KL, tuple(decision.levels))
    losses_N = label_sets.text_losses(outputs_NC, targets_NL)
    fitted = (rows, targets_NL[rows], split.groups[rows]) if len(rows) else None
    return label_sets.answered(outputs_NC, losses_N, targets_KL, decision, fitted)


def outputs_of(task: TaskName, values_NC: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a saved model says where its answers are these: logits of probabilities, and scores as they are."""
    if task == "score":
        return values_NC
    if task == "multi_label":
        return label_sets.logits_of(values_NC)
    return np.asarray(np.log(np.maximum(values_NC, LEAST_PROBABILITY)), dtype=np.float64)


def class_outputs(logits_NC: NDArray[np.float64], split: LabelledTexts) -> Outputs:
    """What logits say of texts of one class each, or with votes for each class."""
    if split.votes is None:
        return Outputs(logits_NC, _cross_entropy(logits_NC, split.labels), weights_N=split.weights)
    shares_NC = split.votes.astype(np.float64) / split.votes.sum(axis=1, keepdims=True)
    top_N = logits_NC.max(axis=1, keepdims=True)
    logs_NC = logits_NC - top_N - np.log(np.exp(logits_NC - top_N).sum(axis=1, keepdims=True))
    return Outputs(logits_NC, -(shares_NC * logs_NC).sum(axis=1), split.votes, None, split.weights)


def _cross_entropy(logits_NC: NDArray[np.float64], labels_N: NDArray[Any]) -> NDArray[np.float64]:
    """Loss of each text in nats, without weights or smoothing."""
    top = logits_NC.max(axis=1)
    normaliser = top + np.log(np.exp(logits_NC - top[:, None]).sum(axis=1))
    return np.asarray(normaliser - logits_NC[np.arange(len(labels_N)), labels_N])
