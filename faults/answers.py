"""How an attempt that knows the right result judges the answer it gets."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from random import Random

from faults.fuzz import Attempt
from glotune.errors import EXIT_USER_ERROR, GlotuneError


def users_mistakes(attempt: Attempt) -> Attempt:
    """The attempt, whose refusals must be the user's mistakes: exit code 2."""

    def strictly(generator: Random, folder: Path) -> object:
        try:
            with contextlib.chdir(folder):
                return attempt(generator, folder)
        except GlotuneError as error:
            if error.exit_code != EXIT_USER_ERROR:
                raise AssertionError(f"exit code {error.exit_code}: {str(error)[:100]}") from error
            raise

    return strictly


@contextlib.contextmanager
def accepted(told: str, *, surely: bool) -> Iterator[None]:
    """Where `surely`, a refusal is no right answer either."""
    try:
        yield
    except GlotuneError as error:
        if surely:
            raise AssertionError(f"{told}: refused ({str(error)[:100]})") from error
        raise


def expect(right: bool, told: str) -> None:
    """Raises AssertionError with `told` where it isn't right."""
    if not right:
        raise AssertionError(told)
