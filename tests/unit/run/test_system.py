"""Figures of the machine, and what looking at them costs."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import psutil
import pytest

from glotune.run import system
from glotune.run.system import Probe


def test_the_children_of_a_run_are_searched_for_now_and_then_and_counted_always(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    searched: list[int] = []
    children = psutil.Process.children

    def counted(self: psutil.Process, recursive: bool = False) -> Any:
        searched.append(self.pid)
        return children(self, recursive=recursive)

    monkeypatch.setattr(psutil.Process, "children", counted)
    clock = [100.0]
    monkeypatch.setattr(system.time, "monotonic", lambda: clock[0])
    probe = Probe()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert probe.look(os.getpid()).process_gib is not None
        assert len(probe._family) >= 2
        child.communicate(b"\n")
    assert probe.look(os.getpid()).process_gib is not None, "a child that has gone is no reason to know nothing"
    assert searched == [os.getpid()]
    clock[0] += system.FAMILY_SECONDS
    probe.look(os.getpid())
    assert searched == [os.getpid()] * 2


def test_a_run_that_is_gone_has_no_memory() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        probe = Probe()
        assert probe.look(child.pid).process_gib is not None
        child.communicate(b"\n")
    assert probe.look(child.pid).process_gib is None
    assert probe.look(None).process_gib is None
