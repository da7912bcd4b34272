import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from glotune.errors import UserError
from glotune.report.analysis import transfer
from glotune.report.audit import audit, leak_effects
from glotune.report.content import gather
from glotune.report.specification import cost_rows, known_costs
from glotune.run.data import load_run
from glotune.run.history import read_history
from glotune.run.predictions import read_predictions
from glotune.stats.bootstrap import score_intervals
from made_runs import make_run


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "sound", "sound")


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"confusion": [[1, 2], [3]]}, "as many columns as rows"),
        ({"confusion": [[1, 10**30], [3, 4]]}, "confusion.0.1: "),
        ({"confusion": [[1, -1], [3, 4]]}, "confusion.0.1: "),
        ({"n": 10**30}, "n: Input should be less than"),
    ],
)
def test_counts_that_no_evaluation_can_have_are_named(tmp_path, entry, told):
    run = make_run(tmp_path / "run", "sound", epochs=1, n=30)
    metrics = json.loads(run.metrics_path.read_text())
    metrics["test"]["bn"].update(entry)
    run.metrics_path.write_text(json.dumps(metrics))
    broken = load_run(run)
    assert broken.evaluations == {}
    altered, problem = broken.problems
    assert altered.startswith("metrics.json is not what the run wrote")
    assert problem.startswith("metrics.json can't be read as scores (")
    assert told in problem


def test_everything_of_a_finished_run_is_read(sound):
    run = load_run(sound)
    assert run.problems == ()
    assert run.recipe is not None
    assert run.recipe.optimizer.learning_rate == 2e-4
    assert list(run.main) == ["en", "ar", "bn", "hi"]  # the source first
    assert run.main_split == "test"
    assert len(run.history.steps) == 120
    assert len(run.history.evaluations["validation", "bn"]) == 6
    assert run.history.best_step == 120
    assert run.history.epoch_of(120) == 6.0
    assert run.data.of("test", "bn").fertility == pytest.approx(1.35)
    assert run.data.leaked["test"]["bn"] == [1, 2, 3]
    table = run.predictions("test", "bn")
    assert len(table) == 240
    assert np.allclose(table.probabilities_BC.sum(axis=1), 1, atol=1e-5)
    assert table.texts(np.array([3, 0]))[1][0].endswith(" 0")


@pytest.mark.parametrize("kind", ["running", "diverged"])
def test_an_unfinished_run_loads_with_less_in_it(tmp_path, kind):
    run = load_run(make_run(tmp_path / kind, kind))
    assert run.main == {}
    assert run.main_split is None
    assert run.history.steps
    assert transfer(run) is None
    assert leak_effects(run) == []


def test_a_bare_directory_loads(tmp_path):
    made = make_run(tmp_path / "bare", "running")
    for path in (made.events_path, made.data_profile):
        path.unlink()
    run = load_run(made)
    assert run.history.steps == ()
    assert run.data.splits == {}


def test_damaged_files_are_named_and_the_rest_is_read(tmp_path):
    made = make_run(tmp_path / "damaged", "sound")
    made.data_profile.write_text("{half")
    made.recipe.write_text("name: x\nunknown_key: 1\n")
    made.metrics_path.write_text("not json")
    with made.events_path.open("a") as file:
        file.write('{"schema":1,"kind":"st')
    (made.predictions / "test.bn.parquet").write_bytes(b"PAR1 cut off")
    run = load_run(made)
    assert len(run.history.steps) == 120
    assert run.recipe is None
    assert run.predictions("test", "bn") is None
    assert [problem.split()[0] for problem in run.problems] == [
        "data_profile.json",
        "metrics.json",
        "predictions/test.bn.parquet",
        "recipe.yaml",
        "recipe.yaml",
        str(made.metrics_path),
        "data_profile.json",
    ]
    with pytest.raises(UserError, match="can't be read as a prediction table"):
        read_predictions(made.predictions / "test.bn.parquet")


def test_a_prediction_table_whose_strings_are_no_utf8_is_refused(tmp_path):
    path = make_run(tmp_path / "bytes", "sound").predictions / "test.bn.parquet"
    table = pq.read_table(path)
    broken = pa.array([b"\xa8\xff"] * len(table), pa.binary())
    column = table.schema.get_field_index("data_hash")
    pq.write_table(table.set_column(column, "data_hash", broken.view(pa.string())), path)
    with pytest.raises(UserError, match="can't be read as a prediction table"):
        read_predictions(path)


def test_no_run_and_a_newer_schema_are_refused(tmp_path):
    with pytest.raises(UserError, match="no run at"):
        load_run(tmp_path / "nowhere")
    made = make_run(tmp_path / "newer", "running")
    content = json.loads(made.manifest_path.read_text())
    made.manifest_path.write_text(json.dumps({**content, "schema": 99}))
    with pytest.raises(UserError, match="schema 99"):
        load_run(made)


