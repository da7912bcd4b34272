"""What a rank and a prediction ask of the device that is theirs: each undoing of it fails one of these."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from contract.test_tasks import single_label
from glotune.data.batches import PackedBatch, sent
from glotune.engine import predict, probe
from glotune.engine.accelerator import give_back
from glotune.engine.predict import TorchModel
from glotune.engine.processes import Processes
from glotune.errors import UserError
from glotune.model.card import Card

T4 = Card("cuda", "Tesla T4", (7, 5), 16 * 2**30)
PROJECT = Path(__file__).parents[3]


def test_a_prediction_in_bf16_asks_for_a_card_that_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = single_label(tmp_path).network
    monkeypatch.setattr(Card, "of", lambda device: T4)
    with pytest.raises(UserError, match="precision is bf16, but this machine's Tesla T4"):
        TorchModel(network, "cuda", "bf16", token_budget=64)


def test_a_prediction_settles_its_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(predict, "settle", lambda device, deterministic: told.append((device, deterministic)))
    TorchModel(single_label(tmp_path).network, "cpu", "fp32", token_budget=64)
    assert told == [(torch.device("cpu"), False)]


def test_unused_blocks_go_back_to_their_device(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: done.append("cuda"))
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: done.append("mps"))
    for device in ("cpu", "cuda", "mps"):
        give_back(torch.device(device))
    assert done == ["cuda", "mps"]


def test_a_rank_reads_its_own_card(monkeypatch: pytest.MonkeyPatch) -> None:
    own = torch.device("cuda", 3)

    def properties(device: Any) -> Any:
        return SimpleNamespace(name="A card", major=8, minor=0, total_memory=80 if device == own else 16)

    monkeypatch.setattr(torch.cuda, "get_device_properties", properties)
    assert Card.of(own).memory == 80


def test_a_run_asks_the_device_of_its_rank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(Card, "of", lambda device: asked.append(device) or Card("cpu"))
    parts = single_label(tmp_path)
    assert asked[0] is parts.device


def test_a_ranks_free_memory_is_that_of_its_card(monkeypatch: pytest.MonkeyPatch) -> None:
    own = torch.device("cuda", 1)
    for name, values in (("mem_get_info", (100, 0)), ("memory_reserved", 30), ("memory_allocated", 10)):
        none = (0, 0) if name == "mem_get_info" else 0
        monkeypatch.setattr(torch.cuda, name, lambda there, of=values, none=none: of if there == own else none)
    assert probe.free_memory(own) == 120


def test_what_a_gpu_copies_is_in_page_locked_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned: list[Any] = []
    monkeypatch.setattr(PackedBatch, "pinned", lambda self: pinned.extend(self.rows) or self)
    parts = single_label(tmp_path)
    there = replace(parts, processes=Processes(0, 1, torch.device("cuda")))
    rows = parts.epoch(0)[0]
    list(there.micro_batches("train", rows, 64))
    assert sorted(pinned) == sorted(rows)


@pytest.mark.parametrize("page", ["README.md", "docs/operation.md", "docs/tour.md", "docs/reliability.md"])
def test_the_same_bits_are_promised_on_a_cpu_alone(page: str) -> None:
    text = " ".join((PROJECT / page).read_text(encoding="utf-8").split())
    assert 0 < text.count("bit for bit") == text.count("on a CPU bit for bit")


def test_what_a_prediction_sends_is_in_page_locked_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned: list[Any] = []
    monkeypatch.setattr(PackedBatch, "pinned", lambda self: pinned.extend(self.rows) or self)
    monkeypatch.setattr(
        predict, "forward", lambda given, *a, **b: ((each, torch.zeros(len(each), 3)) for each in given)
    )
    parts = single_label(tmp_path)
    model = TorchModel(parts.network, "cpu", "fp32", token_budget=64)
    model.device = "cuda"
    model.logits(store := parts.stores["validation"])
    assert sorted(pinned) == list(range(len(store)))


def test_what_is_sent_is_page_locked_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: told.append("pinned") or self)
    monkeypatch.setattr(
        torch.Tensor, "to", lambda self, device, non_blocking: told.append((device.type, non_blocking)) or self
    )
    sent(torch.zeros(2), torch.device("cuda"))
    assert told == ["pinned", ("cuda", True)]
