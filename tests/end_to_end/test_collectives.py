"""What many ranks tell each other in a step: the gradients' buckets, and one sum of everything else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from end_to_end.test_processes import free_port
from glotune.recipe import recipe_yaml
from small_runs import small_recipe

COUNTING = """
import json, sys
from collections import Counter

import torch.distributed as distributed
from glotune.engine.step import Stepper
from glotune.verbs.train import train

counts, steps = Counter(), []
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

Stepper._step = step
train(sys.argv[1], out=sys.argv[2], report=False)
json.dump({"steps": steps, "all": counts}, open(sys.argv[3] + "." + __import__("os").environ["RANK"], "w"))
"""


@pytest.mark.extras
def test_a_step_of_two_ranks_sums_its_gradients_and_once_more(tmp_path: Path) -> None:
    recipe, script = tmp_path / "recipe.yaml", tmp_path / "counting.py"
    recipe.write_text(recipe_yaml(small_recipe(tmp_path)), encoding="utf-8")
    script.write_text(COUNTING, encoding="utf-8")
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-addr=127.0.0.1",
        f"--master-port={free_port()}", str(script), str(recipe), str(tmp_path / "run"), str(tmp_path / "counts"),
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for rank in (0, 1):
        found = json.loads((tmp_path / f"counts.{rank}").read_text())
        assert found["steps"] == [{"all_reduce": 2}] * 8, "one bucket of gradients; sums, budgets and the wish to stop"
        between = found["all"]["all_reduce"] - 16
        assert between < 16, "asked between steps: around an evaluation and at the end, not after every step"
