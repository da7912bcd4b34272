from glotune.run.history import read_last
from glotune.run.records import Event
from made_course import TIME
from made_runs import make_run


def test_the_last_scores_come_from_the_tail_of_the_events(tmp_path):
    run = make_run(tmp_path / "run", "sound")
    whole, tail = read_last(run.events_path), read_last(run.events_path, tail=6000)
    assert whole.steps == tail.steps
    assert (whole.steps[-1].step, whole.steps[-1].epoch) == (120, 6.0)
    assert whole.train[-1] == tail.train[-1]
    assert {key: points[-1] for key, points in whole.evaluations.items()} == {
        key: points[-1] for key, points in tail.evaluations.items()
    }
    last = [event for event in run.events() if event.key == "validation/bn"][-1]
    assert whole.last_score("validation", "loss", ["bn"]) == last.data["loss"]
    assert whole.last_score("validation", "loss", ["bn", "xx"]) is None


def test_torn_and_foreign_lines_are_skipped(tmp_path):
    path = tmp_path / "events.jsonl"
    good = Event(kind="step", attempt=1, step=7, epoch=0.5, time=TIME).model_dump_json()
    path.write_text('{"kind":"epoch"}\n[1]\n' + good + '\n{"kind":"step","ste')
    assert [point.step for point in read_last(path).steps] == [7]
    assert read_last(tmp_path / "none.jsonl").steps == ()
