"""What carries the runs of a study out: processes here (`local.py`) or tasks of a Ray cluster (`on_ray.py`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

CHILD = ("-m", "glotune.study.child")
"""What the Python of a run's process is given, before the study's folder and the run's name."""
GRACE_SECONDS = 30.0
"""How long a run may take to make its checkpoint and leave when it is asked to."""


@dataclass(frozen=True)
class Started:
    """A run's process began."""

    run: str


@dataclass(frozen=True)
class Moved:
    """A run tells how far it is in one of its stages."""

    run: str
    stage: str
    done: int
    total: int


@dataclass(frozen=True)
class Alerted:
    """A run tells what people should know."""

    run: str
    message: str


@dataclass(frozen=True)
class Ended:
    """A run's process is gone."""

    run: str
    code: int | None = None
    """Its exit code; None where it went with its machine."""
    error: str = ""
    """What it said went wrong."""
    kind: str = ""
    """The class of that error."""
    last_words: str = ""
    """The last line of its log, or how its machine was lost."""


Message = Started | Moved | Alerted | Ended


class Workers(Protocol):
    """Carries runs out, and tells what becomes of them."""

    at_once: int | None
    """Runs that may be under way; None where a cluster decides that by its resources."""
    room: int
    """Runs that fit at the same time, as far as is known."""
    release_seconds: float
    """How long a run directory may stay locked after its process was lost."""

    def start(self, run: str) -> None:
        """Begins a run, or goes on with it."""

    def listen(self) -> Message:
        """Waits for the next message.

        Raises:
            RunError: the workers themselves were lost.
        """

    def stop(self) -> None:
        """Asks the runs under way to make a checkpoint and leave; ends those that don't in time."""


def message_of(run: str, content: dict[str, object]) -> Message | None:
    """What a line of a run's process means; None for one that only its end tells (an error)."""
    match content:
        case {"alert": str(message)}:
            return Alerted(run, message)
        case {"stage": str(stage), "done": int(done), "total": int(total)}:
            return Moved(run, stage, done, total)
    return None
