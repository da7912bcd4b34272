"""Fast paths are compared before the first step; what does not hold is switched off, and the record says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from contract.test_tasks import TASKS, recorder_in, single_label
from glotune.engine import assembly, fast_paths
from glotune.engine.assembly import as_far_as_here
from glotune.engine.fast_paths import with_fast_paths
from glotune.engine.parts import Parts
from glotune.model.card import Card
from glotune.model.packed.kernels import PADDED, Kernels
from glotune.verbs.average import average
from glotune.verbs.train import train
from small_runs import small_recipe
from varlen_reference import kernels_on_the_cpu, reference_varlen

A100, T4 = Card("cuda", "A100", (8, 0), 80 * 2**30), Card("cuda", "Tesla T4", (7, 5), 16 * 2**30)
BOTH = Kernels("flash", "efficient")


def checked(parts: Parts, folder: Path, monkeypatch: pytest.MonkeyPatch, attention: str = "efficient") -> list[str]:
    """The deviations of a run on an A100, whose kernels are what stands in for them."""
    plan = parts.plan.model_copy(update={"attention": attention})
    recorder, said = recorder_in(folder), []
    monkeypatch.setattr(recorder, "deviation", said.append)
    found = with_fast_paths(replace(parts, plan=plan), A100, recorder)
    kept = parts.network.kernels == BOTH
    assert kept == (found.plan.attention == attention) == (not said)
    assert kept or "did not pass its check" in found.plan.reasons["attention"]
    return said


@pytest.mark.parametrize("make", TASKS.values(), ids=TASKS)
def test_kernels_that_hold_are_used(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = make(tmp_path)
    before = {name: value.detach().clone() for name, value in parts.trainable.items()}
    randomness = torch.random.get_rng_state()
    with kernels_on_the_cpu():
        assert checked(parts, tmp_path, monkeypatch) == []
    assert torch.equal(torch.random.get_rng_state(), randomness)
    assert all(torch.equal(value, before[name]) for name, value in parts.trainable.items())
    assert all(value.grad is None for value in parts.trainable.values())


def test_kernels_that_differ_on_texts_of_the_run_alone_are_switched_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The product is right on made numbers; the network on the run's texts is not."""
    parts = single_label(tmp_path)
    monkeypatch.setattr(fast_paths, "compared", lambda kernels, *given: (kernels, {}))
    with kernels_on_the_cpu(lambda *given: reference_varlen(*given) + 3.0):
        (said,) = checked(parts, tmp_path, monkeypatch)
    assert said.startswith("attention without padding is off, texts are padded around the product: the network's")
    assert parts.network.kernels == PADDED


def test_kernels_that_fail_are_switched_off_on_all_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*given: Any) -> torch.Tensor:
        raise RuntimeError("no kernel image")

    with kernels_on_the_cpu(fails):
        (said,) = checked(single_label(tmp_path), tmp_path, monkeypatch)
    assert said.endswith("around the product: efficient attention fails: no kernel image")
    parts = single_label(tmp_path)
    monkeypatch.setattr(type(parts.processes), "any", lambda self, flag: True)
    with kernels_on_the_cpu():
        (said,) = checked(parts, tmp_path, monkeypatch)
    assert said.endswith("it failed on another rank")


