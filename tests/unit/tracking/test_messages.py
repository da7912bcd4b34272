"""What trackers are told, and that a growing file is read once."""

from __future__ import annotations

import math
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from glotune.run.tail import Tail
from glotune.tracking.messages import Notice, Point, about, closing, flatten, messages
from made_events import event
from made_runs import make_run


def test_events_become_scalars_under_grouping_names() -> None:
    told = list(
        messages(
            [
                event("step", loss=0.5, learning_rate=1e-4, grad_norm=math.nan, texts=4, tokens=100,
                      wall={"seconds": 0.5, "wait_seconds": 0.1}),
                event("evaluation", key="validation/bn", n=10, macro_f1=0.4, mcc=None),
                event("epoch", key="train", loss=0.7),
                event("alert", what="collapsed", message="one class"),
                event("plan", device="cpu"),
                event("best", metric="macro_f1", value=0.4, on="source"),
            ]
        )
    )  # fmt: skip
    step, evaluation, epoch, alert, best = told
    assert isinstance(step, Point)
    assert step.values == {
        "train/loss": 0.5, "train/learning_rate": 1e-4, "train/texts": 4, "train/tokens": 100, "train/seconds": 0.5,
        "train/tokens_per_second": 200.0, "train/epoch": 0.5,
    }  # fmt: skip
    assert isinstance(evaluation, Point)
    assert evaluation.values == {"validation/bn/n": 10, "validation/bn/macro_f1": 0.4}
    assert isinstance(epoch, Point)
    assert epoch.values == {"epoch/train/loss": 0.7}
    assert alert == Notice(1, step.time, "alert", "one class")
    assert isinstance(best, Point)
    assert best.values == {"best/value": 0.4}


def test_a_run_introduces_itself_by_its_recipe_and_not_by_its_place(tmp_path: Path) -> None:
    first, second = make_run(tmp_path / "a", "sound"), make_run(tmp_path / "b", "sound")
    one, other = about(first), about(second)
    assert one.id == other.id
    assert (one.name, other.name) == ("a", "b")
    assert one.parameters["optimizer.learning_rate"] == 2e-4
    assert one.parameters["data.source_languages"] == "en"
    assert one.parameters["run.plan.precision"] == "bf16"
    assert one.parameters["run.trainable_parameters"] == 43_120_899


def test_the_end_of_a_run_carries_scores_with_intervals_and_the_verdict(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "collapsed")
    (run.report / "figures").mkdir(parents=True)
    (run.report / "figures" / "loss.png").write_bytes(b"x")
    (run.report / "report.md").write_text("# r")
    told = closing(run, "complete", tmp_path)
    metrics = run.read_metrics()["test"]["bn"]
    assert told.summary["final/test/bn/macro_f1"] == metrics["macro_f1"]
    assert told.summary["final/test/bn/macro_f1_low"] == metrics["intervals"]["macro_f1"]["low"]
    assert told.summary["verdict"] == "collapsed"
    assert [path.name for path in told.pictures] == ["loss.png"]
    assert {path.name for path in told.files} >= {
        "recipe.yaml",
        "manifest.json",
        "metrics.json",
        "report.md",
        "README.md",
    }
    assert "Verdict: collapsed" in (tmp_path / "README.md").read_text()


def test_flatten() -> None:
    assert flatten({"a": {"b": 1, "c": None}, "d": ["x", 2]}) == {"a.b": 1, "d": "x, 2"}


@given(cuts=st.lists(st.integers(0, 2000), max_size=12), torn=st.booleans())
def test_a_file_that_grows_in_any_pieces_is_read_once_and_whole(tmp_path_factory, cuts: list[int], torn: bool) -> None:
    path = tmp_path_factory.mktemp("tail") / "events.jsonl"
    events = [event("step", step, loss=step / 7) for step in range(12)]
    lines = [line.model_dump_json() for line in events]
    if torn:
        lines.insert(5, '{"kind": "step", "att')
    content = ("\n".join(lines) + "\n").encode()
    tail, read = Tail(path), []
    assert tail.read() == []
    done = 0
    for cut in [*sorted(min(cut, len(content)) for cut in cuts), len(content)]:
        with path.open("ab") as file:
            file.write(content[done:cut])
        done = cut
        read += tail.read()
    assert read == events
    assert tail.read() == []
