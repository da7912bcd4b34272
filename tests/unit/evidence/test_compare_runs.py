import csv
import io
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from glotune.errors import UserError
from glotune.evidence import (
    as_csv,
    as_latex,
    as_markdown,
    as_page_table,
    compare_runs,
    runs_table,
    variants_table,
)
from glotune.evidence.cells import Cell, Column, ComparisonTable
from glotune.evidence.folder import write_folder_report
from glotune.evidence.tables import stage_languages
from glotune.run.data import load_run
from glotune.run.directory import RunDirectory
from glotune.run.state import find_runs
from made_runs import keep_hashes, make_run

WEAK = {"en": 0.74, "bn": 0.61}
STRONG = {"en": 0.80, "bn": 0.78}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    for seed in range(3):
        make_run(folder / f"base-{seed}", "sound", name=f"base-seed{seed}", languages=WEAK, seed=seed)
        make_run(
            folder / f"lora-{seed}", "sound", name="lora", languages=STRONG, seed=seed,
            keys={"model.freeze": {}, "model.lora": {"rank": 4, "target_modules": ["query", "value"]}},
        )  # fmt: skip
    make_run(folder / "dead", "collapsed", name="dead", languages=WEAK, keys={"optimizer.learning_rate": 1e-3})
    return folder


@pytest.fixture(scope="module")
def comparison(folder):
    return compare_runs(find_runs(folder))


def row(table, name):
    return next(cells for cells in table.rows if cells[0].text == name)


def test_seeds_of_one_recipe_are_one_variant(comparison):
    assert [(variant.name, len(variant.runs)) for variant in comparison.variants] == [
        ("base", 3),
        ("dead", 1),
        ("lora", 3),
    ]
    assert comparison.languages == ["bn"]  # what no run trained on


def test_mean_and_spread_over_seeds(comparison):
    values = [run.score("test", "macro_f1", ["bn"]) for run in comparison.runs if run.name == "lora"]
    cell = row(variants_table(comparison), "lora")[3]
    assert cell.value == pytest.approx(np.mean(values))
    assert cell.text == f"{100 * np.mean(values):.1f} ± {100 * np.std(values, ddof=1):.1f}"


def test_the_best_is_bold_only_beyond_chance(comparison, folder):
    assert comparison.best.name == "lora"
    assert comparison.best_is_beyond_chance
    table = variants_table(comparison)
    assert [cells[0].text for cells in table.rows if cells[0].is_best] == ["lora"]
    assert "| **lora** |" in as_markdown(table)
    alike = compare_runs([folder / "base-0", folder / "base-1"])
    assert not alike.best_is_beyond_chance
    assert not any(cell.is_best for cells in variants_table(alike).rows for cell in cells)


def test_two_runs_of_one_seed_each_are_tested_over_texts(folder):
    found = compare_runs([folder / "base-0", folder / "lora-0"]).against_reference["lora"]
    assert found.over == "texts"
    assert found.interval.low < found.value < found.interval.high
    assert found.adjusted_p <= 0.05


def test_p_values_are_corrected_for_every_comparison_made(comparison):
    found = comparison.against_reference["lora"]
    assert found.over == "seeds and texts"
    assert found.adjusted_p == pytest.approx(found.p_value)  # one valid comparison: dead is none


def test_the_percentage_follows_its_formula(comparison):
    lora, base = comparison.variants[2], comparison.variants[0]
    mean, reference = comparison.mean(lora), comparison.mean(base)
    assert comparison.percentage(lora).percent == pytest.approx(100 * (mean - reference) / reference)
    assert "100 * (value - reference) / reference" in variants_table(comparison).notes[0]


def test_the_percentage_carries_an_interval_wider_than_the_difference_alone_has(comparison):
    change = comparison.percentage(comparison.variants[2])
    found, reference = comparison.against_reference["lora"], comparison.mean(comparison.variants[0])
    assert change.interval.low < change.percent < change.interval.high
    assert change.interval.high - change.interval.low > 100 * (found.interval.high - found.interval.low) / reference
    assert row(variants_table(comparison), "lora")[6].text.startswith(
        f"{change.percent:+.1f} [{change.interval.low:+.1f}"
    )


