"""The model card: valid metadata, every language with its interval, and nothing of the machine that made it."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from glotune.data.reading import read_texts
from glotune.errors import RunError, UserError
from glotune.hub.card import model_card
from glotune.hub.files import Choice, uploads
from glotune.hub.paths import public_command, public_path, public_recipe
from glotune.recipe import load_recipe
from glotune.run.record import DataSource
from glotune.verbs.lifecycle import first_manifest
from glotune.verbs.train import train
from made_runs import make_run
from small_runs import small_recipe


def test_the_hubs_own_reader_reads_the_card_back(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "sound")
    card = ModelCard(str(model_card(run, "ada/humor", license="mit")))
    data = card.data
    assert data.language == ["en", "ar", "bn", "hi"]
    assert (data.base_model, data.license, data.pipeline_tag) == (
        "FacebookAI/xlm-roberta-base",
        "mit",
        "text-classification",
    )
    assert data.model_name == "humor"
    results = {(each.dataset_config, each.metric_name): each for each in data.eval_results}
    metrics = run.read_metrics()["test"]
    assert len(results) == 3 * len(metrics)
    for language in metrics:
        found = results[language, "Macro-F1"]
        assert found.metric_value == pytest.approx(metrics[language]["macro_f1"], abs=1e-6)
        assert (found.metric_type, found.metric_args) == ("f1", {"average": "macro"})
        assert (found.dataset_split, found.dataset_type, found.task_type) == ("test", "csv", "text-classification")


def test_the_card_says_results_with_intervals_limits_and_how_to_reproduce(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "sound")
    text = model_card(run, "ada/humor").text
    bangla = run.read_metrics()["test"]["bn"]
    interval = bangla["intervals"]["macro_f1"]
    assert f"{100 * bangla['macro_f1']:.1f} [{100 * interval['low']:.1f}, {100 * interval['high']:.1f}]" in text
    for heading in ("## Use", "## Results", "## Limits", "## Data", "## Training", "## How to reproduce"):
        assert heading in text
    assert 'pipeline("text-classification", model="ada/humor")' in text
    assert "Weakest on Bangla" in text
    assert "intervals are over texts and say nothing about other seeds" in text
    assert "Leaked texts" in text


@pytest.mark.parametrize("kind", ["collapsed", "diverged", "no skill"])
def test_an_unsound_run_ranks_nowhere_and_says_so(tmp_path: Path, kind: str) -> None:
    card = model_card(make_run(tmp_path / "run", kind), "ada/humor")  # type: ignore[arg-type]
    assert card.data.eval_results is None
    assert "its scores mean nothing" in card.text
    assert f"Verdict: {kind}" in card.text


def test_an_oracle_and_few_shot_texts_are_among_the_limits(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "sound", keys={"evaluate.on": "target", "data.few_shot": {"bn": 64}})
    text = model_card(run, "ada/humor").text
    assert "this is no zero-shot result" in text
    assert "64 of Bangla (bn)" in text


def test_a_folder_is_no_model_of_the_hub_whatever_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noted when the run began; of an older run, it is looked at."""
    run = make_run(tmp_path / "run", "sound", keys={"model.name": "adapted/model"})
    run.update_manifest(changes=[])
    for folder, name in ((run.model, "config.json"), (run.adapter, "adapter_config.json")):
        folder.mkdir()
        (folder / name).write_text("{}")
    (run.model / "model.safetensors").touch()
    monkeypatch.chdir(tmp_path)
    assert model_card(run, "ada/humor").data.base_model == "adapted/model"
    (tmp_path / "adapted" / "model").mkdir(parents=True)
    for noted, base in ((None, None), (True, None), (False, "adapted/model")):
        run.update_manifest(encoder_is_folder=noted)
        assert model_card(run, "ada/humor").data.base_model == base
    run.update_manifest(encoder_is_folder=True)
    (tmp_path / "adapted" / "model").rmdir()
    assert model_card(run, "ada/humor").data.base_model is None
    with pytest.raises(UserError, match="an encoder that is not on the Hub: nobody else could load it"):
        uploads(run, "ada/humor", Choice(adapter=True))


def test_a_run_notes_whether_its_encoder_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = small_recipe(tmp_path, train__epochs=1)
    (tmp_path / "adapted").mkdir()
    Path(recipe.model.name).rename(tmp_path / "adapted" / "model")
    monkeypatch.chdir(tmp_path)
    run = train(recipe, {"model.name": "adapted/model"}, out="run", report=False)
    assert run.manifest.encoder_is_folder
    assert model_card(run.directory, "ada/humor").data.base_model is None
    embedded = load_recipe(recipe, {"model.name": "glotune-nano"})
    assert first_manifest(embedded, read_texts(embedded.data, 0), []).encoder_is_folder is False


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "sound", labels=("a|b", "<script>", "`c`"))
    text = model_card(run, "ada/humor").text
    assert "<script>" not in text
    assert ModelCard(str(model_card(run, "ada/humor"))).text == text


def test_a_run_in_progress_has_no_card(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no verdict yet"):
        model_card(make_run(tmp_path / "run", "running"), "ada/humor")


def test_no_folder_of_the_machine_is_published(tmp_path: Path) -> None:
    run = make_run(
        tmp_path / "run", "sound", keys={"data.train": {"en": "/home/ada/secret/en.csv"}, "model.name": "/home/ada/m"}
    )
    run.update_manifest(
        command=["glotune", "train", "/home/ada/r.yaml", "data.train=/home/ada/secret/en.csv,../x/de.csv"],
        data=[DataSource(path="/home/ada/secret/en.csv", sha256="ab" * 32, rows=3)],
    )
    card = model_card(run, "ada/humor")
    assert "/home" not in str(card)
    assert "glotune train r.yaml data.train=en.csv,de.csv" in card.text
    assert card.data.base_model is None
    recipe = public_recipe(run.recipe.read_text())
    assert "/home" not in recipe
    assert "en: en.csv" in recipe


def test_paths() -> None:
    assert public_path("/a/b.csv") == public_path("../../b.csv") == public_path("~/b.csv") == "b.csv"
    assert public_path("data/b.csv") == "data/b.csv"
    assert public_path("cardiffnlp/tweets") == "cardiffnlp/tweets"
    assert public_command(["glotune", "train", "/x/r.yaml", "seed=1"]) == "glotune train r.yaml seed=1"
    several = "data.test={en: /home/me/a #1.csv, bn: [/home/me/b.csv, '../c.csv']}"
    assert public_command([several]) == shlex.quote("data.test={en: a #1.csv, bn: [b.csv, 'c.csv']}")
