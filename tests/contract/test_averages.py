"""Runs that end with a mean of weights: the mean is that of the files, it is judged, and the run says what it kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

import glotune
from glotune.cli.main import build_app
from glotune.errors import UserError
from glotune.hub.card import model_card
from glotune.report.content import gather
from glotune.run.data import load_run
from glotune.verbs.average import average
from glotune.verbs.evaluate import evaluate
from glotune.verbs.lifecycle import Run
from glotune.verbs.train import train
from small_runs import score_recipe, small_recipe

WEIGHTS = "model.safetensors"


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "weights.safetensors")


@pytest.mark.parametrize("keep", ["always", pytest.param("better", marks=pytest.mark.extras)])
def test_the_mean_of_the_last_evaluations(tmp_path: Path, keep: str) -> None:
    recipe = small_recipe(
        tmp_path, train__epochs=3, speed__trim_vocabulary=False, average={"last": 2, "keep": keep}, checkpoints__keep=1
    )
    run = train(recipe, out=tmp_path / "run", report=False)
    found, steps = run.manifest.averaged, sorted((run.path / "checkpoints").glob("best-*"))
    assert found is not None
    assert found.members == ["step 8", "step 12"]
    assert {"best-00000008", "best-00000012"} <= {path.name for path in steps}
    first, second = (weights_of(run.path / "checkpoints" / f"best-{step:08d}") for step in (8, 12))
    mean = {name: ((first[name].double() + second[name].double()) / 2).float() for name in first}
    best = weights_of(run.path / "checkpoints" / f"best-{run.manifest.best_step:08d}")
    assert found.kept == (keep == "always" or found.value >= found.best_value)
    ends_with, saved = mean if found.kept else best, load_file(run.path / "model" / WEIGHTS)
    assert all(torch.equal(value, ends_with[name]) for name, value in saved.items())
    validation = load_run(run.path).evaluations["validation"]["en"].scores["macro_f1"]
    assert validation == pytest.approx(found.value if found.kept else found.best_value, abs=1e-9)
    assert load_run(run.path).history.value_of_end(found) == (found.value if found.kept else found.best_value)
    told = dict(gather(load_run(run.path)).training)["Average"]
    assert told.startswith("the mean of step 8, step 12: macro-F1 ")
    assert ("the run ends with it" in told) == found.kept
    (said,) = [event.data for event in run.directory.events() if event.kind == "average"]
    assert said["wall"]["seconds"] > 0
    assert ("Its weights are the mean of step 8, step 12" in str(model_card(run.path))) == found.kept


def test_one_evaluation_is_no_mean_and_is_said(tmp_path: Path) -> None:
    run = train(small_recipe(tmp_path, train__epochs=1, average={"last": 3}), out=tmp_path / "run", report=False)
    assert run.manifest.averaged is None
    assert any("there was only one" in notice.message for notice in load_run(run.path).history.notices)


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Run]]:
    """Two runs of one recipe with adapters, and one in full, all over the same texts."""
    folder = tmp_path_factory.mktemp("seeds")
    recipe = small_recipe(folder, train__epochs=8, optimizer__learning_rate=5e-3)
    lora = {"rank": 4, "target_modules": ["query", "value", "dense"]}
    kinds: list[dict[str, Any]] = [{"model.lora": lora, "seed": 1}, {"model.lora": lora, "seed": 2}, {}]
    return folder, [train(recipe, keys, out=folder / f"run{at}", report=False) for at, keys in enumerate(kinds)]


def test_a_uniform_soup_is_the_mean_of_merged_models_and_a_run(seeds: tuple[Path, list[Run]], tmp_path: Path) -> None:
    _, runs = seeds
    made = average([run.path for run in runs], out=tmp_path / "soup", command=["glotune", "average"])
    files = [load_file(run.path / "model" / WEIGHTS) for run in runs]
    saved = load_file(made.path / "model" / WEIGHTS)
    for name, value in saved.items():
        mean = torch.stack([file[name].double() for file in files]).mean(0).float()
        assert torch.allclose(value, mean, atol=1e-7), name
    found = made.manifest.averaged
    assert found is not None
    assert sorted(found.members) == sorted(str(run.path) for run in runs)
    assert found.kept
    scores = load_run(made.path).evaluations
    assert scores["validation"]["en"].scores["macro_f1"] == pytest.approx(found.value, abs=1e-9)
    again = evaluate(made.path, device="cpu").evaluations
    assert {each.split: each.scores["macro_f1"] for each in again} == pytest.approx(
        {split: next(iter(of.values())).scores["macro_f1"] for split, of in scores.items()}
    )
    assert glotune.load(made.path).predict(["a good film"])[0].label in made.manifest.labels
    report = (made.path / "report" / "report.md").read_text()
    assert "the mean of" in report
    assert "of each averaged run the one with the best Macro-F1 on source validation" in report
    warned = any(
        "the mean is worse on the validation texts" in each.message for each in load_run(made.path).history.notices
    )
    assert warned == (found.value < found.best_value)
    assert load_run(made.path).variant not in {load_run(run.path).variant for run in runs}, "no further seed"


def test_a_run_counts_by_the_weights_that_it_ended_with(tmp_path: Path) -> None:
    """Two runs whose model is a mean that is kept in any case: the better mean is named first."""
    keys: dict[str, Any] = {"average": {"last": 3, "keep": "always"}, "evaluate.metric": "loss"}
    recipe = small_recipe(tmp_path, train__epochs=8, optimizer__learning_rate=5e-3, evaluate__baselines=False)
    runs = [train(recipe, keys, {"seed": seed}, out=tmp_path / f"run{seed}", report=False) for seed in (1, 2)]
    values = {str(run.path): run.manifest.averaged.value for run in runs if run.manifest.averaged is not None}
    made = average([run.path for run in runs], out=tmp_path / "soup", report=False).manifest.averaged
    assert made is not None
    assert made.best_value == min(values.values())
    assert made.best_value not in {load_run(run.path).history.best["value"] for run in runs}
    assert made.members[0] == min(values, key=lambda path: values[path])


@pytest.mark.extras
def test_scores_are_averaged_in_their_own_units(tmp_path: Path) -> None:
    """A head is saved in the scores' own units and trained in standard deviations, here of other rows in each run."""
    recipe = score_recipe(tmp_path, train__epochs=4, optimizer__learning_rate=5e-3, data__fraction=0.8)
    runs = [train(recipe, {"seed": seed}, out=tmp_path / f"run{seed}", report=False) for seed in (1, 2)]
    deviations = [run.manifest.decision.deviations for run in runs if run.manifest.decision is not None]
    assert deviations[0] != deviations[1]
    made = average([run.path for run in runs], out=tmp_path / "soup", report=False)
    files = [load_file(run.path / "model" / WEIGHTS) for run in runs]
    for name, value in load_file(made.path / "model" / WEIGHTS).items():
        mean = torch.stack([file[name].double() for file in files]).mean(0).float()
        assert torch.allclose(value, mean, rtol=1e-5, atol=1e-6), name
    found = load_run(made.path).evaluations["validation"]["en"].scores
    assert made.manifest.averaged is not None
    assert found["pearson"] == pytest.approx(made.manifest.averaged.value, abs=1e-9)
    (again,) = [each for each in evaluate(made.path, device="cpu").evaluations if each.split == "test"]
    assert again.scores["rmse"] == pytest.approx(load_run(made.path).evaluations["test"]["es"].scores["rmse"], rel=1e-4)


