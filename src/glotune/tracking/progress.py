"""How far a tracker has got, kept beside its run so that a new process goes on where the last one stopped."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from glotune.run.directory import write_atomically


@dataclass
class Progress:
    """Kept in ``RUN/tracking/NAME.json``."""

    remote: str | None = None
    """The tracker's id of the run; None before it was opened."""
    offset: int = 0
    """Bytes of ``events.jsonl`` that were sent."""
    closed: str = ""
    """The end that was sent last, as ``state@attempt``; empty while none was."""
    where: str = ""
    """The run's page, or how to open it, in the tracker's words; reports link to it."""

    @classmethod
    def load(cls, path: Path) -> Progress:
        """From its file; at the start where there is none, or none that can be read."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            where = str(content["where"]) if "where" in content else ""
            return cls(str(content["remote"]), int(content["offset"]), str(content["closed"]), where)
        except (OSError, ValueError, KeyError, TypeError):
            return cls()

    def save(self, path: Path) -> None:
        """Whole or not at all."""
        write_atomically(path, json.dumps(asdict(self)) + "\n")
