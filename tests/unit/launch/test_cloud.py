"""Launch, status, logs, stop and the way back, against a SkyPilot and an AWS that only note what they are asked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from glotune.cli.main import build_app
from glotune.errors import RunError, UserError
from glotune.launch.mirror import Mirror
from glotune.launch.remote import RECORD, Remote
from glotune.run.directory import RunDirectory
from glotune.run.state import State, state_of
from made_runs import make_run

LAUNCH = ["launch", "quickstart", "--infra", "aws", "--name", "toy", "--bucket", "s3://mine"]


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of false commands; each notes its arguments, and ends with the code in $CODE."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("sky", "aws"):
        path = folder / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/asked\nexit ${{CODE:-0}}\n')
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.delenv("GLOTUNE_SKY", raising=False)
    for secret in ("HF_TOKEN", "WANDB_API_KEY", "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_TOKEN", "TRACKIO_SPACE_ID"):
        monkeypatch.delenv(secret, raising=False)
    monkeypatch.chdir(tmp_path)
    return folder


def call(*arguments: str) -> Result:
    return CliRunner().invoke(build_app(arguments[0]), list(arguments))


def asked(folder: Path) -> list[str]:
    return (folder / "asked").read_text().splitlines()


def test_spot_is_a_managed_job_and_secrets_go_by_name_only(
    tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "very-secret")
    assert call(*LAUNCH, "--spot").exit_code == 0
    assert asked(tmp_path) == [
        "sky jobs launch --name toy --yes --detach-run --secret WANDB_API_KEY runs/toy/task.yaml"
    ]
    assert "use_spot: true" in (tmp_path / "runs" / "toy" / "task.yaml").read_text()
    assert "very-secret" not in (tmp_path / "runs" / "toy" / "task.yaml").read_text()
    for verb in (["cloud", "status"], ["cloud", "logs"], ["cloud", "stop"], ["stop"]):
        assert call(*verb, "runs/toy").exit_code == 0
    assert asked(tmp_path)[1:] == [
        "sky jobs queue",
        "sky jobs logs --name toy --no-follow",
        "sky jobs cancel --name toy --yes",
        "sky jobs cancel --name toy --yes",
    ]


def test_otherwise_it_is_a_cluster_that_is_given_back(tools: Path, tmp_path: Path) -> None:
    assert call(*LAUNCH).exit_code == 0
    assert call("stop", "runs/toy").exit_code == 0
    assert asked(tmp_path) == [
        "sky launch --cluster toy --yes --detach-run runs/toy/task.yaml",
        "sky cancel toy --all --yes",
        "sky down toy --yes",
    ]


def test_results_come_back_and_look_like_a_run_elsewhere(tools: Path, tmp_path: Path) -> None:
    call(*LAUNCH)
    record = Remote.read(tmp_path / "runs" / "toy")
    assert record.bucket == "s3://mine/toy"
    nothing = call("cloud", "fetch", "runs/toy")
    assert isinstance(nothing.exception, RunError)
    assert asked(tmp_path)[-1] == "aws s3 sync --only-show-errors s3://mine/toy runs/toy"
    there = make_run(tmp_path / "there", "running")
    there.lock.write_text(json.dumps({"pid": 5, "host": "spot-machine", "since": "now"}))
    Mirror(there.path, tmp_path / "bucket").update()
    local = Remote(**{**record.__dict__, "bucket": str(tmp_path / "bucket")})
    (tmp_path / "runs" / "toy" / RECORD).write_text(json.dumps(local.__dict__))
    done = call("cloud", "fetch", "runs/toy")
    assert done.exit_code == 0, done.output
    run = RunDirectory.open(tmp_path / "runs" / "toy")
    assert state_of(run) is State.ELSEWHERE
    assert len(run.events()) == len(there.events())
    assert Remote.read(run.path) == local


SYNCING = """#!/bin/sh
echo "{name} $*" >> {asked}
for each in "$@"; do before=$place; place=$each; done
case "{name} $*" in
    "rclone sync "*|*--delete*) rm -rf "$place"/* ;;
esac
cp -r {bucket}/. "$place"
"""
"""A tool that copies a bucket to the folder that it is called with last, and deletes where it is asked to."""


@pytest.mark.parametrize("bucket", ["s3://mine/toy", "gs://mine/toy", "r2://mine/toy", None])
def test_no_fetch_deletes_what_is_only_here(tools: Path, tmp_path: Path, bucket: str | None) -> None:
    call(*LAUNCH)
    run = tmp_path / "runs" / "toy"
    there = make_run(tmp_path / "there", "running")
    for name in ("aws", "gcloud", "rclone"):
        place = tools / name
        place.write_text(SYNCING.format(name=name, asked=tmp_path / "asked", bucket=there.path))
        place.chmod(0o755)
    record = {**Remote.read(run).__dict__, "bucket": bucket or str(there.path)}
    (run / RECORD).write_text(json.dumps(record))
    here = ("calibration.json", "evaluations/more/metrics.json", "exports/onnx/model.onnx",
            "checkpoints/step-00000004/weights.safetensors", RECORD, "task.yaml")  # fmt: skip
    for name in here:
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        if not (run / name).exists():
            (run / name).write_text("made here")
    for _ in range(2):
        done = call("cloud", "fetch", "runs/toy")
        assert done.exit_code == 0, done.output
    assert [name for name in here if not (run / name).is_file()] == []
    assert len(RunDirectory.open(run).events()) == len(there.events())
    assert len([line for line in asked(tmp_path) if "toy runs/toy" in line]) == (2 if bucket else 0)


def test_what_is_missing_or_fails_is_one_line(tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call(*LAUNCH)
    again = call(*LAUNCH)
    assert isinstance(again.exception, UserError)
    assert "not empty" in str(again.exception)
    for place in (tmp_path / "file" / "x", tmp_path / "file"):
        (tmp_path / "file").write_text("of the user")
        nowhere = call(*LAUNCH, "--out", str(place))
        assert isinstance(nowhere.exception, UserError)
        assert "can't be written" in str(nowhere.exception)
    monkeypatch.setenv("CODE", "3")
    failed = call("cloud", "status", "runs/toy")
    assert isinstance(failed.exception, RunError)
    assert "code 3" in str(failed.exception)
    (tmp_path / "local").mkdir()
    assert "not launched from here" in str(call("cloud", "logs", "local").exception)
    shutil.rmtree(tools)
    for verb in (["launch", "quickstart", "--infra", "aws"], ["cloud", "status", "runs/toy"]):
        assert "uv tool install" in str(call(*verb).exception)
    assert "the AWS command line" in str(call("cloud", "fetch", "runs/toy").exception)
    assert "--infra is missing" in str(call("launch", "quickstart").exception)
