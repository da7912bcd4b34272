from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from glotune.errors import UserError
from glotune.recipe import load_recipe, recipe_hash, recipe_yaml
from glotune.recipe.keys import LATER, flat_keys, variant_key

MINIMAL = "name: mine\nmodel: {name: glotune-nano}\ndata: {train: en.csv}\n"


def write(folder: Path, content: str, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def test_every_problem_is_listed_at_once_with_its_key(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "name: mine\nmodel: {nmae: x, layers: 0}\ndata: {train: en.csv, truncation: haed}\n"
        "optimizer: {learning_rate: fast}\n",
    )
    with pytest.raises(UserError) as caught:
        load_recipe(path)
    message = str(caught.value)
    assert "5 problems" in message
    for part in (
        "model.name: missing",
        "model.nmae: unknown key (did you mean 'model.name'?)",
        "model.layers: found 0, expected a number of at least 1",
        "did you mean 'head'?",
        "optimizer.learning_rate: found 'fast', expected a number",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("train.epochs=three", "train.epochs: found 'three', expected an integer\n"),
        ("train.epochs=2.5", "train.epochs: found 2.5, expected an integer\n"),
        ("model.freeze.embeddings=maybe", "model.freeze.embeddings: found 'maybe', expected true or false\n"),
        ("optimizer.learning_rate=[1]", "optimizer.learning_rate: found [1], expected a number\n"),
        ("data.train.en={x: a.csv}", "\n  - data.train.en: found {'x': 'a.csv'}, expected a string or a list\n"),
        ("data.train.en=[]", "\n  - data.train.en: found [], expected at least 1 item\n"),
        ("data.test={}", "\n  - data.test: found {}, expected at least 1 item\n"),
        ("distill={teacher: run, texts: {bn: []}}", "distill.texts.bn: found [], expected at least 1 item\n"),
        ("data.unlabelled.sw=[]", "data.unlabelled.sw: found [], expected at least 1 item\n"),
        ("data.augment.code_switch.lexicons.sw=[]", "lexicons.sw: found [], expected at least 1 item\n"),
        ("data.augment.code_switch.pairs.sw=[]", "pairs.sw: found [], expected at least 1 item\n"),
        ("epochs=3", "epochs: unknown key (did you mean 'train.epochs'?)"),
        ("train.learning_rate=3", "train.learning_rate: unknown key (did you mean 'optimizer.learning_rate'?)"),
    ],
)
def test_a_problem_says_once_what_is_expected(tmp_path: Path, override: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        load_recipe(write(tmp_path, MINIMAL), [override])
    assert told in str(caught.value)
    assert "1 problem in" in str(caught.value)


def test_overrides_are_yaml_and_make_sections(tmp_path: Path) -> None:
    recipe = load_recipe(
        write(tmp_path, MINIMAL),
        [
            "optimizer.learning_rate=2e-4",
            "data.test.no=no.csv",
            "model.lora.rank=4",
            "data.labels=[0, 1]",
            "evaluate.patience=",
            "model.freeze.dropout=off",
        ],
    )
    assert recipe.optimizer.learning_rate == 2e-4
    assert recipe.data.test == {"no": "no.csv"}
    assert recipe.model.lora is not None
    assert recipe.model.lora.rank == 4
    assert recipe.data.labels == ["0", "1"]
    assert recipe.evaluate.patience is None


def test_an_override_below_a_single_file_replaces_it(tmp_path: Path) -> None:
    base = load_recipe(write(tmp_path, MINIMAL)).data.train
    assert not isinstance(base, dict)
    recipe = load_recipe(write(tmp_path, MINIMAL), ["data.train.bn=bn.csv", "data.train.sw=sw.csv"])
    assert recipe.data.train == {"bn": "bn.csv", "sw": "sw.csv"}


def test_keyword_overrides_use_two_underscores(tmp_path: Path) -> None:
    assert load_recipe(write(tmp_path, MINIMAL), {"train__epochs": 9}).train.epochs == 9


@pytest.mark.parametrize("override", ["train.epochs", "=3", "name.x=3", "data.labels={a: [}"])
def test_a_bad_override_is_refused(tmp_path: Path, override: str) -> None:
    with pytest.raises(UserError):
        load_recipe(write(tmp_path, MINIMAL), [override])


def test_extends_merges_section_by_section_and_null_removes(tmp_path: Path) -> None:
    write(tmp_path, MINIMAL + "loss: {label_smoothing: 0.1, class_weights: balanced}\n", "base.yaml")
    path = write(tmp_path, "extends: base.yaml\nname: child\nloss: {class_weights: none}\n", "child.yaml")
    recipe = load_recipe(path)
    assert (recipe.name, recipe.loss.label_smoothing, recipe.loss.class_weights) == ("child", 0.1, "none")


def test_extends_in_a_circle_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "extends: b.yaml\n", "a.yaml")
    with pytest.raises(UserError, match="leads back"):
        load_recipe(write(tmp_path, "extends: a.yaml\n", "b.yaml"))


