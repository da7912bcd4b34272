"""Generated inputs of every kind: each is accepted, or refused with glotune's own error; nothing else, and no hang."""

from __future__ import annotations

import faulthandler
import json
import shutil
import signal
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

from faults import hostile
from glotune.data.reading import read_texts
from glotune.errors import GlotuneError
from glotune.recipe import Recipe, load_recipe, recipe_yaml
from glotune.recipe.schema import Data
from glotune.run.directory import RunDirectory
from glotune.verbs.predict_inputs import Inputs

SECONDS = 20
"""An input that takes longer counts as a hang."""
MOST_CHARACTERS = 20_000
"""Of a refusal."""
Attempt = Callable[[Random, Path], object]


class Hang(BaseException):
    """Raised by the alarm."""


@dataclass
class FuzzResult:
    """What became of the inputs of one kind."""

    kind: str
    accepted: int = 0
    refused: int = 0
    slowest: float = 0.0
    failures: Counter[str] = field(default_factory=Counter)
    """What went wrong -> how often; with the number of the first input that shows it."""

    @property
    def inputs(self) -> int:
        """How many there were."""
        return self.accepted + self.refused + sum(self.failures.values())


def fuzz(kind: str, attempt: Attempt, numbers: range, seed: int, folder: Path) -> FuzzResult:
    """Tries the inputs with these numbers; input N of a kind and seed is always the same."""
    result = FuzzResult(kind)
    seen: dict[str, int] = {}
    for number in numbers:
        place = folder / "input"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        started = time.monotonic()
        problem = try_one(partial(attempt, Random(f"{kind}{seed}/{number}"), place), result)
        result.slowest = max(result.slowest, time.monotonic() - started)
        if problem is not None:
            seen.setdefault(problem, number)
            result.failures[f"input {seen[problem]}: {problem}"] += 1
    return result


def try_one(action: Callable[[], object], result: FuzzResult) -> str | None:
    """Books one input; what is wrong, None where all is well."""
    try:
        with alarm():
            action()
    except GlotuneError as error:
        problem = unfit(str(error))
        result.refused += problem is None
        return problem
    except Hang:
        return f"hangs: more than {SECONDS} s"
    except BaseException as error:
        return f"{type(error).__name__}: {str(error)[:150]!r} at {place_of(error)}"
    result.accepted += 1
    return None


def unfit(message: str) -> str | None:
    """Why a message can't be shown to people as it is: too long, or it would command their terminal."""
    if len(message) > MOST_CHARACTERS:
        return f"a refusal of {len(message)} characters: {message[:100]!r}"
    for character in message:
        if character not in "\n\t" and (
            unicodedata.category(character) in ("Cc", "Cs") or character in "\u202d\u202e\u2066\u2067"
        ):
            return f"a refusal with {character!r} in it: {message[:60]!r}"
    return None


def place_of(error: BaseException) -> str:
    """The innermost line of glotune in a traceback."""
    found, entry = "?", error.__traceback__
    while entry is not None:
        file = entry.tb_frame.f_code.co_filename
        if "glotune" in file:
            found = f"{Path(file).name}:{entry.tb_lineno}"
        entry = entry.tb_next
    return found


