"""MLflow: the server or store that ``MLFLOW_TRACKING_URI`` names, MLflow's local default otherwise."""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from glotune.errors import RunError
from glotune.tracking.messages import About, Closing, Notice, Point

METRICS_AT_ONCE, PARAMETERS_AT_ONCE, LONGEST_VALUE = 900, 100, 500
"""Within the limits of MLflow's batch call, and of older servers' parameter values."""
LONGEST_NAME = 250
REFUSED = re.compile(r"[^/\w.\- ]")
"""What MLflow takes in no name of a parameter or metric, on any system."""
ENDINGS = {
    "complete": "FINISHED",
    "failed": "FAILED",
    "crashed": "FAILED",
    "interrupted": "KILLED",
    "elsewhere": "RUNNING",
}
"""State of the run -> MLflow's status."""


def allowed(name: str) -> str:
    """A name that MLflow takes: this one, or what is left of it with a hash, by which two names stay two."""
    kept = REFUSED.sub("_", name)
    if posixpath.normpath(kept) != kept:  # MLflow may make a path of it
        kept = kept.replace("/", "_")
    if kept == name and len(name) <= LONGEST_NAME:
        return name
    return f"{kept[: LONGEST_NAME - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


@contextmanager
def refusals_told() -> Iterator[None]:
    """What MLflow refuses it refuses each time: no outage, which would be waited out."""
    try:
        yield
    except MlflowException as error:
        if error.error_code != "INVALID_PARAMETER_VALUE":
            raise
        raise RunError(f"MLflow refuses what is sent ({error.message}). The run itself is not affected") from error


class MlflowSink:
    """Experiment from ``MLFLOW_EXPERIMENT_NAME`` (``glotune`` otherwise)."""

    def __init__(self, folder: Path) -> None:
        self._client = MlflowClient()

    @refusals_told()
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
        """A run with its parameters; the one that an earlier try made, which did not come to its end, goes on."""
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "glotune"
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self._client.create_experiment(name)
        tags = {**about.tags, "glotune.id": about.id, "group": about.group}
        begun = self._client.search_runs([experiment], f"tags.`glotune.id` = '{about.id}'", max_results=1)
        run = begun[0] if begun else self._client.create_run(experiment, int(about.created * 1000), tags, about.name)
        named = {allowed(name): str(value)[:LONGEST_VALUE] for name, value in about.parameters.items()}
        listed = [Param(name, value) for name, value in named.items() if name not in run.data.params]
        for at in range(0, len(listed), PARAMETERS_AT_ONCE):
            self._client.log_batch(run.info.run_id, params=listed[at : at + PARAMETERS_AT_ONCE])
        return str(run.info.run_id)

    @refusals_told()
    def points(self, points: list[Point]) -> None:
        """In batches."""
        metrics = [
            Metric(allowed(name), value, int(point.time * 1000), point.step)
            for point in points
            for name, value in point.values.items()
        ]
        self._log(metrics)

    def _log(self, metrics: list[Metric]) -> None:
        for at in range(0, len(metrics), METRICS_AT_ONCE):
            self._client.log_batch(self._id, metrics=metrics[at : at + METRICS_AT_ONCE])

    @refusals_told()
    def notice(self, notice: Notice) -> None:
        """A tag for each kind, holding the last one."""
        self._client.set_tag(self._id, f"glotune.{notice.kind}", f"step {notice.step}: {notice.message}"[:5000])

    @refusals_told()
    def close(self, closing: Closing | None) -> None:
        """Summary as metrics and tags; pictures, report, card and records as artifacts."""
        if closing is None:
            return
        numbers = {name: value for name, value in closing.summary.items() if isinstance(value, float | int)}
        words = {name: value for name, value in closing.summary.items() if isinstance(value, str)}
        self._log([Metric(allowed(name), float(value), 0, 0) for name, value in numbers.items()])
        tags = [RunTag(f"glotune.{name}", value[:5000]) for name, value in words.items()]
        self._client.log_batch(self._id, tags=tags)
        for path in closing.pictures:
            self._client.log_artifact(self._id, str(path), "figures")
        for path in closing.files:
            self._client.log_artifact(self._id, str(path), "model_card" if path.name == "README.md" else None)
        self._client.set_terminated(self._id, ENDINGS[closing.state])
