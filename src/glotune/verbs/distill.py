"""What a run learns from its teachers, and how it is set beside them at the end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glotune.data.texts import LabelledTexts, TextData
from glotune.data.tokenization import TokenStore, with_other_training_texts
from glotune.data.unlabelled import UnlabelledTexts, read_unlabelled, seen_in_evaluation, with_unlabelled
from glotune.engine.processes import Processes
from glotune.engine.recorder import Recorder
from glotune.errors import UserError
from glotune.recipe import Recipe
from glotune.recipe.schema import Distill
from glotune.run.directory import RunDirectory
from glotune.run.record import Size
from glotune.run.records import Manifest
from glotune.run.teaching import Distillation as Record
from glotune.run.teaching import Speed, TeacherComparison, TeacherRecord
from glotune.stats.arrays import softmax
from glotune.tasks.distillation import Distillation, TeacherLogits
from glotune.tasks.of_recipe import class_outputs
from glotune.tasks.records import record_split
from glotune.tasks.single_label import SingleLabel
from glotune.tasks.task import Task
from glotune.verbs.evaluate import texts_of
from glotune.verbs.predict import Predictor, load
from glotune.verbs.teachers import (
    TOGETHER,
    Report,
    cached_answers,
    columns_of,
    find_teachers,
    identity,
    model_folder,
    open_teacher,
    refuse_other_task,
    size_of,
    unsound,
)
from glotune.whole_files import sha256
from glotune.words import counted, rate

TEXTS = "distill.texts"
LEAST_PROBABILITY = 1e-300
"""Below it a mean probability has no logarithm."""


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
    places, outputs = held.places_by_language(), class_outputs(logits_NC, held)
    evaluations = record_split(target.predictions, texts, split, places, outputs, with_text=False)
    target.write_metrics(evaluations)
    written = [target.metrics_path, *target.prediction_files()]
    files = {path.relative_to(target.path).as_posix(): sha256(path) for path in written}
    directory.write_teacher_comparison(comparison.model_copy(update={"files": files}))
