"""Where a string is wanted, the characters of a scalar count: in files, in KEY=VALUE, in studies and from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glotune.data.reading import read_texts
from glotune.errors import UserError
from glotune.recipe import Recipe, load_recipe, recipe_yaml
from glotune.recipe.study_loading import load_study, load_written, resolve_study
from glotune.study.directory import StudyDirectory

MINIMAL = "name: mine\nmodel: {name: glotune-nano}\ndata: {train: en.csv}\n"
SCALARS = ("00", "1.10", "12e4567", "True", "TRUE", "null", "~", "0x10", "010", "1_000", "12:30", "-0", "1e3", "no")


def write(folder: Path, content: str, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def ways(folder: Path, key: str, value: str) -> dict[str, Recipe]:
    """The recipe with a key given in a file, on the command line, and by a saved recipe."""
    base = write(folder, MINIMAL)
    write(folder, MINIMAL, "base.yaml")
    *sections, last = key.split(".")
    nested = "".join(f"{'  ' * depth}{name}:\n" for depth, name in enumerate(sections)) + "  " * len(sections)
    in_file = load_recipe(write(folder, f"extends: base.yaml\n{nested}{last}: {value}\n", "child.yaml"))
    given = load_recipe(base, [f"{key}={value}"])
    saved = load_recipe(write(folder, recipe_yaml(given), "saved.yaml"))
    return {"file": in_file, "command line": given, "saved": saved}


@pytest.mark.parametrize("scalar", SCALARS)
def test_a_label_is_what_was_written(tmp_path: Path, scalar: str) -> None:
    for way, recipe in ways(tmp_path, "data.labels", f"{{{scalar}: yes, b: {scalar}}}").items():
        assert recipe.data.labels == {scalar: "yes", "b": scalar}, way
    for way, recipe in ways(tmp_path, "data.labels", f"[{scalar}, other]").items():
        assert recipe.data.labels == [scalar, "other"], way


def test_a_mapping_of_true_meets_the_true_of_a_file(tmp_path: Path) -> None:
    data = write(tmp_path, "text,label\na,True\nb,False\nc,True\nd,False\n", "en.csv")
    recipe = load_recipe(write(tmp_path, MINIMAL), [f"data.train.en={data}", "data.labels={True: toxic, False: clean}"])
    assert read_texts(recipe.data, 0).labels == ["toxic", "clean"]


@pytest.mark.parametrize("scalar", ["00", "1.10", "12e4567", "True", "0x10", "1_000"])
@pytest.mark.parametrize("key", ["model.revision", "model.name", "data.columns.text", "data.columns.label"])
def test_a_string_key_is_what_was_written(tmp_path: Path, key: str, scalar: str) -> None:
    for way, recipe in ways(tmp_path, key, scalar).items():
        found: Any = recipe
        for part in key.split("."):
            found = getattr(found, part)
        assert found == scalar, way


def test_null_still_unsets_what_may_be_unset(tmp_path: Path) -> None:
    for word in ("null", "~"):
        for way, recipe in ways(tmp_path, "model.revision", word).items():
            assert recipe.model.revision is None, way


def test_class_weights_for_labels_that_look_like_numbers(tmp_path: Path) -> None:
    for way, recipe in ways(tmp_path, "loss.class_weights", "{0: 1, 1: 2.5, 1.10: 3, True: 4}").items():
        assert recipe.loss.class_weights == {"0": 1.0, "1": 2.5, "1.10": 3.0, "True": 4.0}, way
    dotted = load_recipe(write(tmp_path, MINIMAL), ["loss.class_weights.0=1", "loss.class_weights.1.10=2"])
    assert dotted.loss.class_weights == {"0": 1.0, "1.10": 2.0}


def test_split_names_that_look_like_numbers(tmp_path: Path) -> None:
    for way, recipe in ways(tmp_path, "data.split_names.test", "2024").items():
        assert recipe.data.split_names.test == ["2024"], way
    assert load_recipe(write(tmp_path, MINIMAL), ["data.split_names.test=[0, 01]"]).data.split_names.test == ["0", "01"]


def test_numbers_stay_numbers(tmp_path: Path) -> None:
    recipe = load_recipe(
        write(tmp_path, MINIMAL + "seed: 010\ntrain: {epochs: 0x3}\nspeed: {prefix_cache: false}\n"),
        ["optimizer.betas=[.8, 9e-1]", "model.freeze={embeddings: True, dropout: false}", "evaluate.every=7"],
    )
    assert (recipe.seed, recipe.train.epochs, recipe.optimizer.betas) == (10, 3, (0.8, 0.9))
    assert (recipe.model.freeze.embeddings, recipe.model.freeze.dropout) == (True, "off")
    assert (recipe.evaluate.every, recipe.speed.prefix_cache) == (7, "off")


def test_keywords_from_python_may_be_numbers_and_paths(tmp_path: Path) -> None:
    recipe = load_recipe(
        write(tmp_path, MINIMAL),
        {
            "data__labels": {True: "toxic", False: "clean", np.int64(7): "other"},
            "loss__class_weights": {0: 1.0, 1: 2.0},
            "data__columns": {"text": 0, "label": 1},
            "data__train": {"en": tmp_path / "en.csv"},
            "model__revision": 12,
        },
    )
    assert recipe.data.labels == {"True": "toxic", "False": "clean", "7": "other"}
    assert recipe.loss.class_weights == {"0": 1.0, "1": 2.0}
    assert (recipe.data.columns.text, recipe.data.columns.label) == ("0", "1")
    assert recipe.data.train == {"en": str(tmp_path / "en.csv")}
    assert recipe.model.revision == "12"


def test_a_revision_that_python_has_rounded_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model\.revision: found 1\.1, expected a string"):
        load_recipe(write(tmp_path, MINIMAL), {"model__revision": 1.10})


def test_a_study_keeps_what_its_file_says(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "name: '1'\nrecipe: {name: x, model: {name: glotune-nano}, data: {train: en.csv, labels: {00: a, True: b}}}\n"
        "keys: {data.columns.label: 1}\n"
        "variants: {01: {loss.class_weights: {a: 1, b: 2}}, 1.10: {model.revision: 1.10}}\n"
        "grid: {optimizer.learning_rate: [2e-5, 1e-4], data.columns.text: [0, 00]}\n"
        "reference: 01-learning_rate-2e-05-text-0\nseeds: [0, 1, 2]\n",
        "study.yaml",
    )
    resolved = resolve_study(load_study(path))
    assert list(resolved.variants)[:2] == ["01-learning_rate-2e-05-text-0", "01-learning_rate-2e-05-text-00"]
    recipe = resolved.variants["1.10-learning_rate-0.0001-text-00"]
    assert (recipe.model.revision, recipe.data.columns.text, recipe.data.columns.label) == ("1.10", "00", "1")
    assert (recipe.data.labels, recipe.optimizer.learning_rate) == ({"00": "a", "True": "b"}, 1e-4)

    directory = StudyDirectory(tmp_path / "out")
    directory.path.mkdir()
    directory.write_study({"scale": resolved.scale, **resolved.study.model_dump()})
    assert load_written(directory.study).variants == resolved.variants


def test_yaml_that_holds_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not valid YAML"):
        load_recipe(write(tmp_path, "name: x\nmodel: {name: x}\ndata: {train: &a [*a]}\n"))


@pytest.mark.parametrize("content", ["seed: !!bool maybe", "seed: !!int [1]", "data: !!map [a]", "seed: !!int x"])
def test_a_tag_that_does_not_fit_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(UserError, match="not valid YAML"):
        load_recipe(write(tmp_path, content))
