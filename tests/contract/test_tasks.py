"""What the engine may count on with every task, and what every task may count on with the engine."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from encoders import make_encoder
from glotune.data.augmentation import with_augmented
from glotune.data.plain_text import read_plain_texts
from glotune.data.reading import read_texts
from glotune.data.tokenization import TokenStore, tokenize
from glotune.data.unlabelled import UNLABELLED
from glotune.engine.assembly import assemble, assemble_pretraining
from glotune.engine.checkpoints import CheckpointStore
from glotune.engine.forward import evaluate
from glotune.engine.loop import build_loop, train_to_the_end
from glotune.engine.observer import Silent
from glotune.engine.parts import Parts
from glotune.engine.processes import Control, Processes
from glotune.engine.recorder import Recorder
from glotune.engine.step import Prepared, Stepper
from glotune.errors import InterruptedRun
from glotune.model.loading import load_tokenizer
from glotune.model.pretraining import prepare_tokenizer
from glotune.recipe import Recipe, load_recipe
from glotune.run.directory import RunDirectory
from glotune.run.predictions import read_predictions
from glotune.stats.evaluation import evaluation_of
from glotune.tasks.corpus import as_text_data, build_corpus
from glotune.tasks.distillation import Distillation
from glotune.tasks.single_label import SingleLabel
from glotune.tasks.soft_targets import TeacherOutputs
from glotune.tasks.targets import TargetTask
from glotune.verbs.sentence_teacher import open_sentence_teacher
from made_pairs import pairs, scratch_recipe, write
from small_runs import multi_label_recipe, score_recipe, sentences, small_recipe, votes_recipe, write_csv
from toy_task import is_long

SETTINGS: dict[str, Any] = {"checkpoints": {"every": 2}, "evaluate": {"every": 3}}


def single_label(folder: Path, **overrides: Any) -> Parts:
    recipe = small_recipe(folder, rows=70, model__dropout=0.0, checkpoints__every=2, evaluate__every=3, **overrides)
    if recipe.data.columns.weight is not None:
        rows = [{**row, "trust": str(0.25 * (1 + number % 7))} for number, row in enumerate(sentences("en", 70))]
        write_csv(folder / "train.csv", rows)
    return parts_of(recipe, folder)


def parts_of(recipe: Recipe, folder: Path) -> Parts:
    texts = read_texts(recipe.data, recipe.seed, recipe.task)
    tokenizer = load_tokenizer(recipe.model)
    stores = with_augmented(
        tokenize(texts, tokenizer, recipe.data, folder / "cache"), texts, tokenizer, recipe, folder / "cache"
    )
    return assemble(recipe, texts, stores, tokenizer, Processes.start("cpu"), recorder_in(folder), None).parts


def weighted(folder: Path) -> Parts:
    loss = {"class_weights": "balanced", "label_smoothing": 0.1}
    return single_label(folder, loss=loss, data__columns__weight="trust")


def moved(folder: Path) -> Parts:
    return single_label(folder, adversarial={"method": "freelb", "steps": 2}, data__columns__weight="trust")


def pieces_drawn(folder: Path) -> Parts:
    augment = {"word_dropout": 0.2, "subword": 0.02}
    loss = {"consistency": {"weight": 0.7, "views": ["subword"], "alpha": 0.02}}
    return single_label(folder, loss=loss, data__augment=augment)


def switched_and_translated(folder: Path, **overrides: Any) -> Parts:
    """Texts whose second view is their translation or, of those without one, their words in two languages."""
    base = small_recipe(folder, rows=70, model__dropout=0.0, checkpoints__every=2, evaluate__every=3)
    for name, language, count, seed in (("train", "en", 70, 0), ("dev", "en", 24, 1), ("es", "es", 30, 2)):
        rows = [{"id": f"{name}{at}", **row} for at, row in enumerate(sentences(language, count, seed))]
        write_csv(folder / f"{name}.csv", rows)
    write_csv(folder / "into.csv", [{"id": f"train{at}", **row} for at, row in enumerate(sentences("es", 40, 3))])
    write_csv(folder / "words.csv", [{"en": "good", "es": "buena"}, {"en": "food", "es": "comida buena y rica"}])
    keys = {
        "data.columns.id": "id",
        "data.translations": {"es": str(folder / "into.csv")},
        "data.augment": {"code_switch": {"share": 0.5, "lexicons": {"es": str(folder / "words.csv")}}},
        "loss.consistency": {"weight": 0.7, "views": ["translation", "code_switch", "subword"], "alpha": 0.02},
    }
    return parts_of(load_recipe(base, keys, overrides), folder)


def distilled(folder: Path) -> Parts:
    """A student of two teachers with class and row weights, smoothing, and texts without a label among the others."""
    loss = {"class_weights": "balanced", "label_smoothing": 0.1}
    return of_teachers(single_label(folder, loss=loss, data__columns__weight="trust"), ([0, 1, 2], [2, 0, 1]))


def of_teachers(parts: Parts, orders: Sequence[Sequence[int]] = ((0, 1, 2),)) -> Parts:
    """The same task beside teachers, which know the labels in these orders, and with texts without a label."""
    assert isinstance(parts.task, SingleLabel | TargetTask)
    with_more = with_made_unlabelled(parts.stores["train"])
    rng, num_labels = np.random.default_rng(0), len(parts.task.labels)
    outputs = [rng.normal(size=(len(with_more), num_labels)).astype(np.float32) for _ in orders]
    teachers = [TeacherOutputs(each, np.array(order)) for each, order in zip(outputs, orders, strict=True)]
    task = Distillation(parts.task, with_more, teachers, parts.task.soft_targets(2.0), weight=0.4)
    return replace(parts, task=task, stores={**parts.stores, "train": with_more})


def with_made_unlabelled(store: TokenStore) -> TokenStore:
    """The store with its first 23 texts once more, without their labels."""
    more, end = 23, int(store.offsets[23])
    assert store.weights is not None
    nothing, targets = UNLABELLED, store.targets
    if targets is not None:
        nothing, targets = len(targets), np.concatenate([targets, np.full((1, targets.shape[1]), np.nan, np.float32)])
    return replace(
        store,
        targets=targets,
        tokens=np.concatenate([store.tokens, store.tokens[:end]]),
        offsets=np.concatenate([store.offsets, store.offsets[-1] + store.offsets[1 : more + 1]]),
        labels=np.concatenate([store.labels, np.full(more, nothing, store.labels.dtype)]),
        languages=np.concatenate([store.languages, store.languages[:more]]),
        rows=np.concatenate([store.rows, store.rows[:more]]),
        raw_lengths=np.concatenate([store.raw_lengths, store.raw_lengths[:more]]),
        weights=np.concatenate([store.weights, np.ones(more, np.float32)]),
        shares=None if store.shares is None else np.concatenate([store.shares, np.zeros((more, 3), np.float32)]),
    )


def several_labels(folder: Path, **overrides: Any) -> Parts:
    recipe = multi_label_recipe(
        folder, rows=70, model__dropout=0.0, checkpoints__every=2, evaluate__every=3, **overrides
    )
    return parts_of(recipe, folder)


def several_labels_weighted(folder: Path) -> Parts:
    loss = {"pos_weight": "balanced", "focal_gamma": 2.0, "label_smoothing": 0.1}
    return several_labels(folder, loss=loss, data__columns__weight="trust")


def scores(folder: Path, **overrides: Any) -> Parts:
    recipe = score_recipe(folder, rows=70, model__dropout=0.0, checkpoints__every=2, evaluate__every=3, **overrides)
    return parts_of(recipe, folder)


def scores_weighted(folder: Path) -> Parts:
    return scores(folder, loss={"huber": 0.5}, data__columns__weight="trust", data__levels=[0, 40, 80, 100])


def in_windows(make: Callable[..., Parts], pool: str, **overrides: Any) -> Callable[[Path], Parts]:
    """The task over texts of which most take several windows, and some more than are read."""
    windows = {"stride": 2, "most": 4, "pool": pool}

    def made(folder: Path) -> Parts:
        parts = make(folder, data__max_length=8, data__windows=windows, **overrides)
        store = parts.stores["train"]
        assert store.windows is not None
        assert {1, 2, 3, 4} == set(store.windows.counts.tolist())
        assert (store.left_out > 0).any()
        return parts

    return made


def votes(folder: Path, **overrides: Any) -> Parts:
    recipe = votes_recipe(folder, rows=70, model__dropout=0.0, checkpoints__every=2, evaluate__every=3, **overrides)
    return parts_of(recipe, folder)


def votes_weighted(folder: Path) -> Parts:
    loss = {"class_weights": "balanced", "focal_gamma": 2.0, "label_smoothing": 0.1}
    return votes(folder, loss=loss, data__columns__weight="trust")


def distilled_votes(folder: Path) -> Parts:
    """A student of votes and of a teacher, with texts without either label or votes among the others."""
    return of_teachers(votes_weighted(folder))


def toy(folder: Path) -> Parts:
    parts = single_label(folder)
    return replace(parts, task=is_long(parts.stores))


def pretraining(folder: Path, teacher: dict[str, Any] | None = None, **objective: Any) -> Parts:
    """Masked tokens and contrast; with a teacher on pairs and on texts that have no translation."""
    changes = SETTINGS if teacher is None else {**SETTINGS, "data": {"text": plain_texts(folder)}}
    recipe = scratch_recipe(folder, objective={"masked_lm": 0.3, **objective}, teacher=teacher, **changes)
    texts = read_plain_texts(recipe.data, from_scratch=True, seed=recipe.seed)
    tokenizer = prepare_tokenizer(recipe, texts, folder)
    quiet: Callable[[int, int], None] = lambda done, total: None  # noqa: E731
    content, processes, recorder = as_text_data(texts), Processes.start("cpu"), recorder_in(folder)
    corpus = build_corpus(texts, content, tokenizer, recipe.data, folder / "tokens", quiet)
    found = open_sentence_teacher(recipe)
    taught = found and found.teach(recipe, content, corpus, folder / "tokens", processes, recorder)
    return assemble_pretraining(recipe, corpus, tokenizer, processes, recorder, None, taught).parts


def plain_texts(folder: Path) -> str:
    rows = [{"text": row["text"], "language": "cc"} for row in pairs("bb", 40, seed=3)]
    return str(write(folder / "texts.csv", rows))


def taught(folder: Path, **objective: Any) -> Parts:
    """A student of a wider teacher of another family, with another tokenizer."""
    teacher = make_encoder(folder / "teacher", "bert", hidden=48)
    return pretraining(folder, {"name": str(teacher), "max_length": 64}, **objective)


TASKS: dict[str, Callable[[Path], Parts]] = {
    "single label": single_label,
    "single label, weighted": weighted,
    "single label, moved embeddings": moved,
    "single label, a second view in other pieces": pieces_drawn,
    "single label, a second view in other words": switched_and_translated,
    "masked tokens and contrast": pretraining,
    "masked tokens": lambda folder: pretraining(folder, contrastive=0.0),
    "a teacher's vectors": lambda folder: taught(folder, masked_lm=0.0, contrastive=0.0, pooling="first"),
    "a teacher's vectors, masked tokens and contrast": taught,
    "distillation": distilled,
    "several labels": several_labels,
    "several labels, weighted": several_labels_weighted,
    "scores": scores,
    "scores, weighted": scores_weighted,
    "votes": votes,
    "votes, weighted": votes_weighted,
    "distillation, votes": distilled_votes,
    "distillation, several labels": lambda folder: of_teachers(several_labels_weighted(folder), ([0, 1, 2], [2, 0, 1])),
    "distillation, scores": lambda folder: of_teachers(scores_weighted(folder), ([0, 1], [1, 0])),
    "single label in windows, weighted": in_windows(single_label, "mean", data__columns__weight="trust"),
    "several labels in windows": in_windows(several_labels, "max"),
    "scores in windows": in_windows(scores, "mean"),
    "single label in windows, a second view in other words": in_windows(switched_and_translated, "mean"),
    "toy": toy,
}
LATER = {
    "several labels in windows",
    "scores in windows",
    "single label, a second view in other words",
    "single label in windows, a second view in other words",
}
"""The same windows under other tasks, the same second view of other texts: with the extras."""
make_parts = pytest.mark.parametrize(
    "make",
    [pytest.param(make, id=name, marks=[pytest.mark.extras] * (name in LATER)) for name, make in TASKS.items()],
)


def recorder_in(folder: Path, name: str = "run", observer: Silent | None = None) -> Recorder:
    (folder / name).mkdir(exist_ok=True)
    return Recorder(RunDirectory(folder / name), observer or Silent(), 1, is_main=True)


def stepper_of(parts: Parts, folder: Path, budget: int) -> Stepper:
    store = CheckpointStore(folder / "none", 1)
    stepper = build_loop(parts, None, recorder_in(folder), store, Control()).stepper
    stepper.token_budget = budget
    parts.network.train()
    return stepper


def sums_and_gradients(
    parts: Parts, folder: Path, budget: int, held: int = 10**6
) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Of the first effective batch."""
    stepper = stepper_of(parts, folder, budget)
    object.__setattr__(parts, "tokens_held", lambda token_budget: held)
    objective = parts.task.objective(0, parts.epoch(0)[0])
    parts.network.zero_grad(set_to_none=True)
    sums = stepper._accumulate(0, objective, stepper._load(objective)).tolist()
    gradients = {name: each.grad.clone() for name, each in parts.trainable.items() if each.grad is not None}
    return sums, gradients


