"""SIGTERM and Ctrl-C in every stage: status interrupted, exit code 130 within seconds, resumed to the same bits."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.extras
def test_a_signal_in_any_stage_leaves_a_clean_status_and_an_exact_resume(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "faults", "--folder", str(tmp_path), "signals", "--few"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines()[2:]]
    assert len(rows) == 10, "nine stages, and Ctrl-C pressed twice"
    assert all(row[4] == "equal" for row in rows)
    assert max(float(row[2]) for row in rows) < 20, "seconds, on a busy machine too"
