"""Self-training: the ordinary run, then rounds in which its own answers to unlabelled texts are learned from.

For transfer across languages: Xu et al. 2021 (EMNLP, arXiv:2109.00194). Every round trains from the encoder on rather
than from the model before, so that the weights keep no mistake, and labels all texts anew, as curriculum labelling does
(Cascante-Bonilla et al. 2021, AAAI, arXiv:2001.06001).

How rounds lie on disk is `glotune.verbs.sealed_rounds`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glotune.data.cache import cache_folder
from glotune.data.texts import TextData
from glotune.data.unlabelled import UnlabelledTexts, read_unlabelled, with_pseudo_labels, without_held_out
from glotune.engine.observer import Observer
from glotune.engine.processes import Processes
from glotune.engine.recorder import Recorder
from glotune.errors import UserError
from glotune.recipe import Recipe
from glotune.recipe.schema import SelfTraining
from glotune.run.directory import RunDirectory
from glotune.run.record import DataSource
from glotune.run.records import Manifest, Plan
from glotune.run.teaching import Round, SelfTrained, TeacherRecord
from glotune.stats.arrays import softmax
from glotune.stats.traits import trait
from glotune.tasks.pseudo_labels import aligned, choose, is_one_class
from glotune.verbs.sealed_rounds import (
    Ended,
    clear,
    drop_weights,
    put_back,
    read_ended,
    read_labels,
    said_of,
    seal,
    trained_of,
    write_labels,
)
from glotune.verbs.teachers import cached_answers, identity, open_teacher, size_of
from glotune.verbs.trackers import start_trackers
from glotune.words import counted, named, percent

KEY = "data.unlabelled"
FALL = 0.02
"""By so much less than in the round before models of following rounds agree before it is worth a warning."""

TrainOnce = Callable[[Recipe, TextData | None], Recipe]
"""One training in the run directory, on the labelled texts or these instead; returns the recipe that it ended with."""


@dataclass(frozen=True)
class PseudoLabels:
    """What a round learns beside the labelled texts: S of the U unlabelled ones, and how they were answered."""

    teacher: int
    rows_S: NDArray[np.int64]
    shares_SC: NDArray[np.float32]

    def counts(self, num_labels: int) -> NDArray[np.int64]:
        """Texts of each class, [C]."""
        return np.bincount(self.shares_SC.argmax(axis=1), minlength=num_labels)


@dataclass(frozen=True)
class Rounds:
    """A recipe's self-training, its texts read and checked."""

    spec: SelfTraining
    unlabelled: UnlabelledTexts
    record: SelfTrained
    """As the manifest says it before any round has ended."""

    def carry_out(
        self, directory: RunDirectory, recipe: Recipe, texts: TextData, processes: Processes, observer: Observer,
        train_once: TrainOnce,
    ) -> None:  # fmt: skip
        """All rounds that are not made yet, from wherever the directory stands, and the end with the best of them."""
        while True:
            if processes.is_main:
                self._settle(directory)
            processes.barrier()
            ended = read_ended(directory)
            pseudo, why = self._next(directory, texts, ended)
            if ended and pseudo is None:
                break
            recorder = Recorder(directory, observer, directory.read_manifest().attempt, processes.is_main)
            learned = None if pseudo is None else self._learned(texts, pseudo)
            for warning in [] if ended else self.record.warnings:
                recorder.log(f"warning: {warning}")
            recorder.log(self._announced(pseudo, len(ended)))
            recipe = train_once(recipe, learned)
            if processes.is_main:
                self._seal(directory, texts, ended, pseudo, processes, recorder)
            processes.barrier()
        if processes.is_main:
            self._finish(directory, ended, why, Recorder(directory, observer, directory.read_manifest().attempt, True))
            start_trackers(directory, recipe.track)
        processes.barrier()

    def forecast(self, plan: Plan, recipe: Recipe, num_labelled: int) -> Plan:
        """A plan of the ordinary run with what all rounds take, at most: ``rounds_seconds``.

        An unlabelled text is taken to be as long as a labelled one, and an answer to take a third of a step on it.
        """
        wall = plan.wall
        if "seconds" not in wall:
            return plan
        per_text = (wall["seconds_per_epoch"] - wall["evaluation_seconds_per_epoch"]) / num_labelled
        rounds, number = range(1, self.spec.rounds + 1), len(self.unlabelled)
        trained = sum(min(1.0, each * self.spec.share) for each in rounds) * number * recipe.train.epochs
        labelled = (self.spec.rounds + 1) * number / 3
        seconds = (self.spec.rounds + 1) * wall["seconds"] + (trained + labelled) * per_text
        return plan.model_copy(update={"wall": {**wall, "rounds_seconds": float(f"{seconds:.4g}")}})

    # ---- what a round learns --------------------------------------------------------------------------

    def _next(
        self, directory: RunDirectory, texts: TextData, ended: Sequence[Ended]
    ) -> tuple[PseudoLabels | None, str]:
        """What the next round learns; None for the ordinary run, and where there is no further round, with the reason:
        a function of the rounds that have ended."""
        number = len(ended)
        if number == 0:
            return None, ""
        if number > self.spec.rounds:
            return None, "the recipe's last round is made"
        teacher = self._kept([each.round for each in ended]).number
        shares_UC, _ = read_labels(directory, teacher)
        share = min(1.0, number * self.spec.share)
        rows_S = choose(shares_UC, self.unlabelled.texts.language_ids, self.spec.select, share)
        last = ended[-1].round
        if last.teacher == teacher and np.array_equal(rows_S, np.flatnonzero(read_labels(directory, last.number)[1])):
            return None, f"nothing new to learn: round {number} would repeat round {last.number}"
        pseudo = PseudoLabels(teacher, rows_S, shares_UC[rows_S])
        counts_C = pseudo.counts(len(texts.labels))
        labelled_C = labels_of(texts)
        if is_one_class(counts_C, labelled_C):
            label, largest = texts.labels[int(counts_C.argmax())], counts_C.max() / counts_C.sum()
            return None, (
                f"pseudo-labels collapsed: {percent(largest)} of those for round {number} are '{label}'. Learning from "
                "them would teach little else"
            )
        return pseudo, ""

    def _learned(self, texts: TextData, pseudo: PseudoLabels) -> TextData:
        return with_pseudo_labels(texts, self.unlabelled, pseudo.rows_S, pseudo.shares_SC, soft=self.spec.soft)

    def _announced(self, pseudo: PseudoLabels | None, number: int) -> str:
        if pseudo is None:
            return f"self-training: round 0 of at most {self.spec.rounds}, on the labelled texts alone"
        return (
            f"self-training: round {number} of at most {self.spec.rounds}, with {len(pseudo.rows_S):,} of "
            f"{counted(len(self.unlabelled), 'unlabelled text')} as round {pseudo.teacher} labels them"
        )

    # ---- on disk --------------------------------------------------------------------------------------

    def _settle(self, directory: RunDirectory) -> None:
        """Counts the rounds that were sealed, and clears the directory for the next; nothing where that is done."""
        for leftover in directory.rounds.glob(".*.tmp"):
            shutil.rmtree(leftover)
        ended, known = read_ended(directory), directory.read_manifest().self_training
        if known is not None and (known.kept is not None or len(known.rounds) == len(ended)):
            return
        if ended:
            clear(directory)
            drop_weights(directory, apart_from=self._kept([each.round for each in ended]))
        directory.update_manifest(self_training=self._told(ended), **said_of(None))

    def _told(self, sealed: Sequence[Ended], **more: Any) -> SelfTrained:
        rounds = [each.round for each in sealed]
        warnings = [*self.record.warnings, *warnings_of(rounds)]
        return self.record.model_copy(update={"rounds": rounds, "warnings": warnings, **more})

    def _kept(self, rounds: Sequence[Round]) -> Round:
        """The round that labels for the next, and that the run ends with if there is none."""
        return best_of(rounds) if self.spec.keep == "best" else rounds[-1]

    def _seal(
        self, directory: RunDirectory, texts: TextData, ended: Sequence[Ended], pseudo: PseudoLabels | None,
        processes: Processes, recorder: Recorder,
    ) -> None:  # fmt: skip
        """Labels all unlabelled texts with the model that was trained, and keeps the round."""
        number, started = len(ended), time.perf_counter()
        shares_UC = self._answers(directory, f"round {number}", texts, processes, recorder)
        wall = {"label_seconds": round(time.perf_counter() - started, 6)}
        agreement = None
        if number:
            before = read_labels(directory, number - 1)[0].argmax(axis=1)
            agreement = float((before == shares_UC.argmax(axis=1)).mean())
        kept = Round(
            number=number,
            teacher=None if pseudo is None else pseudo.teacher,
            selected={} if pseudo is None else self._selected(pseudo, texts.labels),
            agreement=agreement,
            **trained_of(directory, wall),
        )
        seal(directory, kept, partial(self._write_labels, shares_UC=shares_UC, pseudo=pseudo))
        agreed = "" if agreement is None else f"; {percent(agreement)} of the unlabelled texts labelled as before"
        recorder.log(
            f"self-training: round {number} ended with {kept.metric} {kept.value:.4f} on source validation{agreed}"
        )

    def _write_labels(self, path: Path, shares_UC: NDArray[np.float32], pseudo: PseudoLabels | None) -> None:
        rows_S = np.zeros(0, np.int64) if pseudo is None else pseudo.rows_S
        write_labels(path, self.unlabelled, shares_UC, rows_S)

    def _answers(
        self, directory: RunDirectory, name: str, texts: TextData, processes: Processes, recorder: Recorder
    ) -> NDArray[np.float32]:
        """Probabilities [U, C] of the trained model, cached by its weights and the texts; aligned where the recipe says
        so."""
        predictor = open_teacher(directory.path, processes.device.type)
        teacher = TeacherRecord(name=name, sha256=identity(directory.model), size=size_of(predictor, directory.model))
        cache = cache_folder()
        logits_UC = cached_answers(predictor, teacher, self.unlabelled.texts, cache, recorder, "unlabelled text")
        shares_UC = softmax(logits_UC.astype(np.float64)).astype(np.float32)
        if not self.spec.align:
            return shares_UC
        labelled_C = labels_of(texts)
        return aligned(shares_UC, self.unlabelled.texts.language_ids, labelled_C / labelled_C.sum())

    def _selected(self, pseudo: PseudoLabels, labels: Sequence[str]) -> dict[str, dict[str, int]]:
        found = self.unlabelled.texts
        answers_S, languages_S = pseudo.shares_SC.argmax(axis=1), found.language_ids[pseudo.rows_S]
        return {
            name: dict(zip(labels, np.bincount(answers_S[languages_S == code], minlength=len(labels)).tolist(),
                           strict=True))
            for code, name in enumerate(found.language_names)
        }  # fmt: skip

    def _finish(self, directory: RunDirectory, ended: Sequence[Ended], why: str, recorder: Recorder) -> None:
        """Puts the best round's files into the run directory; of the others records stay, their weights go."""
        known = directory.read_manifest().self_training
        if known is None or known.kept is None:
            rounds = [each.round for each in ended]
            kept = self._kept(rounds).number
            put_back(directory, kept)
            told = self._told(ended, kept=kept, ended=why)
            directory.update_manifest(self_training=told, **said_of(ended[kept]))
            reason = "the best on source validation" if self.spec.keep == "best" else "the last"
            recorder.log(f"self-training ends ({why}): the run is round {kept}, {reason}")
            for warning in warnings_of(rounds):
                recorder.log(f"warning: {warning}")
        drop_weights(directory)


