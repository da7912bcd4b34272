"""A share of the generated inputs: each is accepted, or refused with glotune's own error."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KINDS = (
    "recipes", "data files", "prediction inputs", "texts to predict", "checkpoints", "run directories", "file names",
    "recipe scalars", "encodings", "label types", "label forms", "output targets", "foreign models",
)  # fmt: skip
ALL_RIGHT = ("checkpoints", "recipe scalars", "file names")
"""Kinds of which none or few are refused."""


@pytest.mark.extras
def test_generated_inputs_are_accepted_or_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "faults", "--folder", str(tmp_path), "fuzz", "--count", "400"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    split = [line.strip("| ").split(" | ") for line in done.stdout.splitlines()]
    rows = {row[0]: row[1:] for row in split if len(row) == 6}
    assert [name for name in KINDS if name in rows] == list(KINDS)
    assert sum(int(rows[name][0]) for name in KINDS) == 400
    assert all(int(rows[name][1]) > 0 for name in KINDS), "some of each kind get through"
    assert all(int(rows[name][2]) > 0 for name in KINDS if name not in ALL_RIGHT), "and some don't"


def test_the_judge_can_fail() -> None:
    program = """
from faults.fuzz import FuzzResult, try_one
from glotune.errors import UserError
def broken(): raise KeyError("x")
def commanding(): raise UserError("a")
result = FuzzResult("k")
assert "KeyError" in try_one(broken, result)
assert try_one(commanding, result) is None and result.refused == 1
from faults.fuzz import unfit
assert unfit("a\\x1b[2J") and unfit("\\u202e") and unfit("x" * 30_000) and not unfit("fine")
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=120)