@pytest.mark.extras
def test_a_greedy_soup_never_falls_below_its_best_run(seeds: tuple[Path, list[Run]], tmp_path: Path) -> None:
    _, runs = seeds
    made = average([run.path for run in runs], soup="greedy", out=tmp_path / "soup", report=False)
    found = made.manifest.averaged
    assert found is not None
    values = {str(run.path): load_run(run.path).history.best["value"] for run in runs}
    assert found.members[0] == max(values, key=lambda path: values[path])
    assert found.value >= found.best_value == pytest.approx(max(values.values()), abs=1e-6)
    assert sorted([*found.members, *found.left_out]) == sorted(values)


@pytest.mark.extras
def test_the_command_makes_a_run_that_other_commands_open(seeds: tuple[Path, list[Run]], tmp_path: Path) -> None:
    _, runs = seeds
    soup, exported, texts = tmp_path / "soup", tmp_path / "exported", tmp_path / "texts.txt"
    glotune_command("average", *(str(run.path) for run in runs[:2]), "--soup", "greedy", "--out", str(soup))
    found = glotune.load(soup)
    texts.write_text("a good film\nnot good\n", encoding="utf-8")
    glotune_command("predict", str(soup), str(texts), "--out", str(tmp_path / "answers.jsonl"))
    glotune_command("export", str(soup), "--to", "safetensors", "--out", str(exported))
    lines = texts.read_text().splitlines()
    assert glotune.load(exported).predict_proba(lines) == pytest.approx(found.predict_proba(lines), abs=1e-6)
    assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 2


def glotune_command(*arguments: str) -> None:
    done = CliRunner().invoke(build_app(), arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output


@pytest.mark.extras
def test_what_does_not_belong_together_is_refused_before_a_run_directory(
    seeds: tuple[Path, list[Run]], tmp_path: Path
) -> None:
    folder, runs = seeds
    recipe = small_recipe(folder, train__epochs=1)
    others = {
        "model.layers": ({"model.layers": 1}, r"model\.layers of .* is 1"),
        "labels": ({"data.labels": ["plain", "good", "bad"]}, r"the labels of .* are plain, good, bad"),
        "rows": ({"data.train_rows": 40}, r"data\.train_rows of .* is 40"),
        "texts": ({"data.train.en": str(folder / "dev.csv")}, "was trained on other texts"),
        "metric": ({"evaluate.metric": "loss"}, r"evaluate\.metric of .* is loss\. Expected macro_f1"),
        "windows": ({"data.windows": {"stride": 4}}, r"data\.windows of .* is "),
    }
    for name, (keys, message) in others.items():
        other = train(recipe, keys, out=tmp_path / name, report=False)
        with pytest.raises(UserError, match=message):
            average([runs[0].path, other.path], out=tmp_path / "soup")
    with pytest.raises(UserError, match="two runs or more"):
        average([runs[0].path, runs[0].path], out=tmp_path / "soup")
    with pytest.raises(UserError, match="no run at"):
        average([tmp_path / "nothing", runs[0].path], out=tmp_path / "soup")
    assert not (tmp_path / "soup").exists()


def test_a_recipe_can_not_do_both(tmp_path: Path) -> None:
    for keys in ({"last": 2, "runs": ["a", "b"]}, {}):
        with pytest.raises(UserError, match="one of last"):
            small_recipe(tmp_path, average=keys)
    with pytest.raises(UserError, match="whole models"):
        small_recipe(tmp_path, average={"runs": ["a", "b"]})
