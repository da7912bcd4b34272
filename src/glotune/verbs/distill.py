"""The teacher of a run: found and checked before there is a run, asked once, and set beside the student at the end."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glotune.data.cache import open_or_build
from glotune.data.spelling import name_of
from glotune.data.texts import LabelledTexts, TextData, text_hash
from glotune.data.tokenization import TokenStore, with_other_training_texts
from glotune.data.unlabelled import UnlabelledTexts, read_unlabelled, seen_in_evaluation, with_unlabelled
from glotune.engine.processes import Processes
from glotune.engine.recorder import Recorder
from glotune.errors import RunError, UserError, did_you_mean
from glotune.recipe import Recipe
from glotune.recipe.paths import place_of
from glotune.recipe.schema import Distill
from glotune.run.directory import RunDirectory
from glotune.run.records import Distillation as Record
from glotune.run.records import Manifest, RunStatus, Size, Speed, TeacherComparison, TeacherRecord
from glotune.run.state import find_runs
from glotune.stats.arrays import softmax
from glotune.tasks.distillation import Distillation, TeacherLogits
from glotune.tasks.of_recipe import class_outputs
from glotune.tasks.records import record_split
from glotune.tasks.single_label import SingleLabel
from glotune.tasks.task import Task
from glotune.verbs.evaluate import texts_of
from glotune.verbs.opening import run_of
from glotune.verbs.predict import Predictor, load
from glotune.whole_files import sha256
from glotune.words import counted, duration, rate

KEY, TEXTS = "distill.teacher", "distill.texts"
HASHED = (".safetensors", ".bin", ".onnx", ".data", ".json", ".model", ".txt")
"""Files of a model's folder that its answers depend on."""
WEIGHTS = (".safetensors", ".bin", ".onnx", ".data")
TOGETHER = 512
"""Texts between two reports of progress, sorted by length together."""
LEAST_PROBABILITY = 1e-300
"""Below it a mean probability has no logarithm."""

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Lesson:
    """What a run learns from beside its labels: teachers that were opened once and fit, and texts without labels."""

    spec: Distill
    record: Record
    places: list[Path]
    """Run or folder of each teacher, in the order of the record."""
    unlabelled: UnlabelledTexts | None = None
    warnings: list[str] = field(default_factory=list)

    def task(
        self,
        recipe: Recipe,
        texts: TextData,
        stores: Mapping[str, TokenStore],
        tokenizer: Any,
        cache: Path,
        processes: Processes,
        recorder: Recorder,
    ) -> tuple[Task, Mapping[str, TokenStore]]:
        """The task of the student, and the token stores that its engine runs on: unlabelled texts are trained on too.

        The teachers are asked where the cache does not hold their answers yet, by the main rank first.
        """
        joined, all_stores = texts, stores
        if self.unlabelled is not None:
            joined = with_unlabelled(texts, self.unlabelled)
            progress = recorder.progress("tokenize")
            all_stores = with_other_training_texts(
                stores, joined, tokenizer, recipe.data, cache, on_warning=recorder.warn, progress=progress
            )
        asked = partial(self._answers, joined.splits["train"], texts.labels, cache, processes, recorder)
        teachers = asked() if processes.is_main else []
        processes.barrier()
        task = Distillation(
            classifier=SingleLabel.of(recipe, joined, stores),
            train=all_stores["train"],
            teachers=teachers or asked(),
            temperature=self.spec.temperature,
            weight=self.spec.weight,
        )
        return task, all_stores

    def _answers(
        self, train: LabelledTexts, labels: list[str], cache: Path, processes: Processes, recorder: Recorder
    ) -> list[TeacherLogits]:
        found = []
        for place, teacher in zip(self.places, self.record.teachers, strict=True):
            predictor = open_teacher(place, processes.device.type)
            logits_NC = cached_answers(predictor, teacher, train, cache, recorder)
            found.append(TeacherLogits(logits_NC, columns_of(predictor.labels, labels)))
        return found

    def compare(self, directory: RunDirectory, texts: TextData, processes: Processes, recorder: Recorder) -> None:
        """Sets the teacher beside the saved student on the same texts: predictions, scores, size and speed.

        Writes ``RUN/teacher/`` as a run holds them: ``predictions/``, ``metrics.json``, ``comparison.json``.
        """
        if not processes.is_main:
            return
        split = "test" if "test" in texts.splits else "validation"
        held, device = texts.splits[split], processes.device.type
        report = recorder.progress("teacher")
        student = load(directory.path, device=device)
        student_size, (_, student_seconds) = size_of(student, directory.model), timed(student, held, report)
        means_NC, seconds = np.zeros((len(held), len(texts.labels))), 0.0
        for place in self.places:
            predictor = open_teacher(place, device)
            probabilities_NC, taken = timed(predictor, held, report)
            means_NC += probabilities_NC[:, columns_of(predictor.labels, texts.labels)] / len(self.places)
            seconds += taken
        write_comparison(
            directory,
            texts,
            split,
            means_NC,
            TeacherComparison(
                split=split,
                student=student_size,
                teacher=Size(
                    parameters=sum(each.size.parameters for each in self.record.teachers),
                    bytes=sum(each.size.bytes for each in self.record.teachers),
                ),
                files={},
                wall=Speed(
                    student=len(held) / student_seconds,
                    teacher=len(held) / seconds,
                    device=device,
                    precision=student.engine.model.precision,
                ),
            ),
        )
        recorder.log(
            f"{split} texts of student and teacher: {rate(len(held) / student_seconds, 'texts')} against "
            f"{rate(len(held) / seconds, 'texts')}"
        )