@contextmanager
def alarm() -> Iterator[None]:
    """Raises Hang after `SECONDS`; a hang outside the interpreter ends the process with a traceback, a minute later."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    faulthandler.dump_traceback_later(SECONDS + 60, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# ---- what is tried ------------------------------------------------------------------------------------------


def recipes(valid: Recipe) -> Attempt:
    """Recipe files: broken YAML, wrong keys and values, and overrides on the command line."""
    content, plain = recipe_yaml(valid).encode(), valid.model_dump(mode="json")

    def attempt(generator: Random, folder: Path) -> object:
        path = folder / "recipe.yaml"
        if generator.random() < 0.4:
            path.write_bytes(hostile.mutated(generator, content))
            return load_recipe(path)
        changed: Any = plain
        for _ in range(generator.randint(1, 3)):
            changed = hostile.replaced(generator, changed)
        path.write_text(json.dumps(changed, ensure_ascii=True), encoding="utf-8")  # JSON is YAML
        override = (
            f"{generator.choice(['train.epochs', 'model.lora', 'data', 'x', ''])}={hostile.text(generator, long=0)}"
        )
        return load_recipe(path, [override]) if generator.random() < 0.3 else load_recipe(path)

    return attempt


def data_files() -> Attempt:
    """Labelled texts as CSV, TSV, JSON lines and Parquet, plain and zipped."""

    def attempt(generator: Random, folder: Path) -> object:
        suffix = generator.choice([".csv", ".tsv", ".jsonl", ".parquet", ".csv.gz", ".jsonl.gz"])
        columns = ["text", "label"] + (["text_pair"] if generator.random() < 0.1 else [])
        files = {}
        for split in ("train", "validation"):
            path = folder / f"{split}{suffix}"
            path.write_bytes(hostile.table(generator, columns, suffix))
            files[split] = {"en": str(path)}
        on_bad = {"columns": {"text_pair": "text_pair"}} if len(columns) == 3 else {}
        return read_texts(Data.model_validate({**files, **on_bad}), 0)

    return attempt


def prediction_inputs() -> Attempt:
    """Texts to predict, as lines and tables."""

    def attempt(generator: Random, folder: Path) -> object:
        suffix = generator.choice([".txt", ".csv", ".tsv", ".jsonl", ".parquet", ".csv.gz"])
        path = folder / f"input{suffix}"
        if suffix == ".txt":
            content = hostile.encoded("\n".join(hostile.text(generator) for _ in range(generator.randint(0, 9))))
            path.write_bytes(hostile.mutated(generator, content) if generator.random() < 0.3 else content)
        else:
            path.write_bytes(hostile.table(generator, ["text"], suffix))
        return list(Inputs(str(path), skip_empty=generator.random() < 0.5).rows())

    return attempt


def predictions(run: RunDirectory) -> Attempt:
    """Hostile texts given to a trained model: any string gets a label."""
    from glotune.verbs.predict import load

    predictor = load(run.path)

    def attempt(generator: Random, folder: Path) -> object:
        texts = [hostile.text(generator) for _ in range(generator.randint(1, 5))]
        found = predictor.predict(texts)
        if len(found) != len(texts):
            raise AssertionError(f"{len(found)} predictions of {len(texts)} texts")
        return found

    return attempt


def checkpoints(run: RunDirectory) -> Attempt:
    """Checkpoints with changed bytes and files: the newest whole one is found, or none."""
    from safetensors.torch import load_file

    from glotune.engine.checkpoints import CheckpointStore

    def attempt(generator: Random, folder: Path) -> object:
        place = folder / "checkpoints"
        shutil.copytree(run.checkpoints, place)
        files = sorted(path for path in place.rglob("*") if path.is_file())
        for path in generator.sample(files, generator.randint(1, 4)):
            harm(generator, path)
        found = CheckpointStore(place, keep=1).latest()
        if found is not None:  # then it is whole
            load_file(found.folder / "weights.safetensors")
            load_file(found.folder / "optimizer.safetensors")
        return found

    return attempt


def run_directories(run: RunDirectory) -> Attempt:
    """Run directories with changed files, read by all that reads runs: report, comparison, monitor."""
    from glotune.evidence import compare_runs
    from glotune.monitor.once import look_at
    from glotune.report.content import gather
    from glotune.report.markdown import render_markdown
    from glotune.report.page import render_page
    from glotune.run.data import load_run

    names = ("manifest.json", "events.jsonl", "metrics.json", "data_profile.json", "recipe.yaml", "log.txt")

    def attempt(generator: Random, folder: Path) -> object:
        copy = RunDirectory(folder / "run")
        for name in names:
            copy.path.mkdir(exist_ok=True)
            shutil.copy(run.path / name, copy.path / name)
        shutil.copytree(run.predictions, copy.predictions)
        files = [copy.path / name for name in names] + copy.prediction_files()
        for path in generator.sample(files, generator.randint(1, 2)):
            harm(generator, path)
        look_at(folder)
        reader = generator.randint(0, 2)
        if reader == 0:
            return compare_runs([run.path, copy.path])
        content = gather(load_run(copy))
        return render_markdown(content, []) if reader == 1 else render_page([content], "t")

    return attempt


def harm(generator: Random, path: Path) -> None:
    """Changes a file: its bytes, or, of JSON, its values."""
    content = path.read_bytes()
    if generator.random() < 0.05:
        path.unlink()
    elif path.suffix == ".json" and generator.random() < 0.6:
        path.write_text(json.dumps(hostile.replaced(generator, json.loads(content))), encoding="utf-8")
    elif path.suffix == ".jsonl" and generator.random() < 0.6:
        lines = content.splitlines()
        place = generator.randrange(len(lines))
        lines[place] = json.dumps(hostile.replaced(generator, json.loads(lines[place]))).encode()
        path.write_bytes(b"\n".join(lines) + b"\n")
    else:
        path.write_bytes(hostile.mutated(generator, content))
