"""The example report of the documentation is what this version writes: same sections, every picture, a valid recipe."""

import re
from pathlib import Path

from glotune.recipe import load_recipe, recipe_yaml
from glotune.recipe.keys import flat_keys
from glotune.report.content import gather
from glotune.report.figures.build import FigureFile, build_figures, names_of
from glotune.report.markdown import render_markdown
from glotune.run.data import load_run
from made_runs import make_run

EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "quickstart"
REMEDY = "make the example anew: make example"


def sections(text: str) -> list[str]:
    return re.findall(r"^##? .*|^\| Language .*|^\| Target language .*|^\| Split .*", text, re.MULTILINE)


def test_its_sections_and_tables_are_those_of_a_fresh_report(tmp_path):
    run = load_run(
        make_run(
            tmp_path / "run",
            "sound",
            name="quickstart",
            n=60,
            epochs=2,
            leaked=0,
            baselines=True,
            keys={"model.name": "glotune-nano"},
        )
    )
    figures = [FigureFile(name, name, Path(name), Path(name)) for name in build_figures(run)]
    fresh = render_markdown(gather(run), figures)
    assert sections((EXAMPLE / "report" / "report.md").read_text(encoding="utf-8")) == sections(fresh), REMEDY


def test_every_picture_is_there_and_the_whole_is_small():
    text = (EXAMPLE / "report" / "report.md").read_text(encoding="utf-8")
    linked = re.findall(r"!\[[^\]]*\]\((figures/[^)]+)\)", text)
    assert {Path(each).stem for each in linked} == set(names_of("single_label")), REMEDY
    for each in linked:
        assert (EXAMPLE / "report" / each).read_bytes().startswith(b"\x89PNG")
    assert sum(path.stat().st_size for path in EXAMPLE.rglob("*") if path.is_file()) < 2_000_000


def test_its_recipe_trains_with_this_version():
    path = EXAMPLE / "recipe.yaml"
    recipe = load_recipe(path)
    assert flat_keys(path.read_text()).keys() == flat_keys(recipe_yaml(recipe)).keys(), REMEDY
    assert all(Path(place).exists() for place in (recipe.data.train, recipe.data.test))
    assert "/src/glotune/corpora/quickstart" in path.read_text(), "paths count from the recipe's file"
    assert not re.search(r"(?m)[ '\"]/[a-z]", path.read_text()), "a path of the machine that made it"