def test_paths_beside_the_recipe_are_found_from_anywhere(tmp_path: Path) -> None:
    write(tmp_path, "text,label\n", "en.csv")
    assert load_recipe(write(tmp_path, MINIMAL)).data.train == str((tmp_path / "en.csv").resolve())


def test_only_its_own_texts_lie_beside_the_recipe_of_a_run(tmp_path: Path) -> None:
    """What else a run holds bears names that its recipe may use for something else: ``model`` is the trained one."""
    run = tmp_path / "run"
    for folder in ("model", "data"):
        (run / folder).mkdir(parents=True)
    write(run, "text,label\n", "data/train.csv")
    content = "name: mine\nmodel: {name: model}\ndata: {train: data/train.csv}\ndistill: {teacher: model}\n"
    beside = load_recipe(write(run, content, "recipe.yaml"))
    assert beside.model.name == str((run / "model").resolve()), "a file of one's own, as ever"
    write(run, "{}", "manifest.json")
    write(tmp_path, "extends: run/recipe.yaml\n")
    for source in (run / "recipe.yaml", tmp_path / "mine.yaml"):
        recipe = load_recipe(source)
        assert recipe.data.train == str((run / "data" / "train.csv").resolve())
        assert recipe.distill is not None
        assert (recipe.model.name, recipe.distill.teacher) == ("model", ["model"])
    assert load_recipe(write(run, content)).model.name == str((run / "model").resolve()), "nor is this a run's recipe"


def test_a_missing_recipe_names_the_nearest() -> None:
    with pytest.raises(UserError, match="Did you mean 'humor-v"):
        load_recipe("humorv3")


@pytest.mark.parametrize("content", ["", "- a\n", "a: b: c\n", "name: x\nname: y\n", "{1: [}\n"])
def test_what_is_no_recipe_is_refused_with_the_file(tmp_path: Path, content: str) -> None:
    with pytest.raises(UserError, match=r"mine\.yaml"):
        load_recipe(write(tmp_path, content))


def test_a_recipe_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"name: caf\xe9\n")
    with pytest.raises(UserError, match="UTF-8"):
        load_recipe(path)


def test_a_task_that_is_not_built_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"task: found 'regression', expected one of 'single_label'"):
        load_recipe(write(tmp_path, MINIMAL), ["task=regression"])


def test_the_hash_is_of_what_can_change_a_result(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, MINIMAL))
    assert recipe_hash(recipe) == recipe_hash(load_recipe(recipe, ["name=other", "description=x"]))
    assert recipe_hash(recipe) != recipe_hash(load_recipe(recipe, ["seed=1"]))


def test_a_recipe_that_sets_no_later_key_is_the_one_it_was(tmp_path: Path) -> None:
    """Runs of earlier versions stay seeds of the same variant, and keep their hash."""
    recipe = load_recipe(write(tmp_path, MINIMAL))
    text = recipe_yaml(recipe)
    keys = flat_keys(text)
    of_pretraining = {"teacher", "model.interpolate"}
    assert {key: keys[key] for key in LATER if key not in of_pretraining} == {
        key: value or None if value == {} else value for key, value in LATER.items() if key not in of_pretraining
    }
    lines = {
        f"{key.rpartition('.')[2]}: {'null' if value is None else str(value).lower()}" for key, value in LATER.items()
    }
    before = [line for line in text.splitlines(keepends=True) if line.strip().replace("'", "") not in lines]
    assert variant_key("".join(before)) == variant_key(text)
    content = recipe.model_dump(mode="json", exclude={"name": True, "description": True, "track": True,
                                                      "evaluate": {"test", "baselines"}})  # fmt: skip
    for key in LATER:
        *sections, last = key.split(".")
        inner = content
        for section in sections:
            inner = inner[section]
        inner.pop(last, None)
    digest = hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]
    assert recipe_hash(recipe) == digest
    moved = load_recipe(recipe, ["adversarial.method=fgm"])
    assert recipe_hash(moved) != digest
    assert variant_key(recipe_yaml(moved)) != variant_key(text)


def test_the_resolved_recipe_reads_back_as_itself(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, MINIMAL), ["model.lora.rank=4", "data.labels={0: no, 1: yes}"])
    assert load_recipe(write(tmp_path, recipe_yaml(recipe), "resolved.yaml")) == recipe
