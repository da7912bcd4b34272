"""Single events for tests of whatever reads them."""

from __future__ import annotations

from glotune.run.records import Event

TIME = "2026-01-02T03:04:05+00:00"


def event(kind: str, step: int = 1, key: str = "", attempt: int = 1, **data: object) -> Event:
    return Event.model_validate(
        {"kind": kind, "attempt": attempt, "step": step, "epoch": 0.5, "time": TIME, "key": key, "data": data}
    )
