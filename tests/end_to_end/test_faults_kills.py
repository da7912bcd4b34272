"""A dozen kills with -9, spread over full fine-tune, LoRA, trimmed vocabulary and prefix cache: nothing is lost."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.extras
def test_a_dozen_kills_lose_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "faults", "--folder", str(tmp_path), "kills", "--count", "12"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    kinds = [row for row in rows if len(row) == 4 and row[1].strip().isdigit()]
    assert [int(row[1]) for row in kinds] == [3, 3, 3, 3], "twelve kills hit"
    assert all(row[2].strip() == row[3].strip(" |") for row in kinds), "every run equals the uninterrupted one"
