"""Every built-in recipe runs from its YAML to a saved model, with a tiny encoder of the right family in its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from encoders import TEXTS, make_encoder
from glotune.recipe import builtin_recipes, load_recipe
from glotune.run.records import RunStatus
from glotune.verbs.lifecycle import Run
from glotune.verbs.train import train
from small_runs import LABELS, WORDS, sentences, write_csv

FAMILIES = {
    "FacebookAI/xlm-roberta": "xlm-roberta",
    "google-bert/bert": "bert",
    "intfloat/": "bert",
    "glotune-nano": "xlm-roberta",
}
USERS = sorted(set(builtin_recipes()) - {"quickstart"})
CLASSES = sorted(
    name
    for name in USERS
    if (known := load_recipe(name, ["data.train=x.csv"])).task == "single_label" and known.data.columns.votes is None
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipes")
    texts = [row["text"] for language in WORDS for row in sentences(language, 40)]
    for family in set(FAMILIES.values()):
        make_encoder(folder / family, family, layers=7, hidden=16, max_position=160, texts=[*TEXTS, *texts])
    write_csv(folder / "train.csv", sentences("en", 60))
    write_csv(folder / "es.csv", sentences("es", 30, 2))
    return folder


def run_recipe(name: str, place: Path, out: Path) -> Run:
    language = (load_recipe(name, ["data.train=x.csv"]).data.source_languages or ["en"])[0]
    published = load_recipe(name, ["data.train=x.csv"]).model.name
    family = next(tiny for prefix, tiny in FAMILIES.items() if published.startswith(prefix))
    return train(
        name,
        {
            "model.name": str(place / family),
            f"data.train.{language}": str(place / "train.csv"),
            "data.test.es": str(place / "es.csv"),
            "train.epochs": 2,
            "train.batch_size": 16,
            "train.precision": "fp32",
        },
        out=out,
        report=False,
    )


@pytest.mark.parametrize("name", sorted(set(USERS) - set(CLASSES)))
@pytest.mark.extras
def test_a_recipe_of_another_task_runs_to_the_end(name: str, place: Path, tmp_path: Path) -> None:
    from transformers import pipeline

    from doc_stand_ins import make_stand_ins

    make_stand_ins(tmp_path)
    file = {
        "emotions": "emotions.csv", "humor-rating": "ratings.csv", "humor-votes": "votes.csv",
        "intensity": "intensity.csv",
    }[name]  # fmt: skip
    keys = {"model.name": str(place / "xlm-roberta"), "data.train.en": str(tmp_path / file), "train.epochs": 1}
    run = train(
        name, keys, {"data.made_splits.test": 0.2, "train.precision": "fp32"}, out=tmp_path / "run", report=True
    )
    assert run.manifest.status is RunStatus.COMPLETE
    assert run.manifest.task == load_recipe(name, ["data.train=x.csv"]).task
    assert (run.directory.report / "report.html").is_file()
    classify = pipeline("text-classification", model=str(run.directory.model), top_k=None)
    assert {each["label"] for each in classify(["good food"])[0]} == set(run.manifest.labels)


@pytest.mark.parametrize("name", CLASSES)
def test_a_recipe_runs_to_the_end(name: str, place: Path, tmp_path: Path) -> None:
    from transformers import pipeline

    run = run_recipe(name, place, tmp_path / "run")
    recipe = load_recipe(run.directory.recipe)
    assert run.manifest.status is RunStatus.COMPLETE
    assert run.manifest.labels == list(LABELS)
    assert run.metrics["test"]["es"]["n"] == 30
    assert run.directory.adapter.exists() == (recipe.model.lora is not None)
    kinds = {change.kind for change in run.manifest.changes}
    assert ("truncate" in kinds) == (recipe.model.layers is not None)
    assert ("freeze" in kinds) == recipe.model.freeze.embeddings
    assert ("lora" in kinds) == (recipe.model.lora is not None)
    answer = pipeline("text-classification", model=str(run.directory.model))("la comida fue buena")
    assert answer[0]["label"] in LABELS
