"""Studies as written: every variant resolved, later wins, every mistake named."""

import re
from pathlib import Path
from typing import Any

import pytest

from glotune.errors import UserError
from glotune.recipe import recipe_hash, yaml
from glotune.recipe.study_loading import builtin_studies, load_study, load_written, resolve_study
from glotune.stats.traits import trait

BASE = {"model": {"name": "folder"}, "data": {"train": "en.csv"}, "train": {"epochs": 4}}


def written(folder: Path, **content: Any) -> Path:
    path = folder / "study.yaml"
    path.write_text(yaml.dump({"name": "made", "recipe": BASE, **content}))
    return path


SHIPPED = (
    "cross-lingual-xlmr",
    "cross-lingual-mbert",
    "bangla-lora",
    "humor-v2",
    "humor-v3",
    "methods",
    "method-costs",
    "adversarial",
)
OF_ONES_OWN = {
    "translations": [
        "data.train.id=id.csv",
        "data.columns.id=id",
        "data.translations.jv=jv.csv",
        "data.augment.code_switch.lexicons.jv=words.csv",
        "data.augment.code_switch.pairs.jv=pairs.csv",
    ],
    "zero-shot": [
        "data.train=en.csv",
        "data.unlabelled.bn=more.csv",
        "data.augment.code_switch.pairs.bn=pairs.csv",
    ],
    "self-training": ["data.train=en.csv", "data.unlabelled.bn=more.csv"],
}
"""Studies that can't run without files of one's own."""


ENCODERS = {"tiny": {"glotune-nano"}, "small": {"intfloat/multilingual-e5-small"}}


@pytest.mark.parametrize("scale", ["full", "small", "tiny"])
@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_studies_resolve_at_every_scale(name: str, scale: str) -> None:
    study = load_study(name)
    resolved = resolve_study(study, scale, ["data.train=en.csv"])
    assert len(resolved.variants) >= 5
    assert len({recipe_hash(recipe) for recipe in resolved.variants.values()}) == len(resolved.variants), (
        "no two variants are the same"
    )
    assert all(trait(claim.metric) for claim in study.claims)
    assert len(study.claims) >= 5
    assert all(recipe.data.train == "en.csv" for recipe in resolved.variants.values())
    if scale in ENCODERS:
        assert {recipe.model.name for recipe in resolved.variants.values()} == ENCODERS[scale]


@pytest.mark.parametrize("name", OF_ONES_OWN)
def test_the_studies_of_ones_own_files_resolve(name: str) -> None:
    study = load_study(name)
    for scale in ("full", *study.scales):
        variants = resolve_study(study, scale, OF_ONES_OWN[name]).variants
        assert len({recipe_hash(recipe) for recipe in variants.values()}) == len(variants) >= 3
    plain = variants["plain"].data
    assert (plain.translations, plain.augment, plain.unlabelled) == ({}, None, {})


def test_every_shipped_study_is_one_of_the_documents_or_of_the_methods() -> None:
    assert set(builtin_studies()) == {*SHIPPED, *OF_ONES_OWN}


@pytest.mark.parametrize("name", SHIPPED)
def test_tiny_studies_need_no_data_of_ones_own(name: str) -> None:
    resolved = resolve_study(load_study(name), "tiny")
    assert all(Path(str(recipe.data.train)).is_file() for recipe in resolved.variants.values())


def test_data_on_the_command_line_replace_the_scale_s_whole() -> None:
    resolved = resolve_study(load_study("cross-lingual-mbert"), "tiny", ["data.train.en=mine.csv"])
    data = resolved.variants["six-layers"].data
    assert data.train == {"en": "mine.csv"}
    assert data.test is None, "the toy test texts are not mixed with the user's"
    assert data.labels is None
    assert data.max_length == 64, "the scale's other keys stay"


def test_later_wins_and_variants_win_over_overrides(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        keys={"train": {"epochs": 5, "batch_size": 8}},
        variants={"short": {"train.epochs": 1}, "long": {}},
        scales={"tiny": {"keys": {"train": {"batch_size": 4}}, "variants": {"long": {"seed": 0, "train.epochs": 7}}}},
    )
    full = resolve_study(load_study(path), "full", ["train.epochs=9"]).variants
    assert {name: recipe.train.epochs for name, recipe in full.items()} == {"short": 1, "long": 9}
    tiny = resolve_study(load_study(path), "tiny").variants
    assert {name: (recipe.train.epochs, recipe.train.batch_size) for name, recipe in tiny.items()} == {
        "short": (1, 4),
        "long": (7, 4),
    }
    assert [recipe.name for recipe in tiny.values()] == ["short", "long"], "a run is named after its variant"


def test_a_grid_is_crossed_with_the_variants(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        variants={"a": {}, "b": {"model.layers": 1}},
        grid={"optimizer.learning_rate": [1e-4, 2e-5], "loss": {"plain": {}, "soft": {"loss.label_smoothing": 0.1}}},
    )
    variants = resolve_study(load_study(path)).variants
    assert len(variants) == 8
    chosen = variants["b-learning_rate-2e-05-soft"]
    assert (chosen.model.layers, chosen.optimizer.learning_rate, chosen.loss.label_smoothing) == (1, 2e-5, 0.1)