def test_a_difference_within_chance_has_no_percentage(folder, tmp_path):
    make_run(tmp_path / "slower", name="slower", languages=WEAK, seed=1, keys={"optimizer.learning_rate": 1e-4})
    comparison = compare_runs([folder / "base-0", tmp_path / "slower"])
    assert not comparison.against_reference["slower"].is_beyond_chance
    assert comparison.percentage(comparison.variants[1]).percent is None
    assert row(variants_table(comparison), "slower")[6].text == "none: within chance"


def test_no_percentage_against_a_run_that_guesses_in_the_languages_compared(folder, tmp_path):
    """Sound on its source language, guessing on the target: '+127 %' over nothing."""
    make_run(tmp_path / "blind", name="blind", languages={"en": 0.74, "bn": 1 / 3})
    comparison = compare_runs([tmp_path / "blind", folder / "lora-0"])
    assert comparison.against_reference["lora"].is_beyond_chance
    assert comparison.percentage(comparison.variants[1]).percent is None
    table = variants_table(comparison)
    assert row(table, "lora")[6].text == "none"
    assert "No change in percent for lora: blind is not shown to be better than chance on bn." in table.notes


def test_calibration_errors_are_compared_beside_that_of_a_calibrated_model(folder):
    notes = variants_table(compare_runs([folder / "base-0", folder / "lora-0"], "ece")).notes
    assert any(note.startswith("With the confidences of base-seed0, a perfectly calibrated model") for note in notes)


def test_untested_variants_have_no_percentage(folder):
    comparison = compare_runs([folder / "base-0", folder / "lora-0"], tests=False)
    assert comparison.percentage(comparison.variants[1]).reason == "not tested"


def test_a_list_without_tests_opens_no_predictions(folder, monkeypatch):
    def refused(path):
        raise AssertionError(f"{path} was opened")

    monkeypatch.setattr("glotune.run.data.read_predictions", refused)
    found = compare_runs([folder / "base-0", folder / "lora-0"], tests=False)
    assert found.notes == ("2 variants are listed without tests; test them with: glotune compare --tests.",)
    with pytest.raises(AssertionError, match="was opened"):
        compare_runs([folder / "base-0", folder / "lora-0"], tests=True)


def test_lower_is_better_turns_the_formula(folder):
    comparison = compare_runs([folder / "base-0", folder / "lora-0"], "loss")
    lora, base = comparison.mean(comparison.variants[1]), comparison.mean(comparison.variants[0])
    assert lora < base
    assert comparison.best.name == "lora"
    assert comparison.percentage(comparison.variants[1]).percent == pytest.approx(100 * (base - lora) / base)


@pytest.mark.parametrize("order", [("dead", "lora-0"), ("lora-0", "dead")])
def test_an_unsound_run_never_gives_a_percentage(folder, order):
    comparison = compare_runs([folder / name for name in order])
    other = comparison.variants[1]
    assert comparison.percentage(other).percent is None
    cells = row(variants_table(comparison), other.name)
    assert cells[4].text.startswith("invalid: dead")
    assert cells[6].text == "none"
    assert comparison.best.name == "lora"
    assert not comparison.best_is_beyond_chance  # there is no sound rival
    assert any("dead is not compared (seed 0 collapsed)" in note for note in variants_table(comparison).notes)


def test_different_test_data_are_refused(folder, tmp_path):
    other = make_run(tmp_path / "other", "sound", name="other", languages=WEAK, n=200)
    with pytest.raises(UserError, match=r"invalid comparison.*240 and 200 texts in Bangla"):
        compare_runs([folder / "base-0", other])
    same_size = make_run(tmp_path / "same", "sound", name="same", languages=WEAK, data_seed=8)
    with pytest.raises(UserError, match="different texts, rows or labels"):
        compare_runs([folder / "base-0", same_size])
    labels = make_run(tmp_path / "labels", "sound", languages=WEAK, labels=("negative", "positive", "neutral"))
    with pytest.raises(UserError, match="labels negative, neutral, positive and negative, positive, neutral"):
        compare_runs([folder / "base-0", labels])