@pytest.mark.parametrize("rate", [0.0, 0.1])
def test_what_is_wrong_under_dropout_alone_is_said_of_runs_with_dropout(
    rate: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = single_label(tmp_path)
    for part in parts.network.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = rate
    plan = parts.plan.model_copy(update={"attention": "efficient"})
    recorder, said = recorder_in(tmp_path), []
    monkeypatch.setattr(recorder, "deviation", said.append)
    with kernels_on_the_cpu(lambda *given: reference_varlen(*given) * (0.9 if given[9] else 1.0)):
        with_fast_paths(replace(parts, plan=plan), A100, recorder)
    assert parts.network.kernels == replace(BOTH, undropped=frozenset({"efficient", "flash"}))
    assert [line.split(",")[0] for line in said] == (["under dropout"] if rate else [])


def test_a_plan_that_names_none_compares_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = single_label(tmp_path)
    monkeypatch.setattr(fast_paths, "compared", lambda *given: 1 / 0)
    found = with_fast_paths(parts, A100, recorder_in(tmp_path))
    assert found.plan == parts.plan
    assert parts.network.kernels == PADDED


def test_a_plan_of_another_machine_is_followed_as_far_as_it_goes(tmp_path: Path) -> None:
    parts = single_label(tmp_path)
    made = parts.plan.model_copy(
        update={"device": "cuda", "precision": "bf16", "attention": "varlen", "token_budget": 60_000}
    )
    network = parts.network
    assert as_far_as_here(made, network, A100) == (made, [])
    plan, said = as_far_as_here(made, network, T4)
    assert (plan.precision, plan.attention, plan.token_budget) == ("fp16", "efficient", 60_000)
    assert [line.split(":")[0] for line in said] == [
        "precision fp16 instead of the plan's bf16",
        "attention efficient instead of the plan's varlen",
    ]
    plan, said = as_far_as_here(made, network, Card("cpu"))
    assert (plan.device, plan.precision, plan.attention) == ("cpu", "bf16", "packed_sdpa"), "a CPU can, if slowly"
    assert plan.token_budget < 60_000
    assert len(said) == 3
    on_a_cpu = parts.plan.model_copy(update={"precision": "bf16"})
    assert as_far_as_here(on_a_cpu, network, Card("cpu")) == (on_a_cpu, [])


def test_a_gpu_that_is_not_used_is_said_in_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly, "why_no_cuda", lambda: "the NVIDIA driver (470.57) is too old")
    run = train(small_recipe(tmp_path, train__epochs=1, train__device="auto"), out=tmp_path / "run", report=False)
    warnings = [event.data["message"] for event in run.directory.events() if event.kind == "warning"]
    assert "the NVIDIA driver (470.57) is too old. This run computes on cpu" in warnings


def test_fp16_that_leaves_its_range_is_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = single_label(tmp_path)
    half = replace(parts, plan=parts.plan.model_copy(update={"precision": "fp16"}))
    said: list[str] = []
    recorder = recorder_in(tmp_path)
    monkeypatch.setattr(recorder, "deviation", said.append)
    assert with_fast_paths(half, T4, recorder).plan.precision == "fp16"
    assert said == []
    with torch.no_grad():
        parts.network.hf.classifier.out_proj.bias[0] = 1e5
    found = with_fast_paths(half, T4, recorder)
    assert found.plan.precision == "fp32"
    assert said[0].startswith("fp16 is off, the run computes in fp32: the network's loss is off by")


# ---- compilation ---------------------------------------------------------------------------------------


def compiling(
    folder: Path, monkeypatch: pytest.MonkeyPatch, backend: Any, card: Card = A100
) -> tuple[Parts, list[str]]:
    """Parts with compiled regions, and what the record says of it."""
    parts, said = single_label(folder, speed__compile="regional"), []
    recorder = recorder_in(folder)
    monkeypatch.setattr(fast_paths, "BACKEND", backend)
    monkeypatch.setattr(recorder, "deviation", said.append)
    monkeypatch.setattr(recorder, "warn", said.append)
    return with_fast_paths(parts, card, recorder), said


def loss_of(parts: Parts) -> float:
    return float(fast_paths._loss_and_gradient(parts, PADDED, "fp32")[0])


def test_compiled_regions_train_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = loss_of(single_label(tmp_path))
    randomness = torch.random.get_rng_state()
    parts, said = compiling(tmp_path, monkeypatch, "eager")
    assert said == ["what follows attention is compiled: numbers agree to rounding, with another process's too"]
    assert len(parts.network.regions()) == 6
    assert all(region._compiled_call_impl is not None for region in parts.network.regions())
    assert loss_of(parts) == pytest.approx(expected, abs=1e-6)
    assert torch.equal(torch.random.get_rng_state(), randomness)


def wrong(graph: Any, examples: Any) -> Any:
    def run(*given: Any) -> Any:
        return tuple(each * 1.5 if isinstance(each, torch.Tensor) else each for each in graph(*given))

    return run


def fails(graph: Any, examples: Any) -> Any:
    raise OSError("no C++ compiler")


