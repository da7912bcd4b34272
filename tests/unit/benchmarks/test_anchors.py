"""Published figures beside ours: what is told of a run, and that the documentation shows what was measured."""

import json
from pathlib import Path

import pytest
from benchmarks import anchors
from benchmarks.__main__ import main
from benchmarks.anchors import ANCHORS, PAPERS, Anchor, Settings, tables
from benchmarks.documents import put_between
from benchmarks.tasks.parts import World, read_results

from encoders import make_encoder
from small_runs import sentences, write_csv

PROJECT = Path(__file__).parents[3]


def test_the_documentation_shows_what_was_measured(tmp_path: Path) -> None:
    page = tmp_path / "results.md"
    page.write_bytes((PROJECT / "docs" / "results.md").read_bytes())
    put_between(page, "anchors", tables(read_results(anchors.RESULTS)))
    assert page.read_text() == (PROJECT / "docs" / "results.md").read_text()


def test_every_data_set_has_a_paper_and_every_paper_a_data_set() -> None:
    assert {anchor.name.partition("/")[0] for anchor in ANCHORS} == set(PAPERS)
    assert len({anchor.name for anchor in ANCHORS}) == len(ANCHORS)


def test_one_class_is_scored_by_its_name_as_the_confusion_says(tmp_path: Path) -> None:
    rows = [
        {"text": row["text"], "label": "humor" if row["label"] == "good" else "not_humor", "split": split}
        for split, count, seed in (("train", 60, 0), ("dev", 20, 1), ("test", 30, 2))
        for row in sentences("en", count, seed)
    ]
    file = write_csv(tmp_path / "jokes.csv", rows)
    encoder = make_encoder(tmp_path / "encoder", texts=[row["text"] for row in rows])
    world = World(tmp_path, encoder, tmp_path / "work")
    anchor = Anchor("haha/en", lambda _: {"train": {"en": str(file)}}, 2, "f1[humor]")
    found = anchor.measure(world, Settings({"optimizer.learning_rate": 1e-3, "train.device": "cpu"}, "small"))
    told = found["languages"]["en"]
    run = tmp_path / "work/runs/haha/en"
    metrics = json.loads((run / "metrics.json").read_text())["test"]["en"]
    assert told["texts"] == 30
    assert told["score"][0] == pytest.approx(metrics["per_class"]["humor"]["f1"])
    assert told["score"][1] <= told["score"][0] <= told["score"][2]
    assert 0.0 < told["tfidf"] <= 1.0
    assert anchor.measure(world, Settings({}, "small"))["languages"] == found["languages"], "never trained twice"


def test_means_are_over_the_languages_of_each_column() -> None:
    results = {
        "mine/umsab/all": {
            "settings": "", "minutes_in_steps": 1.0,
            "languages": {
                "ar": {"texts": 10, "score": [0.5, 0.4, 0.6], "tfidf": 0.3},
                "en": {"texts": 10, "score": [0.7, 0.6, 0.8], "tfidf": 0.5},
            },
        }
    }  # fmt: skip
    table = tables(results)
    assert "| ar | 50.0 [40.0, 60.0] | 30.0 | 64.3 | 66.9 |" in table
    assert "| mean | 60.0 | 40.0 | 68.5 | 70.5 |" in table
    assert "| mean | 75.4 | 72.7 | 76.2 | 80.0 |" in table, "a data set without results shows what is published"


def test_its_options_leave_the_command_its_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    options = [
        "--data",
        "x",
        "--encoder",
        "x",
        "--called",
        "mine",
        "--work",
        "x",
        "--part",
        "none",
        "--out",
        str(tmp_path / "out.json"),
    ]
    monkeypatch.setattr("sys.argv", ["benchmarks", "anchors", *options])
    main()
    assert "**NusaX" in capsys.readouterr().out
