"""The help of every command, as users read it. Rewritten with GLOTUNE_UPDATE_GOLDEN=1."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from glotune.cli.main import COMMANDS

FOLDER = Path(__file__).parent / "cli_help"
FAMILIES = {
    "recipes": ["list", "show", "schema"],
}
"""Commands with verbs of their own."""
OURS = (
    "train", "resume", "quickstart", "list", "evaluate", "predict", "calibrate", "export", "serve", "recipes", "doctor",
    "version",
)  # fmt: skip
SHOWN = [[name] for name in OURS] + [[name, verb] for name, verbs in FAMILIES.items() for verb in verbs]


def help_of(*command: str) -> str:
    """The help at a fixed width, without colours."""
    environment = {**os.environ, "COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"}
    program = "import sys; sys.argv[0] = 'glotune'; from glotune.cli.main import run; run()"
    done = subprocess.run(
        [sys.executable, "-c", program, *command, "--help"],
        env=environment, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines()) + "\n"


@pytest.mark.parametrize("command", SHOWN, ids=" ".join)
def test_the_help_is_as_reviewed(command: list[str]) -> None:
    file = FOLDER / f"{'-'.join(command)}.txt"
    shown = help_of(*command)
    if os.environ.get("GLOTUNE_UPDATE_GOLDEN"):
        FOLDER.mkdir(exist_ok=True)
        file.write_text(shown, encoding="utf-8")
    assert shown == file.read_text(encoding="utf-8")


def test_the_first_help_names_every_command() -> None:
    lines = help_of().splitlines()
    for name, (place, _) in COMMANDS.items():
        there = find_spec(place.partition(":")[0]) is not None
        assert any(line.startswith(f"│ {name} ") for line in lines) == there, name
