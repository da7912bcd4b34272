"""MLflow: the server or store that ``MLFLOW_TRACKING_URI`` names, MLflow's local default otherwise."""

from __future__ import annotations

import os
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from glotune.tracking.messages import About, Closing, Notice, Point

METRICS_AT_ONCE, PARAMETERS_AT_ONCE, LONGEST_VALUE = 900, 100, 500
"""Within the limits of MLflow's batch call, and of older servers' parameter values."""
ENDINGS = {
    "complete": "FINISHED",
    "failed": "FAILED",
    "crashed": "FAILED",
    "interrupted": "KILLED",
    "elsewhere": "RUNNING",
}
"""State of the run -> MLflow's status."""


class MlflowSink:
    """Experiment from ``MLFLOW_EXPERIMENT_NAME`` (``glotune`` otherwise)."""

    def __init__(self, folder: Path) -> None:
        self._client = MlflowClient()

    def open(self, about: About, remote: str | None) -> tuple[str, str]:
        """Makes the run with its parameters, or goes on with it."""
        if remote is None:
            remote = self._create(about)
        else:
            self._client.update_run(remote, status="RUNNING")
        self._id = remote
        place = self._client.tracking_uri
        if not place.startswith("http"):
            return remote, f"MLflow run {remote} at {place}"
        experiment = self._client.get_run(remote).info.experiment_id
        return remote, f"{place.rstrip('/')}/#/experiments/{experiment}/runs/{remote}"

    def _create(self, about: About) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "glotune"
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self._client.create_experiment(name)
        tags = {**about.tags, "glotune.id": about.id, "group": about.group}
        run = self._client.create_run(experiment, int(about.created * 1000), tags, about.name)
        listed = [Param(name, str(value)[:LONGEST_VALUE]) for name, value in about.parameters.items()]
        for at in range(0, len(listed), PARAMETERS_AT_ONCE):
            self._client.log_batch(run.info.run_id, params=listed[at : at + PARAMETERS_AT_ONCE])
        return str(run.info.run_id)

    def points(self, points: list[Point]) -> None:
        """In batches."""
        metrics = [
            Metric(name, value, int(point.time * 1000), point.step)
            for point in points
            for name, value in point.values.items()
        ]
        self._log(metrics)

    def _log(self, metrics: list[Metric]) -> None:
        for at in range(0, len(metrics), METRICS_AT_ONCE):
            self._client.log_batch(self._id, metrics=metrics[at : at + METRICS_AT_ONCE])

    def notice(self, notice: Notice) -> None:
        """A tag for each kind, holding the last one."""
        self._client.set_tag(self._id, f"glotune.{notice.kind}", f"step {notice.step}: {notice.message}"[:5000])

    def close(self, closing: Closing | None) -> None:
        """Summary as metrics and tags; pictures, report, card and records as artifacts."""
        if closing is None:
            return
        numbers = {name: value for name, value in closing.summary.items() if isinstance(value, float | int)}
        words = {name: value for name, value in closing.summary.items() if isinstance(value, str)}
        self._log([Metric(name, float(value), 0, 0) for name, value in numbers.items()])
        tags = [RunTag(f"glotune.{name}", value[:5000]) for name, value in words.items()]
        self._client.log_batch(self._id, tags=tags)
        for path in closing.pictures:
            self._client.log_artifact(self._id, str(path), "figures")
        for path in closing.files:
            self._client.log_artifact(self._id, str(path), "model_card" if path.name == "README.md" else None)
        self._client.set_terminated(self._id, ENDINGS[closing.state])
