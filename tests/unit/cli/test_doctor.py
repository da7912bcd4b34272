from __future__ import annotations

import importlib.util
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from glotune.cli import doctor as machine
from glotune.cli.main import build_app
from glotune.model.card import Card
from glotune.model.packed import comparison
from glotune.model.packed.kernels import Kernels
from glotune.verbs import selftest


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
    ("card", "precision", "attention"),
    [
        (Card("cpu"), "bf16", "packed_sdpa"),
        (Card("cuda", "A100", (8, 0)), "fp32", "efficient"),
        (Card("cuda", "A100", (8, 0)), "bf16", "varlen"),
        (Card("cuda", "T4", (7, 5)), "fp16", "efficient"),
    ],
)
def test_the_attention_follows_card_and_precision(
    card: Card, precision: str, attention: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "compared", lambda kernels, *given: (kernels, {}))
    found, why = machine._attention(card, precision)
    assert found == attention
    assert ("checked here" in why) == (card.kind == "cuda")


def test_kernels_that_do_not_pass_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    faults = {"flash": ["flash attention, the output is off by 0.4"]}
    monkeypatch.setattr(comparison, "compared", lambda kernels, *given: (Kernels("sdpa", kernels.full), faults))
    found, why = machine._attention(Card("cuda", "B200", (10, 0)), "bf16")
    assert found == "packed_sdpa"
    assert why == "the faster kernels did not pass their check here: flash attention, the output is off by 0.4"


def test_a_gpu_that_is_not_used_is_shown_with_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glotune.model.card.why_no_cuda", lambda: "the NVIDIA driver (470.57) is too old")
    assert dict(machine.hardware_rows())["GPU"] == "not used: the NVIDIA driver (470.57) is too old"


@pytest.mark.extras  # five short trainings
def test_the_selftest_holds_on_the_cpu_itself() -> None:
    result = CliRunner().invoke(build_app("doctor"), ["doctor", "--selftest"], catch_exceptions=False)
    assert result.exit_code == 0, result.stdout
    shown = " ".join(result.stdout.split())
    assert "20 losses in fp32 holds: at most 0.0e+00 from the CPU's" in shown
    assert "each passed its comparison" in shown


def made_up(monkeypatch: pytest.MonkeyPatch, on: str | None = None, **losses: list[float]) -> list[selftest.Check]:
    """The checks of a device that trains so, by the name of the run; behind the first, which names it.

    Args:
        on: the device that the runs are on, whatever they were asked for.
    """
    known = {
        "cpu": [1.0, 0.5],
        "fp32": [1.0, 0.5],
        "chosen": [1.01, 0.5],
        "dropout": [1.1, 0.7],
    }
    deviations = ["attention without padding is off"] if losses else []

    def trained(folder: Path, device: str, **overrides: Any) -> Any:
        if losses.get(folder.name) == []:
            raise RuntimeError("CUDA error: no kernel image\nmore")
        plan = SimpleNamespace(device=on or device, precision="fp32", attention="packed_sdpa")
        return SimpleNamespace(path=folder, read_manifest=lambda: SimpleNamespace(plan=plan, deviations=deviations))

    monkeypatch.setattr(selftest, "_trained", trained)
    monkeypatch.setattr(selftest, "_losses", lambda run: (known | losses)[run.path.name])
    answers = SimpleNamespace(predict_proba=lambda texts: np.zeros((3, 3)))
    monkeypatch.setattr(selftest, "load", lambda path, device: answers)
    named, *checks = selftest.selftest("cpu")
    assert named.found.startswith("the CPU, compared with itself")
    return checks


def test_a_device_that_trains_otherwise_fails_the_selftest(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(check.holds for check in made_up(monkeypatch))
    for number, run in enumerate(("fp32", "chosen", "dropout")):
        wrong = [float("nan"), 0.7] if run == "dropout" else [1.2, 0.5]
        holds = [check.holds for check in made_up(monkeypatch, **{run: wrong})]
        assert holds[:-1] == [place != (0, 2, 3)[number] for place in range(4)]
        assert not holds[-1], "a fast path that was switched off is told"
    assert not made_up(monkeypatch, fp32=[1.0])[0].holds, "a step is missing"
    (check,) = made_up(monkeypatch, fp32=[])
    assert (check.holds, check.found) == (False, "CUDA error: no kernel image")
    assert [check.found for check in made_up(monkeypatch, on="cuda") if not check.holds] == ["the run was on cuda"] * 2


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
