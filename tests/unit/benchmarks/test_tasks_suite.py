"""The suite of tasks: what it reads, what it tells of a run, and that the documentation shows what was measured."""

import csv
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from benchmarks.tasks import emotions, suite, tables
from benchmarks.tasks.all_parts import PARTS
from benchmarks.tasks.parts import Part, World, add_result, read_results
from benchmarks.tasks.published import CROSS_LINGUAL, MONOLINGUAL

from small_runs import multi_label_recipe

PROJECT = Path(__file__).parents[3]


def told(value: float, low: float, frequencies: float = 0.2) -> dict[str, Any]:
    scores = {"macro_f1": [value, low, value + 0.05]}
    beside = {"majority": frequencies, "tfidf": 0.3, "gain": [value - 0.3, 0.0, 0.2]}
    return {"texts": 1000, "scores": scores, **beside}


def test_the_documentation_shows_what_was_measured(tmp_path: Path) -> None:
    page = tmp_path / "results.md"
    page.write_bytes((PROJECT / "docs" / "results.md").read_bytes())
    tables.put_into(page, read_results(suite.RESULTS))
    assert page.read_text() == (PROJECT / "docs" / "results.md").read_text()


def test_a_document_without_marks_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Results\n")
    with pytest.raises(ValueError, match="tasks, settings: begin"):
        tables.put_into(page, {})


def test_every_part_has_a_name_of_its_own() -> None:
    names = [part.name for part in PARTS]
    assert len(set(names)) == len(names)
    assert {name for name in names if name.startswith("monolingual/")} == {
        f"monolingual/{each}" for each in MONOLINGUAL
    }


@pytest.mark.parametrize(
    ("value", "low", "frequencies", "xlmr", "said"),
    [
        (0.5, 0.45, 0.2, 40.0, "above XLM-R"),
        (0.5, 0.45, 0.2, 47.0, "above XLM-R, within chance"),
        (0.5, 0.45, 0.2, 55.0, "below XLM-R"),
        (0.5, 0.45, 0.3, 29.9, "XLM-R without skill"),
    ],
)
def test_what_is_no_win_is_not_called_one(value: float, low: float, frequencies: float, xlmr: float, said: str) -> None:
    assert tables.standing(told(value, low, frequencies), xlmr) == said


def test_counts_of_the_summary() -> None:
    results = {
        "monolingual/afr": {"languages": {"afr": told(0.5, 0.4)}},  # XLM-R 10.8: below the frequencies' 20
        "monolingual/deu": {"languages": {"deu": told(0.5, 0.4)}},  # XLM-R 55.4
        "monolingual/hau": {"languages": {"hau": told(0.5, 0.4)}},  # XLM-R 37.0, LaBSE 58.5
    }
    found = tables.monolingual_summary(results)
    assert "in 2 of 3 languages, with the whole interval in 2" in found
    assert "In 1 of those above (afr)" in found
    assert "LaBSE in 1 (afr)" in found


def test_means_are_over_the_languages_at_hand() -> None:
    results = {"cross-lingual/1": {"languages": {"afr": told(0.4, 0.3), "arq": told(0.5, 0.4)}}}
    last = tables.cross_lingual_table(results).splitlines()[-1]
    labse = (CROSS_LINGUAL["afr"][0] + CROSS_LINGUAL["arq"][0]) / 2
    assert f"| mean of 2 | | 30.0 | 45.0 | {labse:.1f} |" in last


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A folder with a few rows of English in both tracks."""
    header = ["text", *emotions.EMOTIONS, "language", "split"]
    for dataset, cells in (("brighter_emotions", ("1", "")), ("brighter_intensity", ("3", "2"))):
        (tmp_path / dataset).mkdir()
        with (tmp_path / dataset / "eng.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            for split, cell in zip(("train", "test"), cells, strict=True):
                blank = ["", "0", cell, "0", "0"] if cell else [""] * 5
                writer.writerow([f"{split} text", cell, *blank, "eng", split])
    return World(tmp_path, tmp_path / "encoder", tmp_path / "work")


def test_english_test_labels_come_from_the_second_track(world: World) -> None:
    train, test = emotions.rows_of(emotions.emotion_file(world, "eng"))
    assert train["anger"] == "1"
    assert (test["anger"], test["disgust"], test["fear"], test["joy"]) == ("1", "", "0", "1")


def test_folds_hold_every_language_out_once_and_never_train_on_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emotions, "emotion_file", lambda world, language: language)
    monkeypatch.setattr(emotions, "few_rows", lambda world, language: language)
    found = [emotions.across(fold, world)["data"] for fold in range(emotions.FOLDS)]
    assert sorted(name for each in found for name in each["test"]) == sorted(MONOLINGUAL)
    assert not any(set(each["train"]) & set(each["test"]) for each in found)
    assert all(set(each["train"]) | set(each["test"]) == set(MONOLINGUAL) for each in found)


@pytest.mark.extras
def test_a_part_is_measured_once(tmp_path: Path) -> None:
    recipe = multi_label_recipe(tmp_path, rows=80, train__epochs=1).model_dump(mode="json")
    part = Part("made/toy", partial(lambda found, world: found, recipe), ("macro_f1", "average_precision"))
    world, out = World(tmp_path, tmp_path, tmp_path / "work"), tmp_path / "measured.json"
    found = part.measure(world)
    begun = json.loads((tmp_path / "work" / "runs" / "made" / "toy" / "manifest.json").read_text())["created"]
    assert part.measure(world) == found
    assert json.loads((tmp_path / "work" / "runs" / "made" / "toy" / "manifest.json").read_text())["created"] == begun
    add_result(out, part.name, found)
    kept = read_results(out)["made/toy"]
    assert set(kept["languages"]) == {"es"}
    value, low, high = kept["languages"]["es"]["scores"]["average_precision"]
    assert low < value < high
    assert kept["languages"]["es"]["gain"][0] == pytest.approx(
        kept["languages"]["es"]["scores"]["macro_f1"][0] - kept["languages"]["es"]["tfidf"], abs=1e-4
    )


def test_cheap_models_stand_beside_the_metric_that_they_were_scored_by() -> None:
    found = {
        "texts": 10,
        "scores": {"accuracy": [0.9, 0.8, 1.0], "macro_f1": [0.6, 0.5, 0.7]},
        "tfidf": 0.5,
        "gain": [0.1, 0, 0.2],
    }
    table = tables.metrics_table({"long-texts/de": {"languages": {"de": found}}}, "long-texts")
    rows = [line.split(" | ") for line in table.splitlines()[2:]]
    assert [row[4:] for row in rows] == [["", " |"], ["50.0", "+10.0 [+0.0, +20.0] |"]]
