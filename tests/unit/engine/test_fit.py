"""The measured start: what the probe finds, what it leaves alone, and what the plan makes of it."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from glotune.cli.main import run as glotune
from glotune.data.tokenization import TokenStore
from glotune.engine import fit, probe
from glotune.engine.assembly import Assembled
from glotune.engine.fit import fit_to_machine, with_cached_prefix
from glotune.engine.observer import Silent
from glotune.engine.probe import COPIES, HOST, Probe
from glotune.engine.recorder import Unwritten
from glotune.errors import MissingExtra
from glotune.recipe import recipe_yaml
from glotune.report.specification import cost_rows
from glotune.run.data import load_run
from glotune.run.directory import RunDirectory
from glotune.run.records import RunStatus
from glotune.verbs.preview import preview
from glotune.verbs.resume import resume
from glotune.verbs.train import train
from small_runs import small_recipe, write_csv

CASES: dict[str, dict[str, Any]] = {
    "all trained": {},
    "cached prefix": {"model__freeze": {"embeddings": True, "layers": 1}},
    "lora": {"model__lora": {"rank": 2}},
    "fixed": {"train__batching": "fixed"},
    "dynamic": {"train__batching": "dynamic"},
    "class weights": {"loss__class_weights": "balanced", "loss__label_smoothing": 0.1},
}


@pytest.fixture
def assembled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Assembled:
    """The parts of a run as they are when the probe comes, caught on the way."""
    caught: list[Assembled] = []
    monkeypatch.setattr("glotune.verbs.preview.fit_to_machine", lambda found, *_: caught.append(found) or found)
    preview(small_recipe(tmp_path, **getattr(request, "param", {})))
    return caught[0]


def cached_of(found: Assembled, cache: Path) -> dict[str, bool]:
    return fit.decide_prefixes(found.parts, cache)[1]


@pytest.mark.parametrize("assembled", CASES.values(), ids=CASES, indirect=True)
def test_the_probe_leaves_no_trace(assembled: Assembled, tmp_path: Path) -> None:
    parts = assembled.parts
    weights = {name: value.clone() for name, value in parts.network.state_dict().items()}
    torch.manual_seed(7)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    parts.network.train()
    need, rates = Probe(parts, cached_of(assembled, tmp_path)).measure()
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.array_equal(np.random.get_state()[1], states[2])
    assert parts.network.training
    assert all(value.grad is None for value in parts.network.parameters())
    assert all(torch.equal(value, weights[name]) for name, value in parts.network.state_dict().items())
    assert need.per_token > 0
    assert need.held >= COPIES[HOST] * 4 * sum(value.numel() for value in parts.trainable.values())
    assert rates.training > 0
    assert rates.evaluation > 0
    assert rates.update > 0
    assert (rates.prefix > 0) == any(cached_of(assembled, tmp_path).values())


@pytest.mark.parametrize("family", ["bert", "modernbert", "deberta-v2", "rembert"])
def test_every_family_is_measured(tmp_path: Path, family: str) -> None:
    previewed = preview(small_recipe(tmp_path, family))
    assert {split: list(rows) for split, rows in previewed.rows.items()}["train"] == ["en"]
    assert sum(previewed.rows["test"].values()) > 0
    found = previewed.plan
    assert found.token_budget == 2048
    assert found.wall["bytes_per_token"] > 1000
    assert found.wall["tokens_per_second"] > 0


def test_memory_is_the_same_line_every_time(assembled: Assembled, tmp_path: Path) -> None:
    found = {Probe(assembled.parts, cached_of(assembled, tmp_path))._need() for _ in range(3)}
    assert len(found) == 1


def test_the_line_holds_for_larger_micro_batches(
    assembled: Assembled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What two small micro-batches say of memory, a larger one keeps to, within a tenth."""
    cached = cached_of(assembled, tmp_path)
    small = Probe(assembled.parts, cached)._need()
    monkeypatch.setattr(probe, "MEMORY_TOKENS", ((1024, 2048), (0, 0)))
    large = Probe(assembled.parts, cached)._need()
    asked, predicted = (need.per_token * 2048 + need.fixed for need in (large, small))
    assert predicted == pytest.approx(asked, rel=0.1)


