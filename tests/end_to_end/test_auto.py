"""`glotune train auto` as a run: chosen by the texts, said everywhere, and repeated without auto."""

from __future__ import annotations

from pathlib import Path

import pytest

from glotune.evidence.equality import differences
from glotune.recipe import load_recipe
from glotune.verbs.train import train
from small_runs import small_recipe


@pytest.mark.extras
def test_auto_says_why_and_its_recipe_gives_the_same_run(tmp_path: Path) -> None:
    small = small_recipe(tmp_path)
    given = [
        f"model.name={small.model.name}", f"data.train.en={tmp_path / 'train.csv'}",
        f"data.validation.en={tmp_path / 'dev.csv'}", f"data.test.es={tmp_path / 'es.csv'}", "data.max_length=32",
        "train.epochs=2", "train.precision=fp32", "train.device=cpu", "evaluate.baselines=false",
    ]  # fmt: skip
    run = train("auto", given, out=tmp_path / "auto", command=["glotune", "train", "auto", *given])
    choices = {choice.key: choice for choice in run.manifest.choices}
    recipe = load_recipe(run.directory.recipe)
    assert choices["train.batch_size"].value == recipe.train.batch_size == 8, "60 texts"
    assert choices["model.freeze.embeddings"].value is recipe.model.freeze.embeddings is True, "es is a target"
    assert (choices["train.epochs"].is_given, recipe.train.epochs) == (True, 2)
    log = run.directory.log.read_text(encoding="utf-8")
    assert "auto: train.batch_size = 8: so few texts give too few steps otherwise (not measured)" in log
    assert "auto: train.epochs = 2: given by you; the table has 10" in log
    report = (run.path / "report" / "report.md").read_text(encoding="utf-8")
    assert "## Why this recipe" in report
    assert "Why this recipe" in (run.path / "report" / "report.html").read_text(encoding="utf-8")
    again = train(run.directory.recipe, out=tmp_path / "again", report=False)
    assert again.manifest.choices == []
    assert differences(run.directory, again.directory) == []
