"""What a process settles with its accelerator, and what it does when memory runs out."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from contract.test_tasks import recorder_in, single_label
from glotune.engine import accelerator, assembly, fit
from glotune.engine.accelerator import before_cuda, out_of_memory, settle, within_memory
from glotune.engine.processes import LONGEST_WAIT, Processes

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: ..."),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError(
            "MPS backend out of memory (MPS allocated: 9.00 GB, other allocations: 1 GB, max allowed: 9.07 GB)"
        ),
    ],
    ids=lambda error: str(error)[:30],
)
def test_every_way_of_saying_it(error: BaseException) -> None:
    assert out_of_memory(error)


def test_other_errors_are_none() -> None:
    assert not out_of_memory(RuntimeError("CUDA error: device-side assert triggered"))
    assert not out_of_memory(ValueError("out of memory"))


def test_work_is_repeated_under_half_the_budget_until_it_fits() -> None:
    tried, told = [], []

    def work(budget: int) -> str:
        tried.append(budget)
        if budget > 30:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return "done"

    assert within_memory(work, 100, 12, CPU, told.append) == "done"
    assert tried == [100, 50, 25]
    assert told == [50, 25]
    with pytest.raises(torch.OutOfMemoryError):
        within_memory(work, 100, 64, CPU, told.append)
    with pytest.raises(ZeroDivisionError):
        within_memory(lambda budget: 1 // 0, 100, 1, CPU, told.append)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "CUBLAS_WORKSPACE_CONFIG"):
        monkeypatch.setenv(name, "")  # so that what is set here is undone
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("environment")
def test_the_allocator_grows_its_segments_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    before_cuda(deterministic=False)
    assert os.environ["PYTORCH_ALLOC_CONF"] == "expandable_segments:True"
    assert "PYTORCH_CUDA_ALLOC_CONF" not in os.environ, "torch warns of its older name"
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    monkeypatch.delenv("PYTORCH_ALLOC_CONF")
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:64")
    before_cuda(deterministic=True)
    assert os.environ["PYTORCH_CUDA_ALLOC_CONF"] == "max_split_size_mb:64"
    assert "PYTORCH_ALLOC_CONF" not in os.environ
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


@pytest.mark.usefixtures("environment")
def test_a_run_on_a_gpu_sets_it_before_cuda_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str | None] = []

    class Stopped(Exception):
        pass

    def starts(cpu: bool, timeout: timedelta) -> None:
        seen.append(os.environ.get("PYTORCH_ALLOC_CONF"))
        raise Stopped

    monkeypatch.setattr("glotune.engine.processes.PartialState", starts)
    for device in ("cuda", "cpu"):
        with pytest.raises(Stopped):
            Processes.start(device)
        monkeypatch.delenv("PYTORCH_ALLOC_CONF", raising=False)
    assert seen == ["expandable_segments:True", None]


def test_a_run_is_on_its_own_device_whatever_a_run_before_it_was_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accelerate keeps the device of a process's first run: on a GPU, a second run would have stayed on the CPU."""
    first = SimpleNamespace(process_index=0, num_processes=1, backend=None, device=CPU)
    monkeypatch.setattr("glotune.engine.processes.PartialState", lambda **given: first)
    assert Processes.start("cuda").device == torch.device("cuda")
    assert Processes.start("cpu").device == CPU
    of_two = SimpleNamespace(process_index=1, num_processes=2, backend="nccl", device=torch.device("cuda", 1))
    monkeypatch.setattr("glotune.engine.processes.PartialState", lambda **given: of_two)
    assert Processes.start("cuda").device == torch.device("cuda", 1)


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_ranks_wait_for_hours_of_work_that_one_does_alone(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch by itself gives a rank up after 10 or 30 minutes in a barrier."""
    given: dict[str, object] = {}

    def joins(**keys: object) -> SimpleNamespace:
        given.update(keys)
        return SimpleNamespace(process_index=1, num_processes=2, backend="nccl", device=CPU)

    monkeypatch.setattr("glotune.engine.processes.PartialState", joins)
    Processes.start(device)
    assert given["timeout"] == LONGEST_WAIT >= timedelta(hours=12)


def test_cudnn_attention_is_off_on_gpus_and_determinism_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, bool]] = []
    monkeypatch.setattr(torch.backends.cuda, "enable_cudnn_sdp", lambda on: told.append(("cudnn", on)))
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda on: told.append(("deterministic", on)))
    monkeypatch.setattr("torch.utils.deterministic.fill_uninitialized_memory", True)
    settle(CPU, deterministic=True)
    assert told == []
    settle(CUDA, deterministic=True)
    assert told == [("cudnn", False), ("deterministic", True)]


def test_a_recipe_asks_for_the_same_bits_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[bool] = []
    monkeypatch.setattr(assembly, "settle", lambda device, deterministic: told.append(deterministic))
    for asked in (True, False):
        single_label(tmp_path, train__deterministic=asked)
    assert told == [True, False]


def test_a_runs_cost_holds_the_peak_of_its_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "peak_device_memory", lambda device: {"peak_device_memory_bytes": 5 * 2**20})
    found = fit.token_costs(single_label(tmp_path), 2, recorder_in(tmp_path).directory)
    assert found["wall"]["peak_device_memory_bytes"] == 5 * 2**20
    assert found["wall"]["peak_memory_bytes"] > 5 * 2**20, "the host's stands beside it"


def test_the_peak_of_a_gpu_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert accelerator.peak_device_memory(CPU) == {}
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 5 if device == CUDA else 0)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 7 if device == CUDA else 0)
    assert accelerator.peak_device_memory(CUDA) == {
        "peak_device_memory_bytes": 5,
        "peak_device_memory_reserved_bytes": 7,
    }
