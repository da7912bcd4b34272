"""What a run does when training goes wrong: non-finite steps, memory, collapse."""

import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from glotune.engine import assembly
from glotune.engine import loop as loop_module
from glotune.engine import step as step_module
from glotune.engine.processes import Processes
from glotune.errors import RunError, UserError
from glotune.recipe import load_recipe
from glotune.run.directory import RunDirectory
from glotune.run.records import RunStatus
from glotune.tasks.task import Part
from glotune.verbs import train as spine
from glotune.verbs.train import train
from small_runs import small_recipe


def poison(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """The loss of the micro-batch number `at` is infinite."""
    calls = {"count": 0}
    plain = step_module.Stepper._part

    def poisoned(self: step_module.Stepper, *arguments: Any) -> Part:
        calls["count"] += 1
        part = plain(self, *arguments)
        return replace(part, loss=part.loss * (float("inf") if calls["count"] == at else 1.0))

    monkeypatch.setattr(step_module.Stepper, "_part", poisoned)


def test_a_non_finite_step_is_refused_and_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, at=3)
    with pytest.raises(RunError, match="step 3: loss"):
        train(small_recipe(tmp_path), out=tmp_path / "run", report=False)
    run = RunDirectory.open(tmp_path / "run")
    manifest = run.read_manifest()
    assert manifest.status is RunStatus.FAILED
    assert manifest.verdict is not None
    assert manifest.verdict.status == "diverged"
    alert = next(event for event in run.events() if event.kind == "alert")
    assert "First rows of its batch" in alert.data["message"]
    assert len(alert.data["rows"]) == 16
    assert len(alert.data["texts"]) == 10
    assert f"row {alert.data['rows'][0]} begins {alert.data['texts'][0]!r}" in run.log.read_text()


def test_the_diagnosis_shows_no_text_where_records_hold_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, at=2)
    with pytest.raises(RunError, match="step 2"):
        train(small_recipe(tmp_path, records__text=False), out=tmp_path / "run")
    run = RunDirectory.open(tmp_path / "run")
    alert = next(event for event in run.events() if event.kind == "alert")
    assert alert.data["texts"] == []
    assert "begins" not in run.log.read_text()


def test_or_is_skipped_where_the_recipe_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, at=3)
    run = train(small_recipe(tmp_path, train__on_nonfinite="skip"), out=tmp_path / "run", report=False)
    steps = [event.step for event in run.directory.events() if event.kind == "step"]
    assert steps == [1, 2, 4, 5, 6, 7, 8]
    assert run.manifest.verdict is not None
    assert run.manifest.verdict.status == "diverged", "a run with refused steps is not sound"


def test_memory_halves_the_budget_and_keeps_the_effective_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(small_recipe(tmp_path, model__dropout=0.0), out=tmp_path / "whole", report=False)
    plain = step_module.Stepper._accumulate
    monkeypatch.setattr("glotune.engine.plan.CPU_TOKENS", 256)

    def tight(self: step_module.Stepper, step: int, objective: Any, micro_batches: list[Any]) -> torch.Tensor:
        if any(micro.num_tokens > 64 for micro in micro_batches):
            raise torch.OutOfMemoryError("no memory left")
        return plain(self, step, objective, micro_batches)

    monkeypatch.setattr(step_module.Stepper, "_accumulate", tight)
    run = train(small_recipe(tmp_path, model__dropout=0.0), out=tmp_path / "run", report=False)
    losses = [[event.data["loss"] for event in found.directory.events() if event.kind == "step"]
              for found in (whole, run)]  # fmt: skip
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
    assert run.manifest.plan is not None
    assert run.manifest.plan.token_budget == 256
    assert any("budget halved to 64" in line for line in run.manifest.deviations)