@pytest.mark.parametrize(("backend", "words"), [(wrong, "is off by"), (fails, "no C++ compiler")])
def test_what_compiles_wrongly_is_not_used(
    backend: Any, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = loss_of(single_label(tmp_path))
    parts, (said,) = compiling(tmp_path, monkeypatch, backend)
    assert said.startswith("compilation is off: ")
    assert words in said
    assert loss_of(parts) == expected


def test_nothing_is_compiled_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts, said = compiling(tmp_path, monkeypatch, fails, Card("cpu"))
    assert said == ["speed.compile: nothing is compiled on cpu"]
    assert all(region._compiled_call_impl is None for region in parts.network.regions())


# ---- frozen weights in half precision ------------------------------------------------------------------


def as_on_an_a100(monkeypatch: pytest.MonkeyPatch, precision: str = "bf16") -> None:
    """Runs plan for this machine, but for their precision and the card that their fast paths are chosen for."""

    def checked(parts: Parts, card: Card, recorder: Any) -> Parts:
        plan = parts.plan.model_copy(update={"precision": precision})
        return with_fast_paths(replace(parts, plan=plan), A100, recorder)

    monkeypatch.setattr(assembly, "with_fast_paths", checked)


def trained(folder: Path, **overrides: Any) -> tuple[Any, dict[str, torch.Tensor], str]:
    """The metrics of a run, its saved weights, and its log."""
    folder.mkdir()
    recipe = small_recipe(folder, train__epochs=1, evaluate__baselines=False, **overrides)
    run = train(recipe, out=folder / "run", report=False)
    said = run.directory.log.read_text(encoding="utf-8")
    return run.directory.read_metrics(), load_file(run.directory.model / "model.safetensors"), said


@pytest.mark.parametrize(
    "how", [{"model__freeze": {"embeddings": True, "layers": 1}}, {"model__lora": {"rank": 2}}], ids=["frozen", "lora"]
)
def test_a_run_whose_frozen_weights_are_held_in_half_is_the_same_run(
    how: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_on_an_a100(monkeypatch)
    expected, weights, said = trained(tmp_path / "fp32", speed__frozen_weights="fp32", **how)
    assert "held in bf16" not in said
    found, saved, said = trained(tmp_path / "half", **how)
    assert "frozen weights are held in bf16" in said
    assert found == expected
    assert saved.keys() == weights.keys()
    assert all(torch.equal(saved[name], weights[name]) for name in weights), "the source's, and what was trained"


def test_a_soup_of_runs_with_frozen_layers_is_the_mean_in_full_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learns = {"train__epochs": 8, "optimizer__learning_rate": 5e-3, "evaluate__baselines": False}
    recipe = small_recipe(tmp_path, **learns, model__freeze={"embeddings": True, "layers": 1})
    members = [train(recipe, {"seed": seed}, out=tmp_path / f"run{seed}", report=False) for seed in (1, 2)]
    as_on_an_a100(monkeypatch)
    soup = average([member.path for member in members], out=tmp_path / "soup", report=False)
    assert "frozen weights are held in bf16" in soup.directory.log.read_text(encoding="utf-8")
    first, second, saved = (load_file(run.directory.model / "model.safetensors") for run in (*members, soup))
    for name, value in saved.items():
        assert torch.equal(value, ((first[name].double() + second[name].double()) / 2).float()), name


def test_frozen_weights_that_differ_in_half_stay_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = single_label(tmp_path, model__freeze={"embeddings": True, "layers": 1})
    half = replace(parts, plan=parts.plan.model_copy(update={"precision": "bf16"}))
    said: list[str] = []
    recorder = recorder_in(tmp_path)
    monkeypatch.setattr(recorder, "deviation", said.append)
    errors = iter([["the network's loss is off by 0.5"], []])
    monkeypatch.setattr(fast_paths, "_too_large", lambda *given: next(errors))
    with_fast_paths(half, A100, recorder)
    assert said == ["frozen weights stay in fp32: the network's loss is off by 0.5"]
    assert all(value.dtype == torch.float32 for value in parts.network.parameters())
    with_fast_paths(half, A100, recorder)
    assert any(value.dtype == torch.bfloat16 for value in parts.network.parameters())
    parts.network.restore_frozen()
    with_fast_paths(parts, A100, recorder)
    with_fast_paths(half, Card("cpu"), recorder)
    assert all(value.dtype == torch.float32 for value in parts.network.parameters()), "fp32, and a CPU"