def test_another_training_set_on_the_same_test_texts_is_allowed(folder, tmp_path):
    copy = tmp_path / "few-shot"
    shutil.copytree(folder / "lora-0", copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**manifest, "data_hash": "another", "name": "few-shot"}))
    assert compare_runs([folder / "base-0", copy]).against_reference["few-shot"].value is not None


def test_the_same_texts_in_another_file_are_allowed_and_others_in_the_same_rows_are_not(folder, tmp_path):
    def copied(name, **columns):
        copy = tmp_path / name
        shutil.copytree(folder / "lora-0", copy)
        manifest = json.loads((copy / "manifest.json").read_text())
        (copy / "manifest.json").write_text(json.dumps({**manifest, "data_hash": name, "name": name}))
        path = copy / "predictions" / "test.bn.parquet"
        table = pq.read_table(path)
        for column, value in {"data_hash": "another file", **columns}.items():
            place = table.schema.get_field_index(column)
            table = table.set_column(place, column, pa.array([value] * len(table)))
        pq.write_table(table, path)
        keep_hashes(RunDirectory(copy))
        return copy

    assert compare_runs([folder / "base-0", copied("moved")]).against_reference["moved"].value is not None
    with pytest.raises(UserError, match="different texts"):
        compare_runs([folder / "base-0", copied("others", text="another text")])
    with pytest.raises(UserError, match="different texts"):
        compare_runs([folder / "base-0", copied("secret", text=None)])


def test_other_languages_need_one_that_is_shared(folder, tmp_path):
    more = make_run(tmp_path / "more", "sound", name="more", languages={**WEAK, "hi": 0.6})
    with pytest.raises(UserError, match="--language bn"):
        compare_runs([folder / "base-0", more])
    with pytest.raises(UserError, match=r"no test scores in hi.*one of bn, en"):
        compare_runs([more, folder / "base-0"], language="hi")


def test_unfinished_runs_are_named_and_left_out(folder, tmp_path):
    running = make_run(tmp_path / "running", "running", languages=WEAK)
    comparison = compare_runs([folder / "base-0", folder / "lora-0", running])
    assert any("running has no scores and is left out" in note for note in comparison.notes)


def test_mistakes_of_the_user(folder):
    with pytest.raises(UserError, match="two runs or more"):
        compare_runs([folder / "base-0", folder / "base-0"])
    with pytest.raises(UserError, match="macro_f1"):
        compare_runs([folder / "base-0", folder / "lora-0"], "macrof1")
    with pytest.raises(UserError, match="Did you mean 'lora'"):
        compare_runs([folder / "base-0", folder / "lora-0"], reference="lorra")
    with pytest.raises(UserError, match="no run at"):
        compare_runs([folder / "base-0", folder / "nowhere"])


@pytest.mark.parametrize("metric", ["trainable_parameters", "train_seconds"])
def test_a_cost_is_no_score_to_compare_by(folder, metric):
    with pytest.raises(UserError, match=f"no run has the score '{metric}' on test") as refused:
        compare_runs([folder / "base-0", folder / "lora-0"], metric)
    assert "macro_f1" in refused.value.expected
    assert "claims of a study" in refused.value.remedy