def open_rounds(
    recipe: Recipe,
    texts: TextData,
    begun: Manifest | None = None,
    as_named: Callable[[list[DataSource]], list[DataSource]] = list,
) -> Rounds | None:
    """Reads the unlabelled texts of a recipe and checks them; writes nothing. None without ``self_training``.

    Args:
        texts: the labelled ones.
        as_named: gives files the names that the run's records call them by.
        begun: the manifest of a run that goes on or is reproduced: with the same texts, or not at all.

    Raises:
        UserError: texts that can't be read, that are validated or tested on, of a language that has none, or that
            changed since the run began.
    """
    if recipe.self_training is None or not recipe.trains_in_rounds:
        return None
    found = read_unlabelled(dict(recipe.data.unlabelled), recipe.data, KEY)
    unlabelled = without_held_out(texts, found, KEY)
    counts = unlabelled.texts.rows_by_language()
    for language in recipe.data.unlabelled:
        if language not in counts:
            raise UserError(
                f"no text is left in '{language}'",
                where=f"{KEY}.{language}",
                expected="texts of that language, none of them a near copy of a validation or test text",
                remedy="Leave the language out, or give other texts",
            )
    record = SelfTrained(
        texts=counts, texts_hash=unlabelled.data_hash, data=as_named(unlabelled.sources), warnings=unlabelled.warnings
    )
    before = None if begun is None else begun.self_training
    if before is not None and before.texts_hash != record.texts_hash:
        raise UserError(
            f"the unlabelled texts changed since the run began ({', '.join(each.path for each in before.data)})",
            where=KEY,
            expected=f"{counted(sum(before.texts.values()), 'text')} with hash {before.texts_hash[:16]}, found "
            f"{len(unlabelled):,} with {record.texts_hash[:16]}",
            remedy="Put the files back, or train anew into another directory",
        )
    return Rounds(recipe.self_training, unlabelled, record)


def labels_of(texts: TextData) -> NDArray[np.int64]:
    """Labelled training texts of each class, [C]."""
    return np.bincount(texts.splits["train"].labels, minlength=len(texts.labels))


def best_of(rounds: Sequence[Round]) -> Round:
    """By source validation; of equal ones the first."""
    sign = -1.0 if trait(rounds[0].metric).direction == "lower" else 1.0
    return max(rounds, key=lambda each: sign * each.value)


def warnings_of(rounds: Sequence[Round]) -> list[str]:
    """Where a model's own mistakes may have fed on themselves."""
    found = []
    for before, each in pairwise(rounds):
        if before.agreement is not None and each.agreement is not None and each.agreement < before.agreement - FALL:
            found.append(
                f"round {each.number} agrees with the round before on {percent(each.agreement)} of the unlabelled "
                f"texts, round {before.number} did on {percent(before.agreement)}: the labels do not settle"
            )
        alone = [name for name, counts in each.selected.items() if sum(count > 0 for count in counts.values()) == 1]
        if alone:
            found.append(
                f"the texts of round {each.number} in {', '.join(map(named, alone))} all have one pseudo-label"
            )
    return found
