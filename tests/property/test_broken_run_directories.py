"""Watchers and trackers over run directories in which anything may stand anywhere: a clear error or an answer."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glotune.errors import GlotuneError
from glotune.monitor.once import run_page, runs_table
from glotune.monitor.watcher import Watcher
from glotune.run.directory import RunDirectory
from glotune.tracking.messages import about, closing, messages
from glotune.verbs.clean import Choice, find
from made_runs import make_run

STRANGE: list[Any] = [None, True, -1, 10**30, 1e308, float("nan"), "", "x", "2026", [], [1], {}, {"a": {}}, "\u202e<b>"]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return make_run(tmp_path_factory.mktemp("broken") / "run", "sound", epochs=1, n=30)


def broken(content: Any, chance: random.Random) -> Any:
    """The same JSON with one value somewhere replaced."""
    if isinstance(content, dict) and content and chance.random() < 0.85:
        key = chance.choice(list(content))
        return {**content, key: broken(content[key], chance)}
    if isinstance(content, list) and content and chance.random() < 0.85:
        at = chance.randrange(len(content))
        return [*content[:at], broken(content[at], chance), *content[at + 1 :]]
    return chance.choice(STRANGE)


def break_file(path: Path, chance: random.Random) -> None:
    if path.suffix == ".jsonl":
        lines = path.read_text().splitlines()
        for at in chance.sample(range(len(lines)), 8):
            lines[at] = json.dumps(broken(json.loads(lines[at]), chance)) if chance.random() < 0.9 else lines[at][:20]
        path.write_text("\n".join(lines) + "\n")
    elif chance.random() < 0.9:
        path.write_text(json.dumps(broken(json.loads(path.read_text()), chance)))
    else:
        path.write_bytes(path.read_bytes()[: chance.randrange(path.stat().st_size)])


def attempt(call: Callable[[], Any]) -> None:
    try:
        call()
    except GlotuneError as error:
        assert str(error)  # noqa: PT017 - any other error fails the test by itself


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_readers_answer_or_say_what_is_wrong(sound: RunDirectory, tmp_path_factory: Any, seed: int) -> None:
    chance = random.Random(seed)
    folder = tmp_path_factory.mktemp("one") / "run"
    folder.mkdir()
    for path in (sound.manifest_path, sound.events_path, sound.metrics_path, sound.data_profile, sound.recipe):
        (folder / path.name).write_bytes(path.read_bytes())
    run = RunDirectory(folder)
    for path in (run.manifest_path, run.events_path, run.metrics_path):
        if chance.random() < 0.6:
            break_file(path, chance)

    def look() -> None:
        view = Watcher(run).look()
        list(runs_table([view], folder.parent, 100).columns)
        run_page(view, None, 80, plain=True)

    attempt(look)
    attempt(lambda: about(run))
    attempt(lambda: list(messages(run.raw_events())))
    attempt(lambda: closing(run, "complete", folder.parent))
    attempt(lambda: find(folder.parent, Choice(failed=True)))
