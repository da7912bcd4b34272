"""``python -m glotune.tracking RUN --to NAME``: the process beside a training."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys

from glotune.errors import GlotuneError
from glotune.run.directory import RunDirectory, now
from glotune.tracking.sending import Pace, Sender


def main() -> int:
    """Follows the run to its end; every line that it says carries the time."""
    parser = argparse.ArgumentParser(prog="python -m glotune.tracking")
    parser.add_argument("run")
    parser.add_argument("--to", required=True)
    given = parser.parse_args()
    with contextlib.suppress(OSError):
        os.nice(5)  # training comes first
    try:
        Sender(RunDirectory.open(given.run), given.to, _tell, Pace()).send()
    except GlotuneError as error:
        _tell(str(error))
        return error.exit_code
    return 0


def _tell(line: str) -> None:
    print(f"{now()} {line}", flush=True)  # noqa: T201 - stdout is the log


if __name__ == "__main__":
    sys.exit(main())
