"""Where a run's tracker shows it: from the record that the process beside the training leaves in ``RUN/tracking``."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

_PAGE = re.compile(r"https?://[^\s<>\"'()|`]+")


@dataclass(frozen=True)
class TrackerPage:
    """One tracker that a run was sent to."""

    tracker: str
    """``wandb``, ``mlflow``, …"""
    page: str | None
    """The address of the run's page; None for a tracker that keeps its records in a folder."""
    folder: Path
    """Its local records, or where they would lie."""


def tracker_pages(run: Path) -> list[TrackerPage]:
    """The trackers that a run was sent to, those with a page first. A record that can't be read is left out."""
    found = []
    for path in sorted((run / "tracking").glob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if not isinstance(content, dict) or "offset" not in content:
            continue
        page = _PAGE.search(str(content.get("where", "")))
        found.append(TrackerPage(path.stem, page.group() if page else None, path.with_suffix("")))
    return sorted(found, key=lambda each: each.page is None)
