"""Makes the helpers beside this file (made_runs, encoders, ...) importable from every test folder.

Tests keep their caches to themselves: a user's cache neither helps nor suffers.

Hypothesis draws the same cases every time, so that the same code passes or fails alike for everyone; ``make search``
draws others (``GLOTUNE_TEST_CASES=search``).

Tables are as wide as through a pipe, whatever terminal the tests are started from and whichever test opens the console.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("gate", derandomize=True)
settings.register_profile("search", derandomize=False, print_blob=True)
settings.load_profile(os.environ.get("GLOTUNE_TEST_CASES", "gate"))

os.environ.pop("COLUMNS", None)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder for this session, unless the caller names one."""
    given = os.environ.get("GLOTUNE_CACHE")
    folder = Path(given) if given else tmp_path_factory.mktemp("cache")
    os.environ["GLOTUNE_CACHE"] = str(folder)
    yield folder
    if given is None:
        del os.environ["GLOTUNE_CACHE"]


@pytest.fixture(scope="session", autouse=True)
def heeds_ctrl_c() -> None:
    """A shell may start what runs in its background with SIGINT ignored, and children inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def plain_console(monkeypatch: pytest.MonkeyPatch) -> None:
    """The console takes its width when it is first imported, maybe within a test that plays a terminal."""
    from glotune.cli import console

    for each in (console.out, console.err):
        monkeypatch.setattr(each, "_width", console.PLAIN_WIDTH)