def test_an_event_without_figures_does_no_harm(sound):
    event = next(iter(sound.events())).model_copy(update={"data": {}})
    point = read_history([event]).steps[0]
    assert np.isnan(point.loss)
    assert point.texts == 0


def test_the_audit_agrees_with_true_metrics_and_finds_a_changed_one(tmp_path):
    made = make_run(tmp_path / "audited", "sound")
    found = audit(load_run(made))
    assert (found.checked, found.unchecked, found.differences) == (8, (), ())
    content = json.loads(made.metrics_path.read_text())
    content["test"]["bn"]["macro_f1"] += 0.01
    made.metrics_path.write_text(json.dumps(content))
    (made.predictions / "test.ar.parquet").unlink()
    found = audit(load_run(made))
    assert len(found.differences) == 1
    assert "test/bn: metrics.json says macro_f1" in found.differences[0]
    assert found.unchecked == ("test/ar",)


def test_scores_without_leaked_texts_are_those_of_the_others(sound):
    from sklearn.metrics import f1_score

    run = load_run(sound)
    effects = {effect.language: effect for effect in leak_effects(run)}
    assert set(effects) == {"ar", "bn", "hi"}
    table = run.predictions("test", "bn")
    kept = table.row_B > 3
    expected = f1_score(table.label_B[kept], table.predicted_B[kept], average="macro")
    assert effects["bn"].without["macro_f1"] == pytest.approx(expected)
    assert effects["bn"].with_leaks["macro_f1"] == run.main["bn"].scores["macro_f1"]
    assert (effects["bn"].leaked, effects["bn"].n) == (3, 240)
    outcomes = table.without(table.row_B <= 3)
    assert effects["bn"].intervals == score_intervals(outcomes, ("accuracy", "macro_f1"), seed=0)
    interval = effects["bn"].intervals["macro_f1"]
    row = next(row for row in gather(run).leaks.rows if row[0] == "Bangla (bn)")
    assert row[-1] == f"{100 * expected:.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def test_savings_are_counted_from_the_steps_where_the_run_recorded_none(tmp_path):
    made = make_run(tmp_path / "run", "sound", epochs=1)
    events = [line for line in made.events_path.read_text().splitlines() if '"kind":"cost"' not in line]
    made.events_path.write_text("\n".join(events) + "\n")
    run = load_run(made)
    found = known_costs(run)
    assert found["tokens_packed"] == sum(step.tokens for step in run.history.steps)
    assert found["tokens_fixed"] == 20 * 64 * 128
    rows = dict(cost_rows(run))
    assert "padded to the maximum length" in rows["Tokens computed"]
    assert "Layers computed once, not every epoch" not in rows


def test_the_peak_of_a_gpu_stands_beside_the_hosts(tmp_path):
    made = make_run(tmp_path / "run", "sound", epochs=1)
    events = [json.loads(line) for line in made.events_path.read_text().splitlines()]
    assert "Peak memory of the GPU" not in dict(cost_rows(load_run(made)))
    for event in events:
        if event["kind"] == "cost":
            event["data"].setdefault("wall", {}).update(peak_memory_bytes=2**30, peak_device_memory_bytes=3 * 2**30)
    made.events_path.write_text("".join(f"{json.dumps(event)}\n" for event in events))
    rows = dict(cost_rows(load_run(made)))
    assert (rows["Peak memory"], rows["Peak memory of the GPU"]) == ("1.0 GiB", "3.0 GiB")


def test_leaked_rows_of_several_files_are_not_guessed(tmp_path):
    made = make_run(tmp_path / "run", "sound", epochs=1)
    path = made.predictions / "test.bn.parquet"
    table = pq.read_table(path)
    rows = pa.array([1 + place % 120 for place in range(240)], pa.int32())
    files = pa.array([f"file {place // 120}" for place in range(240)])
    table = table.set_column(table.schema.get_field_index("row"), "row", rows)
    pq.write_table(table.set_column(table.schema.get_field_index("data_hash"), "data_hash", files), path)
    run = load_run(made)
    assert run.predictions("test", "bn").sources == ("file 0", "file 1")
    effects = {effect.language: effect.without for effect in leak_effects(run)}
    assert effects["bn"] is None
    assert effects["ar"] is not None
    profile = json.loads(made.data_profile.read_text())
    profile["leaked_files"] = {"test": {"bn": ["file 1", "file 0", "file 1"]}}
    made.data_profile.write_text(json.dumps(profile))
    told = load_run(made)
    assert np.flatnonzero(told.leaked_among(told.predictions("test", "bn"))).tolist() == [1, 120, 122]
    assert {effect.language: effect.without for effect in leak_effects(told)}["bn"] is not None
