from hypothesis import given
from hypothesis import strategies as st

from glotune.recipe import builtin_recipes, load_recipe, recipe_yaml
from glotune.recipe import yaml as recipe_format
from glotune.recipe.keys import flat_keys, scalar, section_keys, variant_key
from made_runs import make_run


def nested(content, prefix=""):
    for key, value in content.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            yield from nested(value, f"{path}.")
        else:
            yield path, value


def test_flat_keys_are_what_the_parser_reads_in_every_built_in_recipe():
    for name in builtin_recipes():
        try:
            recipe = load_recipe(name)
        except Exception:
            continue  # a recipe of another kind, e.g. pretraining
        content = dict(nested(recipe.model_dump(mode="json")))
        found = flat_keys(recipe_yaml(recipe))
        for key in (
            "optimizer.learning_rate", "train.batch_size", "train.epochs", "seed", "model.lora.rank",
            "model.lora.target_modules", "evaluate.metric", "loss.label_smoothing",
        ):  # fmt: skip
            if key in content:
                assert found[key] == content[key], (name, key)


@given(st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.none()))
def test_scalars_come_back(value):
    text = recipe_format.dump({"key": value}).split(": ", 1)[1].strip()
    assert scalar(text) == value


def test_a_description_can_t_pass_for_a_key():
    text = recipe_format.dump({"name": "x", "description": "many words " * 30 + "\nseed: 5\n  rank: 9", "seed": 1})
    found = flat_keys(text)
    assert found["seed"] == 1


def test_variants_differ_in_more_than_name_and_seed(tmp_path):
    def key(folder, **choices):
        return variant_key(make_run(tmp_path / folder, "running", **choices).recipe.read_text())

    first = key("a", name="a", seed=0)
    assert key("b", name="b", seed=1) == first
    assert key("c", name="a", seed=0, keys={"train.batch_size": 32}) != first


def test_a_section_alone_says_what_the_whole_says(tmp_path):
    keys = {"data.few_shot": {"bn": 50}, "evaluate.on": "target"}
    text = make_run(tmp_path / "run", "running", keys=keys).recipe.read_text()
    for section in ("data", "evaluate", "name", "track"):
        expected = {key: value for key, value in flat_keys(text).items() if key.split(".")[0] == section}
        assert section_keys(text, section) == expected
    assert section_keys(text, "data")["data.few_shot.bn"] == 50
    assert section_keys(text, "nothing") == {}
    assert section_keys("", "data") == {}