def assert_close(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, gradient in one.items():
        assert torch.allclose(gradient, other[name], atol=2e-6), name


@make_parts
def test_c2_the_cut_changes_neither_the_update_nor_the_sums(make: Callable[[Path], Parts], tmp_path: Path) -> None:
    parts = make(tmp_path)
    sums, whole = sums_and_gradients(parts, tmp_path, 10**6)
    assert len(sums) == 1 + parts.task.num_sums
    for budget, held in ((64, 10**6), (64, 0), (10**6, 0)):
        other, cut = sums_and_gradients(parts, tmp_path, budget, held)
        assert other == pytest.approx(sums, abs=1e-5)
        assert_close(whole, cut)


@make_parts
def test_c3_the_ranks_change_neither_the_update_nor_the_sums(make: Callable[[Path], Parts], tmp_path: Path) -> None:
    parts = make(tmp_path)
    objective = parts.task.objective(0, parts.epoch(0)[0])
    if objective.across is not None:
        pytest.skip("its loss looks at the whole batch: it runs as one process")
    sums, whole = sums_and_gradients(parts, tmp_path, 10**6)
    parts.network.zero_grad(set_to_none=True)
    both = np.zeros(len(sums))
    for rank in range(2):
        stepper = stepper_of(parts, tmp_path, 10**6)
        stepper.parts = replace(parts, processes=Processes(rank, 2, parts.device))
        both += stepper._accumulate(0, objective, stepper._load(objective)).numpy()
    assert both.tolist() == pytest.approx(sums, abs=1e-5)
    assert_close(whole, {name: each.grad for name, each in parts.trainable.items() if each.grad is not None})


class Stops(Silent):
    """Asks to stop after a step, as a signal would."""

    def __init__(self, control: Control, after: int) -> None:
        self.control, self.after = control, after

    def progress(self, stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        if stage == "train" and done == self.after:
            self.control.stop("the test says so")


@make_parts
def test_c6_resumed_is_uninterrupted(make: Callable[[Path], Parts], tmp_path: Path) -> None:
    whole = make(tmp_path)
    torch.manual_seed(1)
    state = train_to_the_end(whole, None, recorder_in(tmp_path, "whole"))
    control = Control()
    with pytest.raises(InterruptedRun):
        train_to_the_end(make(tmp_path), None, recorder_in(tmp_path, "parts", Stops(control, 5)), control)
    resumption = CheckpointStore(tmp_path / "parts" / "checkpoints", 1).latest()
    assert resumption is not None
    assert resumption.state.step == 5
    again = make(tmp_path)
    assert train_to_the_end(again, resumption, recorder_in(tmp_path, "parts")) == state
    assert all(torch.equal(each, again.trainable[name]) for name, each in whole.trainable.items())
    logs = [[event.data for event in RunDirectory(tmp_path / name).events() if event.kind in ("evaluation", "best")]
            for name in ("whole", "parts")]  # fmt: skip
    assert logs[0] == logs[1]


@make_parts
def test_what_an_epoch_says_adds_up_from_its_steps(make: Callable[[Path], Parts], tmp_path: Path) -> None:
    parts = make(tmp_path)
    stepper = stepper_of(parts, tmp_path, 10**6)
    outcomes = [outcome for _, _, outcome in stepper.run(enumerate(parts.epoch(0)))]
    sums = np.sum([outcome.sums for outcome in outcomes], axis=0).tolist()
    assert all(math.isfinite(value) for value in parts.task.epoch_metrics(sums).values())
    assert all(outcome.is_finite and outcome.texts >= outcome.tokens / 40 for outcome in outcomes)
    drawn = sorted(np.concatenate(parts.epoch(0)).tolist())
    assert drawn == list(range(parts.task.drawn)), "every text once"


@make_parts
def test_scores_follow_from_what_is_recorded(make: Callable[[Path], Parts], tmp_path: Path) -> None:
    parts = make(tmp_path)
    parts.network.eval()
    answers = evaluate(parts, "validation", recorder_in(tmp_path))
    passes = parts.task.passes("validation")
    assert [each.shape for each in answers] == [(len(parts.stores["validation"]), each.width) for each in passes]
    scores, judgement = parts.task.scores("validation", answers), parts.task.judge(answers)
    assert judgement.metrics == scores
    assert math.isfinite(judgement.value)
    recorded = parts.task.record(tmp_path / "predictions", "validation", answers)
    assert [each.language for each in recorded] == list(scores)
    for each in recorded:
        said = scores[each.language]
        assert each.n == said["n"]
        assert all(each.scores[name] == said[name] for name in said if name in each.scores)
    for path in sorted((tmp_path / "predictions").glob("*.parquet")):
        language = path.stem.partition(".")[2]
        labels = [str(number) for number in range(answers[0].shape[1] - 1)]
        again = evaluation_of(read_predictions(path).outcomes, "validation", language, labels)
        (own,) = [each for each in recorded if each.language == language]
        assert (again.scores, again.intervals, again.confusion) == (own.scores, own.intervals, own.confusion)


@make_parts
def test_the_same_step_is_the_same_whatever_was_drawn_before(make: Callable[[Path], Parts], tmp_path: Path) -> None:
    parts = make(tmp_path)
    first, _ = sums_and_gradients(parts, tmp_path, 64)
    torch.manual_seed(99)
    np.random.seed(99)
    parts.task.objective(7, parts.epoch(0)[1])
    assert sums_and_gradients(parts, tmp_path, 64)[0] == first


class Waits(TorchDispatchMode):
    """Counts values that the host asks a tensor for, one at a time."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            self.count += 1
        return func(*args, **(kwargs or {}))


@make_parts
def test_the_host_waits_once_in_a_step(
    make: Callable[[Path], Parts], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = make(tmp_path)
    stepper = stepper_of(parts, tmp_path, 64)
    objective = parts.task.objective(0, parts.epoch(0)[0])
    micro_batches = stepper._load(objective)
    assert len(micro_batches) > 1
    lists: list[int] = []
    own = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: (lists.append(1), own(self))[1])
    with Waits() as waits:
        sums = stepper._accumulate(0, objective, micro_batches)
    assert (waits.count, len(lists)) == (0, 0), "nothing is read before all of the batch is done"
    assert sums.dtype == torch.float64
    stepper._step(Prepared(0, objective.rows, objective, micro_batches, 64), 0.0, 0.0)
    assert len(lists) == 1