def test_the_runs_table_holds_every_figure_of_a_run(comparison, folder):
    table = runs_table(comparison, relative_to=folder)
    names = [column.name for column in table.columns]
    cells = dict(zip(names, next(cells for cells in table.rows if cells[0].text == "lora"), strict=True))
    assert [cells[name].text for name in ("Rank", "Alpha", "Targets", "LoRA dropout")] == [
        "4",
        "16",
        "query + value",
        "0",
    ]
    assert [cells[name].text for name in ("Batch", "Rate", "Epochs", "Steps")] == ["64", "0.0002", "6", "120"]
    run = next(run for run in comparison.runs if run.name == "lora")
    assert cells["Final test Macro-F1"].value == run.score("test", "macro_f1", ["bn"])
    assert cells["Validation Loss"].value == run.score("validation", "loss", ["bn"])
    last = [event for event in run.directory.events() if event.key == "test/bn"][-1]
    assert cells["Last test in training Accuracy"].value == last.data["accuracy"]
    assert cells["Training Loss"].value is not None
    assert cells["Recipe"].href == "lora-0/recipe.yaml"


def test_the_mean_lora_weight_is_over_the_adapter_alone(folder, tmp_path):
    from safetensors.numpy import save_file

    copy = tmp_path / "with-adapter"
    shutil.copytree(folder / "lora-0", copy)
    (copy / "adapter").mkdir()
    tensors = {"a.lora_A.weight": np.full((2, 2), -1.0, np.float32), "a.lora_B.weight": np.full((4,), 3.0, np.float32)}
    save_file(
        {**tensors, "classifier.weight": np.full((9,), 100.0, np.float32)},
        copy / "adapter" / "adapter_model.safetensors",
    )
    table = runs_table(compare_runs([folder / "base-0", copy]))
    place = [column.name for column in table.columns].index("Mean |LoRA weight|")
    assert row(table, "lora")[place].value == 2.0


def test_exports_hold_raw_values_and_inert_text():
    table = ComparisonTable(
        "50 % & more_than",
        (Column("Run", is_numeric=False), Column("F1")),
        ((Cell("=cmd()|x", is_best=True), Cell("61.2", 0.61234)), (Cell("a_b"), Cell("–"))),
        ("p < 0.05",),
    )
    rows = list(csv.reader(io.StringIO(as_csv(table))))
    assert rows == [["Run", "F1"], ["'=cmd()|x", "0.61234"], ["a_b", ""]]
    latex = as_latex(table)
    assert r"\textbf{=cmd()$|$x} & 61.2 \\" in latex
    assert r"\caption{50 \% \& more\_than. p $<$ 0.05}" in latex
    assert r"| **=cmd()\|x** | 61.2 |" in as_markdown(table)
    assert as_page_table(table)["rows"][0][1] == {"text": "61.2", "value": 0.61234, "best": False, "href": None}


def test_a_folder_gets_one_report(folder, tmp_path):
    study = tmp_path / "study"
    for name in ("base-0", "lora-0", "dead"):
        shutil.copytree(folder / name, study / name)
    files, notes = write_folder_report(study)
    assert notes == []
    assert "| lora |" in files.markdown.read_text().replace("**", "")
    assert '"name":"lora"' in files.page.read_text()
    make_run(study / "other-data", "sound", languages=WEAK, n=100)
    files, notes = write_folder_report(study)
    assert "invalid comparison" in notes[0]
    assert "invalid comparison" in files.markdown.read_text()


def test_summaries_need_no_predictions(folder, tmp_path):
    copy = tmp_path / "slim"
    shutil.copytree(folder / "base-0", copy)
    shutil.rmtree(copy / "predictions")
    keep_hashes(RunDirectory(copy))
    assert load_run(copy).score("test", "accuracy", ["bn"]) is not None
    with pytest.raises(UserError, match="no predictions for test/bn"):
        load_run(copy).outcomes("test", "bn")
    comparison = compare_runs([folder / "lora-0", copy])
    assert "no predictions" in comparison.against_reference["base-seed0"].reason


def test_validation_in_the_source_alone_is_shown_as_such():
    assert stage_languages(["bn", "hi"], ["en", "bn", "hi"]) == ["bn", "hi"]
    assert stage_languages(["bn", "hi"], ["en"]) == ["en"]