def test_a_dotted_section_replaces_and_a_nested_one_merges(tmp_path: Path) -> None:
    freeze = {"embeddings": True, "layers": 2, "dropout": "on"}
    path = written(
        tmp_path,
        recipe={**BASE, "model": {"name": "folder", "freeze": freeze}},
        variants={"dotted": {"model.freeze": {"embeddings": True}}, "nested": {"model": {"freeze": {"layers": 1}}}},
    )
    variants = resolve_study(load_study(path)).variants
    assert variants["dotted"].model.freeze.dropout == "off"
    assert (variants["nested"].model.freeze.layers, variants["nested"].model.freeze.dropout) == (1, "on")


def test_paths_count_from_the_study_s_file(tmp_path: Path) -> None:
    (tmp_path / "here.csv").write_text("text,label\na,b\n")
    path = written(
        tmp_path,
        keys={"data": {"train": "here.csv"}},
        variants={"nested": {"data": {"test": "here.csv"}}, "dotted": {"data.test.en": "here.csv"}},
        scales={"tiny": {"data": {"train": "here.csv"}}},
    )
    for scale in ("full", "tiny"):
        variants = resolve_study(load_study(path), scale).variants
        assert variants["nested"].data.train == str(tmp_path / "here.csv")
        assert variants["nested"].data.test == str(tmp_path / "here.csv")
        assert variants["dotted"].data.test == {"en": str(tmp_path / "here.csv")}


def test_seeds_are_a_number_or_a_list(tmp_path: Path) -> None:
    study = load_study(written(tmp_path, seeds=2, scales={"tiny": {"seeds": [7]}}))
    assert study.seeds == [0, 1]
    assert resolve_study(study, "tiny").study.seeds == [7]
    assert resolve_study(study, "tiny", seeds=[1, 4]).study.seeds == [1, 4]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"seedz": 3}, "did you mean 'seeds'"),
        ({"seeds": [1, 1]}, "no further seed"),
        ({"seeds": 0}, "seeds"),
        ({"folds": 1}, "folds"),
        ({"claims": [{"name": "x", "form": "superior", "variants": ["base"]}]}, "claims"),
        ({"claims": [{"name": "x", "form": "superior", "variants": ["base", "b", "c"]}]}, "compares 2 variants"),
        ({"claims": [{"name": "x", "form": "superor", "variants": ["base", "base"]}]}, "did you mean 'superior'"),
        ({"variants": {"no good": {}}}, "variants"),
    ],
)
def test_a_mistaken_study_names_its_keys(content: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words) as raised:
        load_study(written(tmp_path, **content))
    assert "in the study" in str(raised.value)


@pytest.mark.parametrize(
    ("content", "overrides", "words"),
    [
        ({"claims": [{"name": "x", "form": "superior", "variants": ["bse", "base"]}]}, [], "Did you mean 'base'"),
        ({"reference": "bas"}, [], "Did you mean 'base'"),
        ({"variants": {"wrong": {"train.epoch": 3}}}, [], "did you mean 'train.epochs'"),
        ({"scales": {"full": {"variants": {"none": {}}}}}, [], "no variant 'none'"),
        ({"grid": {"train.epochs": []}}, [], "is empty"),
        ({}, ["seed=3"], "--seeds"),
        ({}, ["train.epochs"], "has no value"),
    ],
)
def test_a_mistake_in_a_variant_names_it(
    content: dict[str, Any], overrides: list[str], words: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=words):
        resolve_study(load_study(written(tmp_path, **content)), "full", overrides)


def test_an_unknown_study_or_scale_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Did you mean 'bangla-lora'"):
        load_study("bangla-lor")
    with pytest.raises(UserError, match="use glotune train"):
        load_study("xlmr-6-layers")
    with pytest.raises(UserError, match="Did you mean 'tiny'"):
        resolve_study(load_study("humor-v2"), "tinny")


@pytest.mark.parametrize("scale", ["full", "tiny"])
def test_a_written_study_resolves_to_the_same_recipes_alone(scale: str, tmp_path: Path) -> None:
    given = ["data.train.es=mine.csv", "train.epochs=2"]
    resolved = resolve_study(load_study("humor-v3"), scale, given, seeds=[3, 5])
    path = tmp_path / "study.yaml"
    path.write_text(yaml.dump({"scale": resolved.scale, **resolved.study.model_dump(mode="json")}))
    again = load_written(path)
    assert again.variants == resolved.variants
    assert (again.scale, again.study.seeds, again.study.claims) == (scale, [3, 5], resolved.study.claims)


def test_the_documentation_s_examples_resolve(tmp_path: Path) -> None:
    page = Path(__file__).parents[3] / "docs/studies.md"
    examples = re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) == 2
    for number, example in enumerate(examples):
        path = tmp_path / f"{number}.yaml"
        path.write_text(example)
        resolved = resolve_study(load_study(path), "full", ["data.train=en.csv"] if number == 0 else [])
        assert len(resolved.variants) in (3, 4)