def one_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network whose answers never leave the first class, whatever it is trained on."""
    plain = assembly.load_encoder

    def load(*given: Any, **keywords: Any) -> Any:
        hf = plain(*given, **keywords)
        with torch.no_grad():
            hf.classifier.out_proj.bias[0] += 50.0
        return hf

    monkeypatch.setattr(assembly, "load_encoder", load)


def test_a_collapse_is_announced_and_retried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one_class(monkeypatch)
    run = train(small_recipe(tmp_path, train__on_collapse="retry"), out=tmp_path / "run", report=False)
    manifest = run.manifest
    assert manifest.attempt == 2
    assert manifest.verdict is not None
    assert manifest.verdict.status == "collapsed"
    assert any("restarted once" in line for line in manifest.deviations)
    assert (run.path / "recipe.collapsed.yaml").exists()
    assert any(event.kind == "alert" and event.data["what"] == "collapsed" for event in run.directory.raw_events())


@pytest.mark.parametrize(("given", "wanted", "said"), [(0, 1, "1 warmup step"), (4, 4, "4 warmup steps")])
def test_the_second_attempt_warms_up_where_the_recipe_counts_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: int, wanted: int, said: str
) -> None:
    one_class(monkeypatch)
    recipe = small_recipe(tmp_path, train__on_collapse="retry", schedule__warmup_steps=given)
    run = train(recipe, out=tmp_path / "run", report=False)
    assert load_recipe(run.directory.recipe).schedule.warmup_steps == wanted, "a tenth of 8 steps, or what it had"
    rates = [event.data["learning_rate"] for event in run.directory.events() if event.kind == "step"]
    assert len(rates) == 8
    assert rates[0] == pytest.approx(recipe.optimizer.learning_rate / 3 / wanted)
    assert any("restarted once" in line and f"and {said} (" in line for line in run.manifest.deviations)


def test_nothing_of_the_first_attempt_is_held_while_the_second_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_class(monkeypatch)
    held: list[weakref.ref[Any]] = []
    alive: list[list[bool]] = []
    plain_assemble, plain_optimizer = spine.assemble, loop_module.optimizer_of

    def assemble(*given: Any) -> Any:
        alive.append([each() is not None for each in held])
        found = plain_assemble(*given)
        held.extend([weakref.ref(found.parts.network), weakref.ref(next(iter(found.parts.trainable.values())))])
        return found

    def optimizer_of(*given: Any) -> Any:
        found = plain_optimizer(*given)
        held.append(weakref.ref(found[0]))
        return found

    monkeypatch.setattr(spine, "assemble", assemble)
    monkeypatch.setattr(loop_module, "optimizer_of", optimizer_of)
    train(small_recipe(tmp_path, train__on_collapse="retry"), out=tmp_path / "run", report=False)
    assert alive == [[], [False] * 3], "network, weights and moments"


def test_ranks_wait_until_the_run_is_ready_for_a_second_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_class(monkeypatch)
    done: list[str] = []

    def noted(name: str, plain: Any) -> Any:
        def call(*given: Any) -> Any:
            result = plain(*given)
            done.append(name)
            return result

        return call

    for name in ("restart_gentler", "open_attempt"):
        monkeypatch.setattr(f"glotune.verbs.train.{name}", noted(name, getattr(spine, name)))
    monkeypatch.setattr(Processes, "barrier", noted("barrier", Processes.barrier))
    train(small_recipe(tmp_path, train__on_collapse="retry"), out=tmp_path / "run", report=False)
    place = done.index("restart_gentler")
    assert done[place : place + 3] == ["restart_gentler", "barrier", "open_attempt"]


def test_or_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one_class(monkeypatch)
    with pytest.raises(RunError, match="collapse"):
        train(small_recipe(tmp_path, train__on_collapse="stop"), out=tmp_path / "run", report=False)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"model__layers": 9}, "9 layers asked of an encoder that has 2"),
        ({"model__freeze": {"embeddings": True, "layers": 2}}, "no layer is left to train"),
        ({"model__lora": {"target_modules": ["qeury"]}}, "Did you mean 'query'"),
        ({"model__name": "no/such-model-anywhere"}, "no/such-model-anywhere"),
        ({"loss__class_weights": {"bda": 1.0, "good": 1.0, "plain": 2.0}}, "Did you mean 'bad'"),
        ({"evaluate__on": "target"}, "validation texts in a target language"),
    ],
)
def test_a_users_mistake_leaves_no_directory_behind(tmp_path: Path, overrides: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        train(small_recipe(tmp_path, **overrides), out=tmp_path / "run", report=False)
    assert not (tmp_path / "run").exists()


def test_validation_texts_that_would_not_choose_the_checkpoint_are_refused(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path, data__validation={"es": str(tmp_path / "es.csv")})
    with pytest.raises(UserError, match=r"evaluate\.on is 'source', but the validation texts are in: es"):
        train(recipe, out=tmp_path / "run", report=False)
    assert not (tmp_path / "run").exists()
