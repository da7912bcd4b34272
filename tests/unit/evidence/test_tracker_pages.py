import json

import pytest

from glotune.evidence import compare_runs, runs_table
from glotune.evidence.tracker_pages import tracker_pages
from made_runs import make_run


@pytest.fixture
def runs(tmp_path):
    return [make_run(tmp_path / name, "sound", name=name, n=60, epochs=2) for name in ("a", "b", "c")]


def sent(run, tracker, **content):
    (run.path / "tracking").mkdir(exist_ok=True)
    (run.path / "tracking" / f"{tracker}.json").write_text(json.dumps({"offset": 1, "closed": "", **content}))


def tracker_cells(runs, **given):
    table = runs_table(compare_runs(runs, tests=False), **given)
    place = [column.name for column in table.columns].index("Tracker")
    return [(row[place].text, row[place].href) for row in table.rows]


def test_a_run_links_to_its_page_or_to_the_trackers_own_records(runs, tmp_path):
    sent(runs[0], "tensorboard", remote="1", where="tensorboard --logdir x")
    sent(runs[0], "wandb", remote="2", where="https://wandb.ai/me/glotune/runs/2")
    sent(runs[1], "tensorboard", remote="1", where="tensorboard --logdir x")
    (runs[1].path / "tracking" / "tensorboard").mkdir()
    assert tracker_cells(runs, relative_to=tmp_path / "report") == [
        ("wandb", "https://wandb.ai/me/glotune/runs/2"),
        ("tensorboard", "../b/tracking/tensorboard"),
        ("–", None),
    ]


def test_records_that_are_torn_old_or_hostile_make_no_link(runs):
    sent(runs[0], "mlflow", remote="1")  # written before the page was kept
    sent(runs[1], "wandb", remote="2", where="javascript:alert(1)")
    (runs[2].path / "tracking").mkdir()
    (runs[2].path / "tracking" / "wandb.json").write_text("{")
    assert tracker_cells(runs) == [("–", None)] * 3
    sent(runs[1], "wandb", remote="2", where='https://x.example/"><script>alert(1)</script>')
    assert tracker_pages(runs[1].path)[0].page == "https://x.example/"


def test_the_last_weights_are_tested_in_training_or_were_the_ones_kept(runs):
    table = runs_table(compare_runs(runs, tests=False))
    place = [column.name for column in table.columns].index("Last test in training Macro-F1")
    assert all(row[place].value is not None for row in table.rows)
