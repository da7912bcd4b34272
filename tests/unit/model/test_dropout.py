"""The quick mask drops what it should, scales so that the mean stays, and repeats under a seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from glotune.model.cpu.dropout import Dropout, dropout, scaled_mask, use_fast_dropout


@pytest.mark.parametrize("rate", [0.001, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_share_and_scale(rate: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    count = 1_000_003
    out = dropout(torch.ones(count, dtype=dtype), rate)
    dropped = float((out == 0).double().mean())
    assert abs(dropped - rate) < 5 * (rate * (1 - rate) / count) ** 0.5 + 1 / 65536
    (scale,) = out[out != 0].unique()
    assert abs(float(scale) * (1 - rate) - 1) < (1e-3 if dtype == torch.float32 else 1e-2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_the_mask_is_the_plain_one_of_drawn_bits(dtype: torch.dtype) -> None:
    torch.manual_seed(3)
    found = scaled_mask(torch.Size((7, 33)), 0.1, dtype)
    torch.manual_seed(3)
    seed = int(torch.randint(2**63 - 1, (1,), dtype=torch.int64))
    words = np.random.Generator(np.random.SFC64(seed)).integers(0, 2**64, 58, dtype=np.uint64)
    kept = round(0.9 * 2**16)
    plain = torch.from_numpy(words.view(np.int16))[:231].view(7, 33) < kept - 2**15
    assert torch.equal(found, plain.to(dtype) * torch.tensor(2**16 / kept, dtype=dtype))


def test_elements_are_independent() -> None:
    torch.manual_seed(1)
    mask = (dropout(torch.ones(4096, 64), 0.5) != 0).double() - 0.5
    correlation = (mask.T @ mask) / len(mask) * 4
    assert (correlation - torch.eye(64)).abs().max() < 6 / 4096**0.5
    neighbours = (mask[1:] * mask[:-1]).mean() * 4
    assert abs(float(neighbours)) < 6 / mask.numel() ** 0.5


def test_the_seed_decides() -> None:
    values = torch.ones(3, 5, 7)
    torch.manual_seed(2)
    first, second = dropout(values, 0.5), dropout(values, 0.5)
    torch.manual_seed(2)
    assert torch.equal(first, dropout(values, 0.5))
    assert not torch.equal(first, second)


def test_gradient_is_the_mask() -> None:
    values = torch.randn(100, requires_grad=True)
    out = dropout(values, 0.3)
    out.sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad * values.detach(), out.detach())


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_ends(rate: float) -> None:
    assert torch.equal(dropout(torch.ones(10), rate), torch.full((10,), 1.0 - rate))


def test_modules_are_replaced_and_quiet_in_evaluation() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.4), nn.ModuleDict({"inner": nn.Dropout(0.2)})["inner"])
    model.eval()
    use_fast_dropout(model)
    assert [part.p for part in model.modules() if isinstance(part, Dropout)] == [0.4, 0.2]
    assert not model[1].training
    assert torch.equal(model[1](torch.ones(9)), torch.ones(9))
