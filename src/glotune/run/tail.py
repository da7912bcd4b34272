"""Reads a growing event file, each whole line once."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from glotune.run.records import Event


class Tail:
    """The events of ``events.jsonl`` from a byte offset on. A line still being written waits for its end."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path, self.offset = path, offset

    def read(self, until: int | None = None) -> list[Event]:
        """What was appended since the last call; empty where the file is not there yet.

        Args:
            until: the byte to stop at; None: the end of the file.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                content = file.read(-1 if until is None else max(until - self.offset, 0))
        except FileNotFoundError:
            return []
        whole = content[: content.rfind(b"\n") + 1]
        self.offset += len(whole)
        events = []
        for line in whole.splitlines():
            try:
                events.append(Event.model_validate_json(line))
            except ValidationError:
                continue  # a torn line that a resumed attempt appended to, or an event of a newer version
        return events
