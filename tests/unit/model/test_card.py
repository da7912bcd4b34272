"""What a device is: asked once, with answers for cards that are not here."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from glotune.engine import plan as planning
from glotune.engine.plan import available_devices, choose_device, choose_precision, device_of
from glotune.errors import UserError
from glotune.model import card as cards
from glotune.model.card import Card, runs_on, why_no_cuda
from glotune.run.records import Plan

T4 = Card("cuda", "Tesla T4", (7, 5), 16 * 2**30)
A100 = Card("cuda", "A100", (8, 0), 80 * 2**30)
P100 = Card("cuda", "P100", (6, 0), 16 * 2**30)


@pytest.fixture
def nothing_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No GPU that torch sees; where the driver's version would stand."""
    driver = tmp_path / "version"
    monkeypatch.setattr(cards, "_DRIVER", driver)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return driver


def a_gpu(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], architectures: list[str]) -> None:
    properties = SimpleNamespace(name="A card", major=capability[0], minor=capability[1], total_memory=16 * 2**30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: architectures)
    monkeypatch.setattr(torch.version, "cuda", "13.0")


@pytest.mark.parametrize(
    ("capability", "runs"),
    [
        ((7, 0), False),
        ((7, 5), True),
        ((8, 0), True),
        ((8, 9), True),
        ((9, 0), True),
        ((10, 0), False),
        ((12, 0), True),
    ],
)
def test_code_for_a_card(capability: tuple[int, int], runs: bool) -> None:
    assert runs_on(["sm_75", "sm_80", "sm_86", "sm_90a", "sm_120", "gfx942"], capability) is runs
    assert runs_on(["sm_75", "compute_90"], (10, 0)), "the driver compiles it"
    assert not runs_on(["sm_75", "compute_90"], (8, 0))


def test_no_gpu_is_no_trouble(nothing_here: Path) -> None:
    assert why_no_cuda() is None
    assert choose_device("auto") == "cpu"


def test_a_driver_that_torch_does_not_work_with(nothing_here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing_here.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.57.02  Tue Jul 13\nGCC version: 9\n")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    why = why_no_cuda()
    assert why is not None
    assert "driver (470.57.02)" in why
    assert "CUDA 13.0" in why
    assert choose_device("auto") == "cpu"
    with pytest.raises(UserError, match=r"train\.device is cuda, which this machine lacks: the NVIDIA driver \(470"):
        choose_device("cuda")
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "built without CUDA" in str(why_no_cuda())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert why_no_cuda() is None, "hidden on purpose"


def test_a_card_without_code_is_not_used_and_named(nothing_here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_gpu(monkeypatch, (6, 1), ["sm_75", "sm_90"])
    assert available_devices() == ["cpu"], "as torch sees it, it is there"
    assert "has no code for A card, 16.0 GiB, compute capability 6.1" in str(why_no_cuda())
    a_gpu(monkeypatch, (8, 6), ["sm_75", "sm_80"])
    assert available_devices() == ["cuda", "cpu"]
    assert Card.of("cuda") == Card("cuda", "A card", (8, 6), 16 * 2**30)
    monkeypatch.setattr(torch.version, "hip", "7.0")
    assert Card.of("cuda").capability is None, "ROCm calls itself cuda, with other kernels"
    assert why_no_cuda() is None


def test_precision_by_card(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [choose_precision("auto", card, 768)[0] for card in (P100, T4, A100)] == ["fp32", "fp16", "bf16"]
    assert choose_precision("auto", Card("mps"), 768)[0] == "fp32"
    with pytest.raises(UserError, match=r"train\.precision is bf16, but this machine's Tesla T4, 16\.0 GiB"):
        choose_precision("bf16", T4, 768)
    with pytest.raises(UserError, match="fp16"):
        choose_precision("fp16", Card("cpu"), 768)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: not including_emulation)
    assert choose_precision("auto", Card("cuda", "MI300X"), 768)[0] == "bf16"


def test_each_rank_plans_with_its_own_memory() -> None:
    budgets = [planning.choose_budget(card, 768, 12, "bf16")[0] for card in (T4, A100)]
    assert budgets[0] * 4 < budgets[1]


def test_a_run_goes_on_where_its_device_is(nothing_here: Path) -> None:
    plan = Plan(device="cuda", precision="bf16", attention="varlen", token_budget=1024, threads=1)
    assert device_of(plan, "auto") == "cpu"
    assert device_of(plan.model_copy(update={"device": "cpu"}), "auto") == "cpu"
    with pytest.raises(UserError, match="train"):
        device_of(None, "cuda")
