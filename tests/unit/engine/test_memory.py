"""Free memory within control groups, and what a computation holds."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
import torch

from glotune.engine import probe
from glotune.engine.probe import LiveBytes, free_on_host, local_ranks, peak_of

CPU = torch.device("cpu")


def group(folder: Path, limit: str, used: int, cached: int, *, v1: bool = False) -> None:
    """The files of a control group, v2 or v1."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    names = names if v1 else ("memory.max", "memory.current", "inactive_file")
    (folder / names[0]).write_text(limit + "\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {cached}\n")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host with 1,000 bytes available; its control groups under `tmp_path`."""
    available = type("Memory", (), {"available": 1000})
    monkeypatch.setattr(psutil, "virtual_memory", lambda: available)
    monkeypatch.setattr(probe, "CGROUPS", tmp_path)
    monkeypatch.setattr(probe, "OWN_CGROUP", tmp_path / "own")
    return tmp_path


def test_without_groups_the_system_decides(host: Path) -> None:
    assert free_on_host() == 1000
    (host / "own").write_text("0::/job/step\n")
    assert free_on_host() == 1000, "groups without files: not mounted here"


def test_the_nearest_limit_of_all_groups_decides(host: Path) -> None:
    (host / "own").write_text("0::/job/step\n")
    group(host / "job" / "step", "max", 10, 0)
    group(host / "job", "500", 200, 50)
    assert free_on_host() == 350, "what files merely cache can be had"
    group(host / "job" / "step", "100", 60, 0)
    assert free_on_host() == 40
    group(host / "job" / "step", "100", 160, 0)
    assert free_on_host() == 0, "never negative"


def test_a_container_sees_its_own_group_as_the_root(host: Path) -> None:
    (host / "own").write_text("0::/docker/abcdef\n")
    group(host, "300", 100, 0)
    assert free_on_host() == 200


def test_version_one(host: Path) -> None:
    (host / "own").write_text("7:memory:/slurm/job\n3:cpu,cpuacct:/slurm/job\n")
    group(host / "memory" / "slurm" / "job", "700", 100, 1, v1=True)
    assert free_on_host() == 601


def test_ranks_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert local_ranks(8) == 8
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert local_ranks(8) == 2


def test_the_peak_is_what_lives_at_once() -> None:
    def two_after_each_other() -> None:
        torch.zeros(1000).add_(1)
        torch.zeros(500)

    def two_together() -> list[torch.Tensor]:
        return [torch.zeros(1000), torch.zeros(500).view(5, 100).t()]

    assert peak_of(two_after_each_other, CPU, []) == 4000
    assert peak_of(two_together, CPU, []) == 6000


def test_views_of_what_is_there_weigh_nothing() -> None:
    weights = torch.zeros(100, 10)
    assert peak_of(lambda: weights.t()[3:].reshape(-1, 1), CPU, [weights]) == 0 + 7 * 100 * 4
    assert peak_of(lambda: weights.view(-1)[:5], CPU, [weights]) == 0


def test_activations_live_until_their_gradients_are_taken() -> None:
    weight = torch.ones(64, requires_grad=True)
    with LiveBytes([weight]) as live:
        hidden = (weight * 2).exp()
        assert live.now >= 2 * 64 * 4 - 64 * 4, "the result of exp is kept for its gradient"
        (gradient,) = torch.autograd.grad(hidden.sum(), [weight])
        del hidden
        assert live.now == 64 * 4, "the gradient alone is left"
    assert gradient.shape == weight.shape


def test_the_same_computation_weighs_the_same() -> None:
    layer = torch.nn.Sequential(torch.nn.Linear(16, 64), torch.nn.GELU(), torch.nn.Linear(64, 16))
    values = torch.zeros(32, 16)

    def work() -> None:
        torch.autograd.grad(layer(values).sum(), [layer[0].weight])

    assert len({peak_of(work, CPU, [*layer.parameters(), values]) for _ in range(3)}) == 1
