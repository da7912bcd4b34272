"""The real trackers, offline or local: a run is sent, and what they stored is read back."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import time
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from glotune.errors import RunError
from glotune.run.directory import RunDirectory
from glotune.run.lock import locked
from glotune.run.records import RunStatus
from glotune.tracking.messages import Notice, about
from glotune.verbs.trackers import start_trackers
from made_events import event
from made_runs import make_run

pytestmark = pytest.mark.extras

QUIET = {
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
    "HF_HUB_OFFLINE": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}


def png() -> bytes:
    """A picture of 3 by 2 grey pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 3, 2, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + bytes([90, 120, 150]) for _ in range(2)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A finished run with a report and a model card."""
    run = make_run(tmp_path / "runs" / "made", "sound")
    run.append_events([event("alert", 120, what="stalled", message="a line for people")])
    (run.report / "figures").mkdir(parents=True)
    (run.report / "figures" / "loss.png").write_bytes(png())
    (run.report / "report.md").write_text("# The report\n")
    (run.report / "report.html").write_text("<h1>The report</h1>")
    return run


def track(run: RunDirectory, tracker: str, tmp_path: Path) -> dict[str, str]:
    """Sends twice (the second time nothing is left to send); returns the environment that it ran in."""
    environment = {
        **os.environ, **QUIET, "OMP_NUM_THREADS": "1",
        "TRACKIO_DIR": str(tmp_path / "trackio"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
    }  # fmt: skip
    command = [sys.executable, "-m", "glotune.cli.main", "track", str(run.path), "--to", tracker, "--patience", "0"]
    for expected in ("sent to", "already"):
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert expected in done.stderr
    return environment


def macro_f1(run: RunDirectory) -> float:
    value = run.read_metrics()["test"]["bn"]["macro_f1"]
    assert isinstance(value, float)
    return value


def losses(run: RunDirectory) -> list[float]:
    return [event.data["loss"] for event in run.events() if event.kind == "step"]


def test_tensorboard(run: RunDirectory, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra 'tensorboard'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    track(run, "tensorboard", tmp_path)
    stored = EventAccumulator(str(run.path / "tracking" / "tensorboard"), size_guidance={"scalars": 0, "tensors": 0})
    stored.Reload()
    loss = stored.Scalars("train/loss")
    assert [point.step for point in loss] == list(range(1, 121))
    assert [point.value for point in loss] == pytest.approx(losses(run), rel=1e-6)
    assert stored.Scalars("final/test/bn/macro_f1")[0].value == pytest.approx(macro_f1(run), rel=1e-6)
    assert stored.Images("figures/loss")[0].encoded_image_string == png()
    assert (stored.Images("figures/loss")[0].width, stored.Images("figures/loss")[0].height) == (3, 2)
    assert b"a line for people" in stored.Tensors("notices/alert")[0].tensor_proto.string_val[0]
    assert b"# made-sound" in stored.Tensors("model_card")[0].tensor_proto.string_val[0]
    content = stored.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    assert (
        HParamsPluginData.FromString(content).session_start_info.hparams["optimizer.learning_rate"].number_value == 2e-4
    )


def test_wandb(run: RunDirectory, tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="needs the extra 'wandb'")
    track(run, "wandb", tmp_path)
    (stored,) = (run.path / "tracking" / "wandb").rglob("run-*.wandb")
    records = read_wandb(stored)
    rows = [
        {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for record in records
        if record.WhichOneof("record_type") == "history"
    ]
    steps = [row for row in rows if "train/loss" in row]
    assert [row["step"] for row in steps] == list(range(1, 121))
    assert [row["train/loss"] for row in steps] == pytest.approx(losses(run))
    assert any(name.startswith("figures/loss") for row in rows for name in row)
    begun = next(record.run for record in records if record.WhichOneof("record_type") == "run")
    config = {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in begun.config.update}
    assert config["optimizer.learning_rate"] == 2e-4
    assert begun.display_name == "made"
    summary = {
        item.key or "/".join(item.nested_key): item.value_json
        for record in records
        if record.WhichOneof("record_type") == "summary"
        for item in record.summary.update
    }
    assert float(summary["final/test/bn/macro_f1"]) == pytest.approx(macro_f1(run))
    assert json.loads(summary["verdict"]) == "sound"
    alerts = [record.alert.text for record in records if record.WhichOneof("record_type") == "alert"]
    assert alerts == ["step 120: a line for people"]
    (card,) = stored.parent.rglob("README.md")
    assert "# made-sound" in card.read_text()


def read_wandb(path: Path) -> list[Any]:
    """Records of a .wandb file: LevelDB's log format in blocks of 32 KiB, behind a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, parts, records = path.read_bytes(), 7, b"", []
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack_from("<HB", content, at + 4)
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            records.append(Record.FromString(parts))
            parts = b""
    return records


