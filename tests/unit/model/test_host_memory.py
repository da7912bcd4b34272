"""Freed memory stays with the process: the same pages serve the next micro-batch."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource
import torch
from glotune.model.host_memory import keep_freed_memory
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


def test_other_platforms_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from glotune.model import host_memory

    monkeypatch.setattr(host_memory.sys, "platform", "darwin")
    assert not host_memory.keep_freed_memory()
