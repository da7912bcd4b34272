"""Trackio: the local database, or the Space or server that ``TRACKIO_SPACE_ID`` or ``TRACKIO_SERVER_URL`` names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import trackio

from glotune.tracking.messages import About, Closing, Notice, Point


class TrackioSink:
    """Project from ``TRACKIO_PROJECT`` (``glotune`` otherwise)."""

    def __init__(self, folder: Path) -> None:
        self._last = 0

    def open(self, about: About, remote: str | None) -> tuple[str, str]:
        """Trackio knows runs by their name."""
        project = os.environ.get("TRACKIO_PROJECT") or "glotune"
        name = remote or f"{about.name}-{about.id[-14:]}"
        self._run: Any = trackio.init(
            project,
            name=name,
            group=about.group,
            config=about.parameters,
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        return name, f"trackio show --project {project}"

    def points(self, points: list[Point]) -> None:
        """One row a point."""
        for point in points:
            self._last = point.step
            self._run.log(dict(point.values), step=point.step)

    def notice(self, notice: Notice) -> None:
        """An alert for what is wrong."""
        if notice.kind == "status":
            return
        level = trackio.AlertLevel.ERROR if notice.kind == "alert" else trackio.AlertLevel.WARN
        self._run.alert(title=notice.kind, text=f"step {notice.step}: {notice.message}", level=level)

    def close(self, closing: Closing | None) -> None:
        """The summary as a last row, pictures beside it, the report and card as text, files as an artifact."""
        if closing is not None:
            row: dict[str, Any] = dict(closing.summary)
            row.update({f"figures/{path.stem}": trackio.Image(str(path)) for path in closing.pictures})
            for path in closing.files:
                if path.suffix == ".md":
                    name = "model_card" if path.name == "README.md" else path.stem
                    row[name] = trackio.Markdown(path.read_text(encoding="utf-8"))
            self._run.log(row, step=self._last)
            if closing.files:
                artifact = trackio.Artifact(name="run-files", type="run")
                for path in closing.files:
                    artifact.add_file(str(path))
                self._run.log_artifact(artifact)
        self._run.finish()
