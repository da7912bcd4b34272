"""What many ranks tell each other in a step: the gradients' buckets, and one sum of everything else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from end_to_end.test_processes import free_port
from glotune.recipe import recipe_yaml
from glotune.run.directory import RunDirectory
from small_runs import small_recipe

COUNTING = """
import atexit, contextlib, json, os, sys
from collections import Counter

import torch, torch.distributed as distributed
from glotune.engine import step as stepping
from glotune.engine.gradient_sum import GradientSum
from glotune.engine.step import Stepper
from glotune.verbs.train import train

counts, steps = Counter(), []
if sys.argv[4] == "float32":
    stepping.sums_dtype = lambda device: torch.float32
if sys.argv[4] == "after":
    # As it was: nothing on the way back, every gradient by itself once all is computed.
    def finish(self, sums):
        for parameter in [each for bucket in self._buckets for each in bucket][::-1]:
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            distributed.all_reduce(parameter.grad)
        return self._processes.sum_(sums)

    GradientSum.going_back = lambda self, is_last: contextlib.nullcontext()
    GradientSum.finish = finish
for name in ("all_reduce", "barrier", "broadcast_object_list"):
    def counted(*given, _own=getattr(distributed, name), _name=name, **named):
        counts[_name] += 1
        return _own(*given, **named)
    setattr(distributed, name, counted)
plain = Stepper._step

def step(self, *given):
    before = Counter(counts)
    outcome = plain(self, *given)
    steps.append(dict(counts - before))
    return outcome

def say():
    told = {"steps": steps, "all": counts, "joined": distributed.is_initialized()}
    json.dump(told, open(sys.argv[3] + "." + os.environ["RANK"], "w"))

Stepper._step = step
atexit.register(say)
train(sys.argv[1], out=sys.argv[2], report=False)
"""


def launched(folder: Path, how: str) -> tuple[RunDirectory, list[dict[str, Any]]]:
    """A run of two ranks, and what each of them counted."""
    recipe, script = folder / "recipe.yaml", folder / "counting.py"
    script.write_text(COUNTING, encoding="utf-8")
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-addr=127.0.0.1",
        f"--master-port={free_port()}", str(script), str(recipe), str(folder / how), str(folder / f"counts-{how}"), how,
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    counts = [json.loads((folder / f"counts-{how}.{rank}").read_text()) for rank in (0, 1)]
    return RunDirectory.open(folder / how), counts


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("collectives")
    (made / "recipe.yaml").write_text(recipe_yaml(small_recipe(made)), encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def plain(folder: Path) -> tuple[RunDirectory, list[dict[str, Any]]]:
    return launched(folder, "plain")


@pytest.mark.extras
def test_a_step_of_two_ranks_sums_its_gradients_and_once_more(plain: tuple[RunDirectory, list[dict[str, Any]]]) -> None:
    for found in plain[1]:
        assert found["steps"] == [{"all_reduce": 2}] * 8, "one bucket of gradients; sums, budgets and the wish to stop"
        between = found["all"]["all_reduce"] - 16
        assert between < 16, "asked between steps: around an evaluation and at the end, not after every step"
        assert not found["joined"], "a rank leaves the group before Python ends, whose end gloo's threads don't survive"


@pytest.mark.extras
def test_gradients_summed_on_the_way_back_are_those_summed_afterwards(
    folder: Path, plain: tuple[RunDirectory, list[dict[str, Any]]]
) -> None:
    """With sums of the gradients' precision, as accelerators keep them, one collective tells all."""
    afterwards, counts = launched(folder, "after")
    assert all(step["all_reduce"] > 20 for found in counts for step in found["steps"])
    together, counts = launched(folder, "float32")
    assert all(found["steps"] == [{"all_reduce": 1}] * 8 for found in counts)
    expected = load_file(afterwards.model / "model.safetensors")
    for run in (plain[0], together):
        weights = load_file(run.model / "model.safetensors")
        assert all(torch.equal(weights[name], expected[name]) for name in expected)
    losses, norms = (
        [event.data[name] for event in plain[0].events() if event.kind == "step"] for name in ("loss", "grad_norm")
    )
    assert losses == [event.data["loss"] for event in afterwards.events() if event.kind == "step"]
    assert norms == [event.data["grad_norm"] for event in afterwards.events() if event.kind == "step"]