def test_trackio(run: RunDirectory, tmp_path: Path) -> None:
    pytest.importorskip("trackio", reason="needs the extra 'trackio'")
    environment = track(run, "trackio", tmp_path)
    program = """
import json
from trackio.sqlite_storage import SQLiteStorage as S
(name,) = S.get_runs("glotune")
print(json.dumps({"logs": S.get_logs("glotune", name), "config": S.get_run_config("glotune", name),
                  "artifacts": S.list_artifacts("glotune"), "alerts": S.get_alerts("glotune")}, default=str))
"""
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    stored = json.loads(done.stdout)
    rows = [row for row in stored["logs"] if "train/loss" in row]
    assert [row["step"] for row in rows] == list(range(1, 121))
    assert [row["train/loss"] for row in rows] == pytest.approx(losses(run))
    last = stored["logs"][-1]
    assert last["final/test/bn/macro_f1"] == pytest.approx(macro_f1(run))
    assert "figures/loss" in last
    assert "# made-sound" in json.dumps(last["model_card"])
    assert stored["config"]["optimizer.learning_rate"] == 2e-4
    assert "run-files" in json.dumps(stored["artifacts"])
    assert "a line for people" in json.dumps(stored["alerts"])


def test_mlflow(run: RunDirectory, tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="needs the extra 'mlflow'")
    environment = track(run, "mlflow", tmp_path)
    from mlflow import MlflowClient

    client = MlflowClient(environment["MLFLOW_TRACKING_URI"])
    experiment = client.get_experiment_by_name("glotune")
    assert experiment is not None
    (stored,) = client.search_runs([experiment.experiment_id])
    assert stored.info.status == "FINISHED"
    assert stored.info.run_name == "made"
    assert stored.data.params["optimizer.learning_rate"] == "0.0002"
    history = sorted(client.get_metric_history(stored.info.run_id, "train/loss"), key=lambda metric: metric.step)
    assert [metric.step for metric in history] == list(range(1, 121))
    assert [metric.value for metric in history] == pytest.approx(losses(run))
    assert stored.data.metrics["final/test/bn/macro_f1"] == pytest.approx(macro_f1(run))
    assert stored.data.tags["glotune.verdict"] == "sound"
    assert "a line for people" in stored.data.tags["glotune.alert"]
    folder = Path(client.download_artifacts(stored.info.run_id, ""))
    assert (folder / "figures" / "loss.png").read_bytes() == png()
    assert "# made-sound" in (folder / "model_card" / "README.md").read_text()
    assert (folder / "report.html").exists()


def test_mlflow_gets_names_that_it_would_refuse_once_whatever_fails(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow", reason="needs the extra 'mlflow'")
    from mlflow import MlflowClient

    from glotune.tracking.to_mlflow import MlflowSink

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    weights = {"C++": 1, "C##": 2, "a//b": 3, "très bien! 😀": 4, "plain": 5, "x" * 400: 6}
    told = replace(about(run), parameters={f"weights.{label}": value for label, value in weights.items()})
    sink = MlflowSink(tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr(MlflowClient, "log_batch", lambda *_, **__: 1 // 0)
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                sink.open(told, None)
    remote, _ = MlflowSink(tmp_path).open(told, None)
    again = MlflowSink(tmp_path)
    again.open(told, remote)
    with pytest.raises(RunError, match="MLflow refuses what is sent"):
        again.notice(Notice(1, 0.0, "a kind?", "that MLflow takes as no name of a tag"))
    client = MlflowClient()
    experiment = client.get_experiment_by_name("glotune")
    assert experiment is not None
    (stored,) = client.search_runs([experiment.experiment_id])
    assert stored.info.run_id == remote
    assert sorted(stored.data.params.values()) == list("123456")
    assert stored.data.params["weights.plain"] == "5"
    assert any(name.startswith("weights.très bien_ _-") for name in stored.data.params)


def test_mlflow_down_is_one_line_and_leaves_the_run_alone(run: RunDirectory, tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="needs the extra 'mlflow'")
    environment = {
        **os.environ,
        **QUIET,
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    }
    command = [sys.executable, "-m", "glotune.cli.main", "track", str(run.path), "--to", "mlflow", "--patience", "0"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "mlflow could not be reached" in done.stderr
    assert "Traceback" not in done.stderr
    assert run.read_manifest().status is RunStatus.COMPLETE


def test_a_tracker_follows_a_training_in_a_process_of_its_own(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra 'tensorboard'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = make_run(tmp_path / "run", "running")
    with locked(run.lock):
        (started,) = start_trackers(run, ["tensorboard"])
        assert started.poll() is None, "it is left to itself"
        time.sleep(4)
        run.append_events([event("step", 61, loss=0.25)])
        run.update_manifest(status=RunStatus.COMPLETE)
    run.report.mkdir()
    (run.report / "report.html").write_text("<h1>The report</h1>")
    assert started.wait(60) == 0, (run.path / "tracking" / "tensorboard.log").read_text()
    stored = EventAccumulator(str(run.path / "tracking" / "tensorboard"), size_guidance={"scalars": 0})
    stored.Reload()
    assert [point.step for point in stored.Scalars("train/loss")] == list(range(1, 62))