def open_lesson(recipe: Recipe, texts: TextData, own: Path | None, begun: Manifest | None = None) -> Lesson | None:
    """Finds the teachers of a recipe and reads its unlabelled texts; writes nothing. None without ``distill``.

    Args:
        texts: the labelled ones.
        own: the directory of the run, where it is known: it can't be its own teacher.
        begun: the manifest of a run that goes on or is reproduced: with the same teachers and texts, or not at all.

    Raises:
        UserError: a teacher that can't be read, is the run itself or has other labels; unlabelled texts that can't be
            read; either of them changed since the run began.
    """
    spec = recipe.distill
    if spec is None:
        return None
    before = None if begun is None else begun.distillation
    names = spec.teacher if before is None else [each.name for each in before.teachers]  # a study may have grown
    places = [found for name in names for found in find_teachers(name, own)]
    warnings: list[str] = []
    teachers = []
    for place in places:
        predictor = open_teacher(place, "cpu")
        refuse_other_task(predictor, place, texts)
        warnings += unsound(place)
        folder = model_folder(place)
        teachers.append(TeacherRecord(name=str(place), sha256=identity(folder), size=size_of(predictor, folder)))
    unlabelled = None if spec.texts is None else read_unlabelled(spec.texts, recipe.data, TEXTS)
    if unlabelled is not None:
        warnings += [*unlabelled.warnings, *seen_in_evaluation(texts, unlabelled, TEXTS)]
    record = Record(
        teachers=teachers,
        unlabelled_texts=0 if unlabelled is None else len(unlabelled),
        unlabelled_hash="" if unlabelled is None else unlabelled.data_hash,
        data=[] if unlabelled is None else unlabelled.sources,
    )
    if before is not None:
        refuse_changed(before, record)
    return Lesson(spec, record, places, unlabelled, warnings)


def refuse_changed(before: Record, now: Record) -> None:
    """A run goes on with the teachers and the unlabelled texts that it began with, or not at all."""
    same_teachers = [each.sha256 for each in before.teachers] == [each.sha256 for each in now.teachers]
    changed = [] if same_teachers else ["the teachers"]
    if before.unlabelled_hash != now.unlabelled_hash:
        changed.append(f"the texts of {', '.join(each.path for each in before.data) or 'distill.texts'}")
    if changed:
        names = ", ".join(each.name for each in before.teachers)
        raise UserError(
            f"{' and '.join(changed)} changed since the run began",
            where="distill",
            expected=f"{names} as they were, and {counted(before.unlabelled_texts, 'unlabelled text')}",
            remedy="Put them back, or train anew into another directory",
        )


# ---- teachers -----------------------------------------------------------------------------------------


def find_teachers(name: str, own: Path | None) -> list[Path]:
    """The runs or model folders that a name means: one, or the complete runs of a study's folder.

    Raises:
        UserError: there is nothing, nothing that was trained, or the run itself.
    """
    place = place_of(name)
    if own is not None:
        refuse_itself(place, own)
    if not place.is_dir():
        siblings = [each.name for each in place.parent.iterdir()] if place.parent.is_dir() else []
        raise UserError(
            f"there is no folder {name}",
            where=KEY,
            expected="a run, a folder with a saved text classifier, or a study's folder",
            remedy=did_you_mean(place.name, siblings),
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


def refuse_other_task(predictor: Predictor, place: Path, texts: TextData) -> None:
    """A teacher knows the labels of the texts, each of them and no other, and takes texts as they come.

    Raises:
        UserError: otherwise; names the first label that only one of the two has, and the nearest of the other.
    """
    if predictor.kind.name != "single_label":
        found = f"{place} answers another task ({predictor.kind.name})"
        raise UserError(found, where=KEY, expected="a teacher that chooses one class for each text")
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


# ---- answers ------------------------------------------------------------------------------------------


def cached_answers(
    predictor: Predictor,
    teacher: TeacherRecord,
    texts: LabelledTexts,
    cache: Path,
    recorder: Recorder,
    what: str = "training text",
) -> NDArray[np.float32]:
    """[N, C] logits of all texts, in their order, memory-mapped; computed where the cache has none.

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


def timed(predictor: Predictor, texts: LabelledTexts, report: Report) -> tuple[NDArray[np.float64], float]:
    """Probabilities [N, C] of all texts, columns in the predictor's order, and the seconds that they took."""
    predictor.engine.answers([("first", "call") if texts.has_pairs else "first call"])  # what is made once is not timed
    found, done, started = [], 0, time.perf_counter()
    for logits_BC, *_ in predictor.engine.stream(texts_of(texts), TOGETHER):
        found.append(softmax(logits_BC))
        done += len(logits_BC)
        report(done, len(texts))
    return np.concatenate(found), time.perf_counter() - started


def write_comparison(
    directory: RunDirectory,
    texts: TextData,
    split: str,
    probabilities_NC: NDArray[np.float64],
    comparison: TeacherComparison,
) -> None:
    """The teacher's predictions of a split with their scores; what is written last says that they are whole."""
    held, target = texts.splits[split], RunDirectory(directory.teacher)
    target.path.mkdir(exist_ok=True)
    logits_NC = np.log(np.maximum(probabilities_NC, LEAST_PROBABILITY))
    codes = {name: np.flatnonzero(held.language_ids == code) for code, name in enumerate(held.language_names)}
    evaluations = record_split(target.predictions, texts, split, codes, class_outputs(logits_NC, held), with_text=False)
    target.write_metrics(evaluations)
    written = [target.metrics_path, *target.prediction_files()]
    files = {path.relative_to(target.path).as_posix(): sha256(path) for path in written}
    directory.write_teacher_comparison(comparison.model_copy(update={"files": files}))
