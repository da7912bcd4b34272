"""Two views of a text: the loss by hand, and the same under any cut of the batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from glotune.data.tokenization import TokenStore
from glotune.errors import UserError
from glotune.recipe.loading import load_recipe
from glotune.tasks.cross_entropy import divergences
from glotune.tasks.single_label import SingleLabel
from glotune.tasks.task import Choice
from packed_batches import packed, random_ids

N = 6


@pytest.fixture
def task() -> SingleLabel:
    store = TokenStore(
        tokens=np.zeros(N, np.int32),
        token_types=None,
        offsets=np.arange(N + 1, dtype=np.int64),
        labels=np.array([0, 1, 2, 0, 1, 1], np.int16),
        languages=np.zeros(N, np.int16),
        language_names=["en"],
        rows=np.arange(N, dtype=np.int32),
        raw_lengths=np.ones(N, np.int32),
        weights=np.array([1, 2, 0.5, 1, 1, 3], np.float32),
    )
    weights = np.array([1.0, 0.5, 2.0], np.float32)
    return SingleLabel(["a", "b", "c"], {"train": store, "validation": store}, ["en"],
                       Choice("macro_f1", "source", True), weights, 0.1, consistency=0.7)  # fmt: skip


def two_answers() -> tuple[Callable[[Any], Tensor], Tensor]:
    """A network whose dropout is written down: for each text the logits of its first and of its second pass."""
    logits_2NC = torch.randn(2, N, 3, generator=torch.Generator().manual_seed(3), requires_grad=True)
    seen: dict[tuple[int, ...], int] = {}

    def network(batch: Any) -> Tensor:
        key = tuple(batch.rows.tolist())
        seen[key] = seen.get(key, -1) + 1
        return logits_2NC[seen[key]][torch.from_numpy(batch.rows)]

    return network, logits_2NC


def summed(task: SingleLabel, cuts: list[list[int]]) -> tuple[float, list[float], Tensor]:
    network, logits = two_answers()
    objective = task.objective(0, np.arange(N))
    loss, sums = 0.0, [0.0] * task.num_sums
    for rows in cuts:
        micro = replace(packed(random_ids([1] * len(rows))), rows=np.array(rows))
        part = objective.part(network, objective.dress(micro))
        part.loss.backward()
        loss += part.loss.item()
        sums = [a + b for a, b in zip(sums, part.sums.tolist(), strict=True)]
    assert logits.grad is not None
    assert objective.details(sums) == {"consistency": pytest.approx(sums[-1])}
    return loss, sums, logits.grad


def test_the_loss_is_r_drops_and_the_cut_changes_nothing(task: SingleLabel) -> None:
    loss, sums, gradient = summed(task, [list(range(N))])
    cut = summed(task, [[4, 1], [0], [5, 3, 2]])
    assert cut[0] == pytest.approx(loss, abs=1e-6)
    assert cut[1] == pytest.approx(sums, abs=1e-6)
    assert torch.allclose(cut[2], gradient, atol=1e-6)

    _, logits = two_answers()
    store = task.stores["train"]
    assert store.weights is not None
    labels, trust = torch.from_numpy(store.labels.astype(np.int64)), torch.from_numpy(store.weights)
    weights_C = torch.tensor([1.0, 0.5, 2.0])
    cross_entropy = torch.nn.functional.cross_entropy
    each = [cross_entropy(view, labels, weights_C, label_smoothing=0.1, reduction="none") for view in logits]
    hard = [(losses * trust).sum() / (weights_C[labels] * trust).sum() for losses in each]
    first, second = (torch.distributions.Categorical(logits=each) for each in logits)
    both = torch.distributions.kl_divergence(first, second) + torch.distributions.kl_divergence(second, first)
    apart = (0.5 * both * trust).sum() / trust.sum()
    assert loss == pytest.approx((sum(hard) / 2 + 0.7 * apart).item(), abs=1e-5)
    assert sums[-1] == pytest.approx(apart.item(), abs=1e-5)
    assert sum(sums[:-1]) == N
    assert set(task.epoch_metrics(sums)) == {"accuracy", "macro_f1"}


def test_equal_answers_lie_nowhere_apart() -> None:
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    apart = divergences(logits, logits)
    assert apart.tolist() == [0.0] * 4
    apart.sum().backward()
    assert logits.grad is not None
    assert float(logits.grad.abs().max()) < 1e-7


def test_what_it_does_not_go_with_is_named() -> None:
    base = {"data.train": "en.csv", "loss.consistency": {"weight": 1.0}}
    with pytest.raises(UserError, match=r"loss\.consistency is for the task single_label"):
        load_recipe("quickstart", base, {"task": "multi_label"})
    with pytest.raises(UserError, match="take one of them"):
        load_recipe("quickstart", base, {"distill": {"teacher": "runs/x"}})
    with pytest.raises(UserError, match=r"translation needs data\.translations"):
        load_recipe("quickstart", base, {"loss.consistency.views": ["translation"]})
    with pytest.raises(UserError, match=r"code_switch needs data\.augment\.code_switch"):
        load_recipe("quickstart", base, {"loss.consistency.views": ["dropout", "code_switch"]})
    with pytest.raises(UserError, match=r"code_switch has no dictionary: give lexicons or pairs"):
        load_recipe("quickstart", base, {"data.augment": {"code_switch": {"share": 0.5}}})
    with pytest.raises(UserError, match=r"loss\.consistency\.views"):
        load_recipe("quickstart", base, {"loss.consistency.views": ["backwards"]})
