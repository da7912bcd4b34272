"""Likely label errors of a run: held-out texts alone, each with both labels, and none that training saw."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from glotune.errors import UserError
from glotune.evidence.label_quality import examine_labels, render, write_table
from glotune.run.data import load_run
from glotune.stats.confident import confident_learning
from made_runs import keep_hashes, make_run

LANGUAGES = {"en": 0.9, "bn": 0.8}


def test_suspects_are_those_of_the_records(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", languages=LANGUAGES, leaked=0)
    found = examine_labels([load_run(run)], whole=False)
    table = pq.read_table(run.predictions / "test.bn.parquet")
    labels, chances = table["label"].to_numpy(), np.array(table["probabilities"].to_pylist(), np.float64)
    noise = confident_learning(labels, chances)
    mine = [each for each in found.suspects if (each.split, each.language) == ("test", "bn")]
    assert sorted(each.row for each in mine) == (noise.errors + 1).tolist()
    names = run.read_manifest().labels
    for each in mine:
        place = each.row - 1
        assert each.text == table["text"][place].as_py()
        assert (each.label, each.likely) == (names[labels[place]], names[noise.likely_N[place]])
        assert each.label_probability == pytest.approx(chances[place, labels[place]])
        assert each.likely_probability > each.label_probability
    assert [each.margin for each in found.suspects] == sorted(each.margin for each in found.suspects)
    (entry,) = [each for each in found.inspected if (each.split, each.language) == ("test", "bn")]
    assert (entry.texts, entry.suspects, entry.rate) == (len(table), len(mine), pytest.approx(noise.rate))
    assert "held-out texts only" in found.notes[0]


def test_texts_that_training_saw_are_left_out(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", languages=LANGUAGES, leaked=40)
    found = examine_labels([load_run(run)], whole=False)
    assert min(each.row for each in found.suspects if (each.split, each.language) == ("test", "bn")) > 40
    assert any("40 texts left out that stand in training too" in note for note in found.notes)


@pytest.mark.parametrize("tells_files", [True, False])
def test_of_several_files_no_row_goes_for_the_number_of_another(tmp_path: Path, tells_files: bool) -> None:
    """Forty texts of the first of two files stand in training; the second file has rows of the same numbers."""
    run = make_run(tmp_path / "run", languages=LANGUAGES, leaked=40)
    path = run.predictions / "test.bn.parquet"
    table = pq.read_table(path)
    places = np.arange(len(table))
    table = table.set_column(table.column_names.index("row"), "row", pa.array(1 + places % 120, pa.int32()))
    files = pa.array(np.where(places < 120, "first", "second"))
    pq.write_table(table.set_column(table.column_names.index("data_hash"), "data_hash", files), path)
    if tells_files:
        profile = json.loads(run.data_profile.read_text())
        run.data_profile.write_text(json.dumps({**profile, "leaked_files": {"test": {"bn": ["first"] * 40}}}))
    keep_hashes(run)
    found = examine_labels([load_run(run)], whole=False)
    (entry,) = [each for each in found.inspected if (each.split, each.language) == ("test", "bn")]
    assert entry.texts == (200 if tells_files else 240)
    assert any("40 texts left out" in note for note in found.notes) == tells_files
    assert any("they are kept" in note for note in found.notes) != tells_files


def test_predictions_of_training_texts_alone_are_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", languages={"en": 0.9}, leaked=0, tested=("en",), validated=("en",))
    profile = json.loads(run.data_profile.read_text())
    profile["leaked"] = {split: {"en": list(range(1, 241))} for split in ("validation", "test")}
    run.data_profile.write_text(json.dumps(profile))
    for path in list(run.predictions.iterdir()):
        (run.predictions / f"train.{path.name.partition('.')[2]}").write_bytes(path.read_bytes())
    keep_hashes(run)
    with pytest.raises(UserError, match="no predictions of texts that were held out"):
        examine_labels([load_run(run)], whole=False)


def test_runs_are_averaged_text_by_text(tmp_path: Path) -> None:
    runs = [load_run(make_run(tmp_path / str(seed), languages=LANGUAGES, leaked=0, seed=seed)) for seed in (0, 1)]
    tables = [pq.read_table(run.path / "predictions" / "test.bn.parquet") for run in runs]
    chances = np.mean([np.array(table["probabilities"].to_pylist(), np.float64) for table in tables], axis=0)
    noise = confident_learning(tables[0]["label"].to_numpy(), chances)
    found = examine_labels(runs, whole=True)
    mine = [each for each in found.suspects if (each.split, each.language) == ("test", "bn")]
    assert sorted(each.row for each in mine) == (noise.errors + 1).tolist()
    other = load_run(make_run(tmp_path / "other", languages=LANGUAGES, data_seed=8))
    with pytest.raises(UserError, match="predicted other texts"):
        examine_labels([runs[0], other], whole=True)


def test_the_table_and_the_page_hold_every_suspect_as_text(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", languages=LANGUAGES, leaked=0, hostile=True)
    found = examine_labels([load_run(run)], whole=False)
    write_table(found, tmp_path / "errors.csv")
    with (tmp_path / "errors.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["text"], row["label"]) for row in rows] == [(each.text, each.label) for each in found.suspects]
    page = render(found, "made <run>")
    assert page.count("<tr><td>") == len(found.inspected) + len(found.suspects)
    assert "<script" not in page
    assert "made &lt;run&gt;" in page
