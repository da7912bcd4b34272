"""Teachers: found and checked before there is a run, and asked once for what they answer."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glotune.data.cache import open_or_build
from glotune.data.spelling import name_of
from glotune.data.texts import LabelledTexts, TextData, text_hash
from glotune.engine.recorder import Recorder
from glotune.errors import RunError, UserError, did_you_mean
from glotune.recipe.kinds import TaskName
from glotune.recipe.paths import meant_beside, place_of
from glotune.run.record import Size
from glotune.run.records import Manifest, RunStatus
from glotune.run.state import find_runs
from glotune.run.teaching import TeacherRecord
from glotune.verbs.evaluate import texts_of
from glotune.verbs.opening import run_of
from glotune.verbs.predict import Predictor, load
from glotune.whole_files import sha256
from glotune.words import counted, duration, rate

KEY = "distill.teacher"


HASHED = (".safetensors", ".bin", ".onnx", ".data", ".json", ".model", ".txt")
"""Files of a model's folder that its answers depend on."""


WEIGHTS = (".safetensors", ".bin", ".onnx", ".data")


TOGETHER = 512
"""Texts between two reports of progress, sorted by length together."""


Report = Callable[[int, int], None]


def find_teachers(name: str, own: Path | None) -> list[Path]:
    """The runs or model folders that a name means: one, or the complete runs of a study's folder.

    Raises:
        UserError: there is nothing, nothing that was trained, or the run itself.
    """
    place = place_of(name)
    if own is not None:
        refuse_itself(place, own)
    if not place.is_dir():
        raise UserError(
            f"there is no folder {name}",
            where=KEY,
            expected="a run, a folder with a saved text classifier, or a study's folder",
            remedy=meant_beside(place),
        )
    if (place / "config.json").is_file() or (place / "manifest.json").is_file():
        return [place]
    runs = [run.path for run in find_runs(place) if _is_complete(run.read_manifest())]
    if not runs:
        raise UserError(
            f"{name} holds no model and no complete run",
            where=KEY,
            expected="a run, a folder with a saved text classifier, or a study's folder",
            remedy="List your runs with: glotune list",
        )
    return runs


def _is_complete(manifest: Manifest) -> bool:
    return manifest.kind == "train" and manifest.status is RunStatus.COMPLETE


def refuse_itself(place: Path, own: Path) -> None:
    """A run has no answers to learn from before it was trained."""
    if own.resolve() in (place.resolve(), place.resolve().parent):
        raise UserError(
            f"{place} is the run itself",
            where=KEY,
            expected="another run, which is trained already",
            remedy="Name another one, or another directory for this run with --out",
        )


def open_teacher(place: Path, device: str) -> Predictor:
    """The classifier there, in fp32: its own tokenizer and max_length.

    Raises:
        UserError: it can't be opened; says why, under the key of the recipe.
    """
    try:
        return load(place, device=device)
    except RunError as error:
        raise UserError(str(error), where=KEY, expected="a run that is trained") from error
    except UserError as error:
        found = error.found if str(place) in error.found else f"{place}: {error.found}"
        raise UserError(found, where=KEY, expected=error.expected, remedy=error.remedy) from error


def model_folder(place: Path) -> Path:
    """Where the files of a run's or folder's model lie."""
    run = run_of(place)
    return place if run is None else run.require_model()


def refuse_other_task(predictor: Predictor, place: Path, texts: TextData, task: TaskName) -> None:
    """A teacher has the run's task, knows the texts' labels, each of them and no other, and takes texts as they come.

    Raises:
        UserError: otherwise; names the first label that only one of the two has, and the nearest of the other.
    """
    if predictor.kind.name != task:
        raise UserError(
            f"{place} answers another task ({predictor.kind.name})",
            where=KEY,
            expected=f"a teacher of the run's own task, {task}",
        )
    theirs, ours = ({name_of(name): name for name in names} for names in (predictor.labels, texts.labels))
    for own, other, whose in ((theirs, ours, "the texts do not"), (ours, theirs, "the teacher does not")):
        odd = next((name for key, name in own.items() if key not in other), None)
        if odd is not None:
            has = f"{place} has" if own is theirs else "the texts have"
            raise UserError(
                f"{has} the label '{odd}', {whose}",
                where=KEY,
                expected=f"the labels of the texts: {', '.join(texts.labels)}; the teacher's: "
                f"{', '.join(predictor.labels)}",
                remedy=did_you_mean(odd, other.values()) or "Map the labels of the texts in data.labels",
            )
    has_pairs = texts.splits["train"].has_pairs
    if predictor.takes_pairs is not None and predictor.takes_pairs != has_pairs:
        kinds = {True: "pairs of texts", False: "single texts"}
        found = f"{place} was trained on {kinds[predictor.takes_pairs]}"
        raise UserError(found, where=KEY, expected=f"a teacher of {kinds[has_pairs]}")


