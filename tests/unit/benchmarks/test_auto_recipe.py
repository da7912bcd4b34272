"""What `auto` chooses against the shipped recipes: one study for each data set, and the table over them."""

from pathlib import Path
from typing import Any

from benchmarks.auto_recipe import AUTO, DATA_SETS, RECIPES, TRAINER, study_of, table
from benchmarks.tasks.emotions import rows_of
from benchmarks.tasks.parts import World

from glotune.recipe import load_recipe
from glotune.recipe.study_loading import resolve_study
from small_runs import sentences, write_csv


def test_every_variant_reads_the_same_rows_from_the_same_encoder(tmp_path: Path) -> None:
    data_set = next(each for each in DATA_SETS if each.name == "umsab")
    (tmp_path / "umsab").mkdir()
    for language in data_set.languages:
        rows = [
            {**row, "split": split} for split in ("train", "val", "test") for row in sentences("en", 30, len(split))
        ]
        write_csv(tmp_path / "umsab" / f"{language}.csv", rows)
    study = study_of(data_set, World(tmp_path, Path("glotune-nano"), tmp_path / "work"), 20, range(2))
    variants = resolve_study(study).variants
    assert list(variants) == [AUTO, *RECIPES, TRAINER]
    assert {recipe.model.name for recipe in variants.values()} == {"glotune-nano"}
    assert {recipe.data.train_rows for recipe in variants.values()} == {20}
    assert len({str(recipe.data.test) for recipe in variants.values()}) == 1
    assert variants[AUTO].optimizer.learning_rate == 2e-4, "as the table has it for this encoder"
    assert (
        variants["humor-v3"].optimizer.layer_decay == load_recipe("humor-v3", {"data.train": "x"}).optimizer.layer_decay
    )
    assert (variants[TRAINER].train.batch_size, variants[TRAINER].optimizer.learning_rate) == (8, 5e-5)
    layers = {name: (variants[name].model.layers, variants[name].model.freeze.layers) for name in RECIPES}
    assert layers["xlmr-6-layers"] == (2, 0), "half of the encoder's four"
    assert layers["mbert-6-layers-frozen"] == (2, 1)
    assert layers["e5"] == layers["bangla-full"] == (None, 0), "what freezes nothing freezes nothing here"
    assert [claim.variants for claim in study.claims] == [[AUTO, name] for name in (*RECIPES, TRAINER)]
    world = World(tmp_path, Path("glotune-nano"), tmp_path / "work")
    few = study_of(data_set, world, 20, range(2), (TRAINER, "e5"))
    assert list(few.variants) == [AUTO, TRAINER, "e5"]
    assert [claim.variants for claim in few.claims] == [[AUTO, TRAINER], [AUTO, "e5"]]


def test_test_rows_are_capped_and_no_others(tmp_path: Path) -> None:
    data_set = next(each for each in DATA_SETS if each.name == "blp23_bangla")
    (tmp_path / data_set.name).mkdir()
    rows = [{**row, "split": "dev"} for row in sentences("en", 700, 0)]
    rows += [{**row, "split": "test"} for row in sentences("en", 2_100, 1)]
    write_csv(tmp_path / data_set.name / "bn.csv", rows)
    study = study_of(data_set, World(tmp_path, Path("glotune-nano"), tmp_path / "work"), 20, range(2))
    assert isinstance(study.recipe, dict)
    kept = rows_of(study.recipe["data"]["train"]["bn"])
    assert [sum(row["split"] == split for row in kept) for split in ("dev", "test")] == [700, 2_000]


def test_a_mean_over_data_sets_has_the_error_of_independent_ones() -> None:
    def answers(gain: float) -> dict[str, Any]:
        interval = {"low": gain - 0.02, "high": gain + 0.02, "level": 0.95}
        told = {"answer": "supported", "improvement": gain, "interval": interval, "reason": ""}
        none = {
            "answer": "inconclusive",
            "improvement": None,
            "interval": None,
            "reason": "Not tested: 1 of 2 runs collapsed. Without leaks too.",
        }
        stated = [{"claim": {"variants": [AUTO, name]}, "answer": told} for name in ("e5", TRAINER)]
        return {"claims": [{**stated[0], "answer": none}, stated[1]]}

    assert table({"nusax": answers(0.03)}).splitlines()[0] == "| auto minus | NusaX |"
    lines = table({"umsab": answers(0.01), "nusax": answers(0.03)}).splitlines()
    assert lines[0] == "| auto minus | UMSAB | NusaX | mean of 2 |"
    assert lines[2].startswith("| e5 | no answer: 1 of 2 runs collapsed |")
    assert len(lines) == 4
    assert lines[3].startswith(f"| {TRAINER} |")
    assert "| +1.0 [-1.0, +3.0], supported | +3.0 [+1.0, +5.0], supported | +2.0 [+0.6, +3.4] |" in lines[3]
