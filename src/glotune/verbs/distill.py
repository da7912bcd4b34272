"""What a run learns from its teachers, and how it is set beside them at the end."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
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
from glotune.recipe.kinds import TaskName
from glotune.recipe.schema import Distill
from glotune.run.directory import RunDirectory
from glotune.run.record import Size
from glotune.run.records import Decision, Manifest
from glotune.run.teaching import Distillation as Record
from glotune.run.teaching import Speed, TeacherComparison, TeacherRecord
from glotune.tasks.distillation import Distillation
from glotune.tasks.of_recipe import answering, outputs_of, task_of
from glotune.tasks.records import SplitAnswers, record_split
from glotune.tasks.soft_targets import TeacherOutputs
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
        learner = task_of(recipe, joined, stores)
        task = Distillation(
            learner=learner,
            train=all_stores["train"],
            teachers=teachers or asked(),
            soft=learner.soft_targets(self.spec.temperature),
            weight=self.spec.weight,
        )
        return task, all_stores

    def _answers(
        self, train: LabelledTexts, labels: list[str], cache: Path, processes: Processes, recorder: Recorder
    ) -> list[TeacherOutputs]:
        found = []
        for place, teacher in zip(self.places, self.record.teachers, strict=True):
            predictor = open_teacher(place, processes.device.type)
            outputs_NC = cached_answers(predictor, teacher, train, cache, recorder)
            found.append(TeacherOutputs(outputs_NC, columns_of(predictor.labels, labels)))
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
        means_NC, thresholds, seconds = np.zeros((len(held), len(texts.labels))), [], 0.0
        for place in self.places:
            predictor = open_teacher(place, device)
            values_NC, taken = timed(predictor, held, report)
            columns = columns_of(predictor.labels, texts.labels)
            means_NC += values_NC[:, columns] / len(self.places)
            thresholds.append(thresholds_of(predictor, columns))
            seconds += taken
        task = student.kind.name
        decision = decided(task, directory.read_manifest().decision, thresholds)
        answers = answering(task, outputs_of(task, means_NC), held, texts.targets, decision, is_own=True)
        write_comparison(
            directory,
            texts,
            split,
            answers,
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
        refuse_other_task(predictor, place, texts, recipe.task)
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
    """Probabilities or scores [N, C] of all texts, columns in the predictor's order, and the seconds that they took."""
    predictor.engine.answers([("first", "call") if texts.has_pairs else "first call"])  # what is made once is not timed
    found, done, started = [], 0, time.perf_counter()
    for logits_BC, *_ in predictor.engine.stream(texts_of(texts), TOGETHER):
        found.append(predictor.read(logits_BC)[0])
        done += len(logits_BC)
        report(done, len(texts))
    return np.concatenate(found), time.perf_counter() - started


def thresholds_of(predictor: Predictor, columns_L: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """[L] from where on a teacher answers each of our labels; None: its most probable class is the answer."""
    has_some = predictor.kind.name == "multi_label" or predictor.thresholds
    return predictor.label_thresholds[columns_L] if has_some else None


def decided(task: TaskName, own: Decision | None, thresholds: Sequence[NDArray[np.float64] | None]) -> Decision | None:
    """How the mean of the teachers' probabilities becomes answers: by the mean of their thresholds, if all have some.

    Args:
        own: the student's decision. Its units and levels of scores hold for both. Texts that its thresholds were fitted
            on are answered by what the others fit, of the teachers too.
        thresholds: of each teacher.
    """
    if task == "score":
        return own
    known = [each for each in thresholds if each is not None]
    if len(known) < len(thresholds):
        return None
    mean = np.mean(known, axis=0).tolist()
    return Decision(thresholds=mean) if own is None else own.model_copy(update={"thresholds": mean})


def write_comparison(
    directory: RunDirectory,
    texts: TextData,
    split: str,
    answers: SplitAnswers,
    comparison: TeacherComparison,
) -> None:
    """The teacher's predictions of a split with their scores; what is written last says that they are whole."""
    held, target = texts.splits[split], RunDirectory(directory.teacher)
    target.path.mkdir(exist_ok=True)
    evaluations = record_split(target.predictions, texts, split, held.places_by_language(), answers, with_text=False)
    target.write_metrics(evaluations)
    written = [target.metrics_path, *target.prediction_files()]
    files = {path.relative_to(target.path).as_posix(): sha256(path) for path in written}
    directory.write_teacher_comparison(comparison.model_copy(update={"files": files}))
