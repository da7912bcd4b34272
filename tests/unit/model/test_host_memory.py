"""Freed memory stays with the process: the same pages serve the next micro-batch."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from glotune.model.cpu import host_memory

PROGRAM = """
import resource
import torch
from glotune.model.cpu.host_memory import keep_freed_memory
assert keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(8 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's switch")
def test_no_page_is_faulted_in_again() -> None:
    out = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    # 20 tensors of 32 MB are 160,000 pages where each is given back and asked for again.
    assert int(out.stdout) < 10_000


GIVEN_BACK = """
import torch
from glotune.model.cpu.host_memory import give_back_freed_memory, keep_freed_memory
def resident():
    return int(next(line for line in open("/proc/self/status") if line.startswith("RssAnon")).split()[1]) >> 10
assert keep_freed_memory()
held = [torch.ones(1 << 20) for _ in range(100)]
last = torch.ones(1 << 20)
before = resident()
del held
kept = before - resident()
assert give_back_freed_memory()
print(kept, before - resident())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's switch")
def test_what_was_freed_is_given_back_when_asked() -> None:
    out = subprocess.run([sys.executable, "-c", GIVEN_BACK], capture_output=True, text=True, check=True)
    kept, given_back = map(int, out.stdout.split())
    assert kept < 50 < 350 < given_back, f"of 400 MiB, {kept} fell at once and {given_back} after"


def test_other_platforms_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_memory.sys, "platform", "darwin")
    assert not host_memory.keep_freed_memory()
    assert not host_memory.give_back_freed_memory()


SHAPES = """
import sys
import torch
from glotune.model.cpu.host_memory import bound_kernel_caches
def used():
    return int(next(line for line in open("/proc/self/status") if line.startswith("RssAnon")).split()[1]) >> 10
if sys.argv[1] == "bounded":
    bound_kernel_caches()
weight = torch.randn(256, 256, dtype=torch.bfloat16)
torch.randn(8, 256, dtype=torch.bfloat16) @ weight
before = used()
for tokens in range(9, 609):
    torch.zeros(tokens, 256, dtype=torch.bfloat16) @ weight
print(used() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.skipif(not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="oneDNN has no bf16 here")
def test_kernels_for_shapes_that_never_come_again_do_not_pile_up() -> None:
    def growth(kind: str) -> int:
        clean = {name: value for name, value in os.environ.items() if name not in host_memory.KERNEL_CACHES}
        command = [sys.executable, "-c", SHAPES, kind]
        return int(subprocess.run(command, capture_output=True, text=True, check=True, env=clean).stdout)

    bounded, unbounded = growth("bounded"), growth("unbounded")
    assert bounded < unbounded / 3, f"{bounded} MiB against {unbounded}"


def test_what_the_environment_says_of_kernels_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRU_CACHE_CAPACITY", "7")
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", raising=False)
    host_memory.bound_kernel_caches()
    assert os.environ["LRU_CACHE_CAPACITY"] == "7"
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == str(host_memory.KERNELS)