def test_a_longer_second_view_is_weighed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No micro-batch that is cut under a budget holds more than the line says of it."""
    caught: list[Assembled] = []
    monkeypatch.setattr("glotune.verbs.preview.fit_to_machine", lambda found, *_: caught.append(found) or found)
    known = ("good", "bad", "food", "room", "staff", "story")
    words = [{"en": word, "es": "una palabra mucho más larga"} for word in known]
    switch = {"share": 1.0, "lexicons": {"es": str(write_csv(tmp_path / "words.csv", words))}}
    views = {"data__augment": {"code_switch": switch}, "loss__consistency": {"views": ["code_switch"]}}
    preview(small_recipe(tmp_path, data__max_length=100, **views))
    parts, cached = caught[0].parts, cached_of(caught[0], tmp_path)
    found, budget, store = Probe(parts, cached), 512, parts.texts_of(0)
    assert store.twin is not None
    assert store.twin.lengths.sum() > 1.5 * store.lengths.sum()
    lowest = [probe.lowest_trained(parts)]

    def peak() -> int:
        rows, read = np.arange(len(store)), replace(store)
        dress = parts.task.objective(0, rows).dress
        micros = list(parts.micro_batches("train", rows, budget, dress, read))
        work = [partial(found._backward, micro, lowest) for micro in micros]
        held = [probe.held_by(micro, parts) for micro in micros]
        return max(probe.peak_of(each, parts.device, there) for each, there in zip(work, held, strict=True))

    parts.network.train()
    need = found._need()
    line = need.fixed + need.per_token * budget
    assert 0.4 * line < peak() < 1.05 * line
    plain = replace(store, twin=None)
    monkeypatch.setattr(TokenStore, "costs", plain.lengths)
    assert peak() > 1.2 * line, "cut by the first view alone, a micro-batch would hold more"


def test_a_cached_prefix_asks_for_less_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    caught: list[Assembled] = []
    monkeypatch.setattr("glotune.verbs.preview.fit_to_machine", lambda found, *_: caught.append(found) or found)
    frozen = {"embeddings": True, "layers": 3}
    preview(small_recipe(tmp_path, encoder_layers=4))
    preview(small_recipe(tmp_path, encoder_layers=4, model__freeze=frozen))
    whole, upper = (Probe(found.parts, cached_of(found, tmp_path))._need() for found in caught)
    assert upper.per_token < 0.5 * whole.per_token
    assert upper.held < whole.held


def test_the_plan_is_stored_with_its_measures_and_followed_by_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(small_recipe(tmp_path), out=tmp_path / "run", report=False)
    plan = run.manifest.plan
    assert plan is not None
    assert plan.token_budget == 2048, "memory is no question here"
    assert plan.wall["seconds"] > plan.wall["seconds_per_epoch"] > 0
    assert plan.wall["bytes_per_token"] > 0
    event = next(event for event in run.directory.events() if event.kind == "plan")
    assert event.data["wall"] == plan.wall, "under `wall`, which comparisons of logs leave out"
    log = run.directory.log.read_text()
    assert "expected: about" in log
    assert "of it waiting for data" in log
    run.directory.update_manifest(status=RunStatus.INTERRUPTED)
    monkeypatch.setattr(Probe, "measure", lambda self: pytest.fail("probed again"))
    assert resume(run.path, report=False).manifest.plan == plan


def test_waiting_is_recorded(tmp_path: Path) -> None:
    run = train(small_recipe(tmp_path), out=tmp_path / "run", report=False)
    events = run.directory.events()
    for event in events:
        if event.kind in ("epoch", "cost"):
            assert 0 <= event.data["wall"]["wait_share"] < 1
            assert event.data["wall"]["seconds"] > 0
    assert {"epoch", "cost"} <= {event.kind for event in events}
    rows = dict(cost_rows(load_run(run.path)))
    assert rows["Waiting for data"].endswith("% of the time of the steps")


def test_short_memory_lowers_the_budget_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = small_recipe(tmp_path)
    plenty = preview(recipe).plan
    asked = plenty.wall["bytes_held"] + plenty.wall["bytes_per_token"] * 600
    monkeypatch.setattr(fit, "free_memory", lambda device: int(asked / 0.8))
    run = train(recipe, out=tmp_path / "run", report=False)
    plan = run.manifest.plan
    assert plan is not None
    assert plan.token_budget == 512
    assert "2048 for full speed" in plan.reasons["token_budget"]
    assert "warning: memory is short" in run.directory.log.read_text()


def test_memory_that_ends_in_the_probe_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_memory(self: Probe) -> None:
        raise torch.OutOfMemoryError("no memory left")

    monkeypatch.setattr(Probe, "measure", out_of_memory)
    run = train(small_recipe(tmp_path), out=tmp_path / "run", report=False)
    plan = run.manifest.plan
    assert plan is not None
    assert plan.token_budget == 128
    assert "seconds" not in plan.wall
    assert "ran out in the probe" in plan.reasons["token_budget"]


def test_another_failure_in_the_probe_is_not_swallowed(assembled: Assembled, tmp_path: Path, monkeypatch: Any) -> None:
    def broken(self: Probe) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(Probe, "measure", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        fit_to_machine(assembled, tmp_path, recorder=None)  # type: ignore[arg-type]


def test_plan_prints_and_leaves_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = small_recipe(tmp_path, model__freeze={"embeddings": True, "layers": 1})
    file = tmp_path / "recipe.yaml"
    file.write_text(recipe_yaml(recipe))
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SystemExit) as ended:
        glotune(["train", str(file), "--plan", "--out", str(tmp_path / "run")])
    shown = " ".join(capsys.readouterr().out.split())
    assert ended.value.code in (0, None)
    for part in ("device cpu", "precision fp32: as the recipe says", "attention packed_sdpa", "micro-batch 2048 tokens",
                 "threads", "frozen prefix train: 1 of 2 layers", "memory", "expected about",
                 "trim vocabulary"):  # fmt: skip
        assert part in shown, part
    assert sorted(tmp_path.iterdir()) == before
    assert not list((tmp_path / "cache").glob("prefix-*")), "nothing is filled either"


def test_a_plan_is_refused_as_a_run_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = small_recipe(tmp_path)
    file = tmp_path / "recipe.yaml"
    file.write_text(recipe_yaml(recipe))
    with pytest.raises(SystemExit) as ended:
        glotune(["train", str(file), "model.layers=9", "--plan"])
    assert ended.value.code == 2
    assert "9 layers" in capsys.readouterr().err


def test_a_missing_tracker_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glotune.verbs.trackers.find_spec", lambda name: None)
    monkeypatch.setattr("glotune.data.given_rows.read_texts", lambda *_: pytest.fail("texts were read"))
    with pytest.raises(MissingExtra, match=r"glotune\[wandb\]"):
        train(small_recipe(tmp_path, track=["wandb"]), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_events_are_written_when_many_or_old(tmp_path: Path) -> None:
    from glotune.engine.observer import Silent
    from glotune.engine.recorder import Recorder

    now = [100.0]
    run = RunDirectory(tmp_path)
    recorder = Recorder(run, Silent(), attempt=1, is_main=True, clock=lambda: now[0])
    recorder.event("warning", {"message": "first"})

    def step() -> int:
        recorder.event("step", {"loss": 1.0}, flush=False)
        recorder.flush_if_due()
        return len(run.events_path.read_text().splitlines())

    assert step() == 1, "one step, at once: it waits"
    now[0] += 2.5
    assert step() == 3, "slow steps are seen live"
    assert [step() for _ in range(20)][-2:] == [3, 23], "fast ones in lots"


@pytest.mark.parametrize("assembled", [CASES["cached prefix"]], ids=["cached prefix"], indirect=True)
def test_a_prefix_that_is_read_back_more_slowly_than_computed_is_computed(
    assembled: Assembled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a GPU finds it; on a CPU computing never is the faster of the two."""
    measured: list[dict[str, bool]] = []
    plain = Probe.measure

    def measure(self: Probe) -> Any:
        measured.append(dict(self.cached))
        need, rates = plain(self)
        assert rates.reading == 0.0, "on a CPU there is nothing to bring anywhere"
        return need, replace(rates, reading=2 * rates.prefix)

    recorder = Unwritten(RunDirectory(tmp_path), Silent(), 1, is_main=True)
    cache = tmp_path / "cache"
    assert fit_to_machine(assembled, cache, recorder).parts.plan.reads_prefix
    monkeypatch.setattr(Probe, "measure", measure)
    fitted = fit_to_machine(assembled, cache, recorder)
    plan = fitted.parts.plan
    assert not plan.reads_prefix
    assert plan.reasons["prefix_cache"].startswith("recomputed: reading it back takes")
    assert plan.wall["cache_seconds"] == 0.0
    assert any(measured[0].values())
    assert not any(measured[1].values()), "what it takes then is measured again"
    assert with_cached_prefix(fitted, cache, recorder, []) is fitted
