"""Weights & Biases: online where there are credentials, otherwise a local record that ``wandb sync`` can send."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import wandb

from glotune.tracking.messages import About, Closing, Notice, Point

SECONDS_TO_ANSWER = 30.0
"""Seconds after which an outage is reported, instead of W&B's minute and a half; the sender tries again."""


class WandbSink:
    """Project from ``WANDB_PROJECT`` (``glotune`` otherwise); every curve runs over the optimizer step."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self, about: About, remote: str | None) -> tuple[str, str]:
        """Continues the run of the same id; W&B makes it where there is none."""
        mode = os.environ.get("WANDB_MODE") or ("online" if _has_credentials() else "offline")
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or "glotune",
            id=remote or about.id,
            name=about.name,
            group=about.group,
            tags=[f"{name}:{value}"[:64] for name, value in about.tags.items()],
            config=about.parameters,
            dir=str(self._folder),
            mode=mode,  # type: ignore[arg-type,unused-ignore]
            resume="allow",
            settings=wandb.Settings(
                console="off",
                silent=True,
                x_disable_stats=True,
                disable_git=True,
                disable_code=True,
                init_timeout=SECONDS_TO_ANSWER,
            ),
        )
        self._run.define_metric("step", hidden=True)
        self._run.define_metric("*", step_metric="step")
        where = self._run.url or f"recorded in {self._folder}; send it with: wandb sync {Path(self._run.dir).parent}"
        return self._run.id, str(where)

    def points(self, points: list[Point]) -> None:
        """One row a point."""
        for point in points:
            self._run.log({"step": point.step, **point.values})

    def notice(self, notice: Notice) -> None:
        """An alert on the run's page for what is wrong; the rest is in the log file."""
        if notice.kind == "status":
            return
        level = wandb.AlertLevel.ERROR if notice.kind == "alert" else wandb.AlertLevel.WARN
        self._run.alert(title=notice.kind, text=f"step {notice.step}: {notice.message}", level=level)

    def close(self, closing: Closing | None) -> None:
        """Summary, pictures, and the files of the run under its files tab."""
        if closing is not None:
            self._run.summary.update(closing.summary)
            pictures = {f"figures/{path.stem}": wandb.Image(str(path)) for path in closing.pictures}
            if pictures:
                self._run.log(pictures)
            for path in closing.files:
                self._run.save(str(path), base_path=str(path.parent), policy="now")
        failed = closing is not None and closing.state in ("failed", "crashed")
        self._run.finish(exit_code=1 if failed else 0)


def _has_credentials() -> bool:
    return bool(os.environ.get("WANDB_API_KEY") or wandb.api.api_key)
