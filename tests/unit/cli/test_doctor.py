from __future__ import annotations

import importlib.util
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from glotune.cli import doctor as machine
from glotune.cli.main import build_app


def test_doctor_explains_every_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    result = CliRunner().invoke(build_app("doctor"), ["doctor"], catch_exceptions=False)
    assert result.exit_code == 0
    shown = " ".join(result.stdout.split())
    for part in ("cores for this process", "GiB free", "train.device", "train.precision", "attention", "micro-batch",
                 "threads", "transformers", "HF_HUB_OFFLINE is set", "halves this until it fits", "now).",
                 "OMP_NUM_THREADS", "compilation off:", "glotune train RECIPE --plan"):  # fmt: skip
        assert part in shown


@pytest.mark.parametrize(
    ("device", "precision", "attention"),
    [("cpu", "bf16", "packed_sdpa"), ("cuda", "fp32", "packed_sdpa"), ("cuda", "bf16", "varlen")],
)
def test_the_attention_follows_device_and_precision(device: str, precision: str, attention: str) -> None:
    assert machine._attention(device, precision)[0] == attention


def test_what_is_missing_has_its_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(machine, "find_spec", lambda name: None)
    rows = dict(machine.missing_parts())
    assert set(rows) == set(machine.OPTIONAL)
    assert all("pip install 'glotune[" in text for text in rows.values())
    extras = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert {extra for extra, _ in machine.OPTIONAL.values()} <= set(extras)
    monkeypatch.setattr(machine, "find_spec", importlib.util.find_spec)
    monkeypatch.setattr(machine, "OPTIONAL", {"pytest": ("dev", "testing")})
    assert machine.missing_parts() == []


def test_install_lines_are_printed_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "find_spec", lambda name: None)
    result = CliRunner().invoke(build_app("doctor"), ["doctor"], catch_exceptions=False)
    assert "pip install 'glotune[mlflow]'" in result.stdout
