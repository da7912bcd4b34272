"""Parameter groups and the decay of embedding rows."""

import pytest
import torch
from torch import nn

from glotune.engine.optimizer import NamedParameter, RowDecay, build_optimizer, parameter_groups
from glotune.recipe import schema


def named(name: str, depth: int | None, *shape: int) -> NamedParameter:
    return NamedParameter(name, nn.Parameter(torch.randn(*shape)), depth)


def test_layers_learn_slower_the_further_from_the_head() -> None:
    parameters = [named("embed", 0, 4, 2), named("one", 1, 2, 2), named("two", 2, 2, 2), named("head", None, 2, 2)]
    spec = schema.Optimizer(learning_rate=1e-2, layer_decay=0.5, head_learning_rate=0.1)
    groups = parameter_groups(parameters, spec, num_layers=2, embedding_name=None)
    rates = {name: group["lr"] for group in groups for name in group["names"]}
    assert rates == pytest.approx({"embed": 1e-2 * 0.5**3, "one": 1e-2 * 0.25, "two": 1e-2 * 0.5, "head": 0.1})


def test_no_decay_on_biases_norms_and_word_embeddings() -> None:
    parameters = [named("words", 0, 4, 2), named("weight", 1, 2, 2), named("bias", 1, 2), named("norm", 1, 2)]
    groups = parameter_groups(parameters, schema.Optimizer(weight_decay=0.1), 1, embedding_name="words")
    decays = {name: group["weight_decay"] for group in groups for name in group["names"]}
    assert decays == {"words": 0.0, "weight": 0.1, "bias": 0.0, "norm": 0.0}


def test_seen_rows_move_as_in_adamw_and_unseen_rows_stay_bit_equal() -> None:
    torch.manual_seed(0)
    source = torch.randn(6, 3)
    seen = torch.tensor([True, False, True, True, False, False])
    gradients = [torch.randn(6, 3) * seen.unsqueeze(1) for _ in range(5)]
    spec = schema.Optimizer(learning_rate=0.05, weight_decay=0.3)

    plain = nn.Parameter(source.clone())
    reference = torch.optim.AdamW([plain], lr=0.05, weight_decay=0.3, betas=spec.betas, eps=spec.epsilon)
    ours = NamedParameter("words", nn.Parameter(source.clone()), 0)
    optimizer = build_optimizer(parameter_groups([ours], spec, 1, "words"), spec)
    decay = RowDecay(ours.tensor, seen, 0.3, 0.05)
    for gradient in gradients:
        plain.grad, ours.tensor.grad = gradient.clone(), gradient.clone()
        reference.step()
        decay.apply(1.0)
        optimizer.step()
    assert torch.allclose(ours.tensor[seen], plain[seen], atol=1e-6)
    assert torch.equal(ours.tensor[~seen], source[~seen])
    assert not torch.equal(plain[~seen], source[~seen]), "plain AdamW would have decayed them"