def unsound(place: Path) -> list[str]:
    """A warning about a teacher whose verdict says that it learned nothing."""
    run = run_of(place)
    verdict = None if run is None else run.read_manifest().verdict
    if verdict is None or verdict.is_sound:
        return []
    return [f"the teacher {place} {verdict.status}: its answers mean nothing"]


def identity(folder: Path) -> str:
    """SHA-256 over the names and contents of all files that a model's answers depend on."""
    files = sorted(path for path in folder.iterdir() if path.suffix in HASHED)
    return hashlib.sha256("".join(f"{path.name}\x1f{sha256(path)}\x1e" for path in files).encode()).hexdigest()


def size_of(predictor: Predictor, folder: Path) -> Size:
    """Parameters, and bytes of the files that hold them."""
    return Size(
        parameters=predictor.engine.model.parameters,
        bytes=sum(path.stat().st_size for path in folder.iterdir() if path.suffix in WEIGHTS),
    )


def columns_of(theirs: list[str], ours: list[str]) -> NDArray[np.int64]:
    """For each of our labels the place of theirs, by name."""
    places = {name_of(name): place for place, name in enumerate(theirs)}
    return np.array([places[name_of(name)] for name in ours], np.int64)


def cached_answers(
    predictor: Predictor,
    teacher: TeacherRecord,
    texts: LabelledTexts,
    cache: Path,
    recorder: Recorder,
    what: str = "training text",
) -> NDArray[np.float32]:
    """[N, C] logits (or scores) of all texts, in their order, memory-mapped; computed where the cache has none.

    The key names what they depend on: the teacher's files, the texts, and how it reads them. The log calls the texts
    by `what`.
    """
    data = predictor.engine.encoding.data
    reads = f"{data.max_length}\x1f{data.truncation}\x1f{data.normalization}"
    reads += "" if data.windows is None else f"\x1f{data.windows.model_dump_json()}"
    key = hashlib.sha256(f"1\x1f{teacher.sha256}\x1f{reads}\x1f".encode() + text_hash(texts)).hexdigest()[:40]
    started = time.perf_counter()
    build = partial(write_answers, predictor, texts, recorder.progress("teacher"))
    folder, was_there = open_or_build(cache / "teachers", key, build, on_warning=recorder.warn)
    seconds, number = time.perf_counter() - started, counted(len(texts), what)
    if was_there:
        recorder.log(f"the answers of {teacher.name} to {number} are in the cache")
    else:
        pace = rate(len(texts) / seconds, "texts")
        recorder.log(f"asked {teacher.name} about {number} in {duration(seconds)} ({pace})")
    logits: NDArray[np.float32] = np.load(folder / "logits.npy", mmap_mode="r")
    return logits


def write_answers(predictor: Predictor, texts: LabelledTexts, report: Report, folder: Path) -> None:
    """``logits.npy`` [N, C] float32.

    Raises:
        UserError: the teacher's answers are not finite.
    """
    shape = (len(texts), len(predictor.labels))
    logits_NC = np.lib.format.open_memmap(folder / "logits.npy", mode="w+", dtype=np.float32, shape=shape)
    done = 0
    for logits_BC, *_ in predictor.engine.stream(texts_of(texts), TOGETHER):
        if not np.isfinite(logits_BC).all():
            raise UserError(
                "the teacher's answers are not finite", where=KEY, expected="a teacher that has not diverged"
            )
        logits_NC[done : done + len(logits_BC)] = logits_BC
        done += len(logits_BC)
        report(done, len(texts))
    logits_NC.flush()
