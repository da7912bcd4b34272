"""The course of made-up runs: what each is like, and the events that it would have written."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from glotune.run.records import Event

Kind = Literal["sound", "collapsed", "diverged", "no skill", "improving", "overfit", "running"]
TIME = "2026-01-02T03:04:05+00:00"


@dataclass(frozen=True)
class Made:
    """What a made-up run is like."""

    kind: Kind = "sound"
    name: str = "made-sound"
    languages: dict[str, float] = field(default_factory=lambda: {"en": 0.74, "bn": 0.61, "ar": 0.66, "hi": 0.63})
    """Language -> share of texts that the model gets right at the end."""
    sources: tuple[str, ...] = ("en",)
    labels: tuple[str, ...] = ("negative", "neutral", "positive")
    validated: tuple[str, ...] | None = None
    tested: tuple[str, ...] | None = None
    """Languages of the validation and the test split; all where they are None."""
    n: int = 240
    """Texts per test language; half as many per validation language."""
    epochs: int = 6
    steps_per_epoch: int = 20
    seed: int = 0
    hostile: bool = False
    text: bool = True
    test_while_training: bool = True
    data_seed: int = 7
    """Runs with the same one hold the same test texts and labels."""
    keys: dict[str, Any] = field(default_factory=dict)
    """Recipe keys on top, e.g. {"optimizer.learning_rate": 1e-3}."""
    leaked: int = 3
    """Test texts of each target language that are among the training texts."""
    baselines: bool = False
    """Whether cheap models stand beside the run."""


def languages_of(made: Made, split: str) -> tuple[str, ...]:
    """Languages of a split."""
    chosen = made.validated if split == "validation" else made.tested
    return tuple(made.languages) if chosen is None else chosen


def _progress(made: Made, epoch: float) -> float:
    """0 at the start, 1 for a model that has learnt what it can."""
    if made.kind == "collapsed":
        return 0.0
    speed = {"improving": 0.25, "overfit": 1.6}.get(made.kind, 0.9)
    return 1.0 - math.exp(-speed * epoch)


def events_of(made: Made) -> list[Event]:
    rng = np.random.default_rng(made.seed)
    total = made.epochs * made.steps_per_epoch
    upto = total // 2 if made.kind == "running" else total
    warmup = max(1, round(0.1 * total))
    events: list[Event] = []
    for step in range(1, upto + 1):
        epoch = step / made.steps_per_epoch
        diverged = made.kind == "diverged" and step >= 30
        if diverged and step > 30:
            break
        loss = math.nan if diverged else _train_loss(made, epoch) * (1 + 0.08 * rng.standard_normal())
        rate = 2e-4 * step / warmup if step <= warmup else _cosine(step, warmup, total)
        data = {
            "loss": loss if math.isfinite(loss) else None,
            "learning_rate": rate,
            "grad_norm": math.exp(0.3 * rng.standard_normal()),
            "texts": 64,
            "tokens": int(64 * rng.uniform(24, 34)),
            "wall": {"seconds": 0.4, "wait_seconds": 0.01},
        }
        events.append(_event("step", step, epoch, data))
        if step % made.steps_per_epoch == 0:
            events.extend(_epoch_end(made, step, epoch, rng))
    return events + _ending(made, upto, rng)


def _ending(made: Made, step: int, rng: np.random.Generator) -> list[Event]:
    epoch = step / made.steps_per_epoch
    ending = []
    if made.kind == "diverged":
        ending.append(_event("alert", 30, 1.5, {"what": "nonfinite", "message": "The loss at step 30 is not finite."}))
    if made.kind == "collapsed":
        message = "Every validation prediction is 'negative'."
        ending.append(_event("alert", made.steps_per_epoch, 1.0, {"what": "collapsed", "message": message}))
    if made.kind not in ("running", "diverged"):
        best = best_epoch(made)
        data = {"metric": "macro_f1", "value": 0.7, "on": "en"}
        ending.append(_event("best", best * made.steps_per_epoch, float(best), data))
    cost = {
        "tokens_packed": 1_000_000, "tokens_dynamic": 1_060_000, "tokens_fixed": 4_400_000,
        "embedding_rows_used": 31_200, "embedding_rows": 250_002, "layers_cached": 0, "layers": 6,
    }  # fmt: skip
    return [*ending, _event("cost", step, epoch, cost)]


def _cosine(step: int, warmup: int, total: int) -> float:
    done = (step - warmup) / max(1, total - warmup)
    return 2e-5 + (2e-4 - 2e-5) * 0.5 * (1 + math.cos(math.pi * done))


def _train_loss(made: Made, epoch: float) -> float:
    chance = math.log(len(made.labels))
    floor = 0.05 if made.kind == "overfit" else 0.45
    return chance - (chance - floor) * _progress(made, epoch)


def _epoch_end(made: Made, step: int, epoch: float, rng: np.random.Generator) -> list[Event]:
    base = 1 / len(made.labels)
    top = 0.99 if made.kind == "overfit" else 0.86
    trained = base + (top - base) * _progress(made, epoch)
    scores = {"loss": _train_loss(made, epoch), "accuracy": trained, "macro_f1": trained - 0.01, "n": 1280}
    events = [_event("epoch", step, epoch, scores, "train")]
    splits = ["validation", "test"] if made.test_while_training else ["validation"]
    for split in splits:
        for code in languages_of(made, split):
            n = made.n if split == "test" else made.n // 2
            events.append(_event("evaluation", step, epoch, _scores_then(made, code, epoch, rng, n), f"{split}/{code}"))
    return events


def _scores_then(made: Made, code: str, epoch: float, rng: np.random.Generator, n: int) -> dict[str, Any]:
    base = 1 / len(made.labels)
    accuracy = base + (made.languages[code] - base) * _progress(made, epoch) + 0.01 * rng.standard_normal()
    loss = math.log(len(made.labels)) - 1.1 * max(accuracy - base, 0)
    if made.kind == "overfit":
        loss += 0.15 * max(epoch - 2, 0)
    f1 = 2 * base / (1 + base) * base if made.kind == "collapsed" else accuracy - 0.02
    return {"n": n, "loss": loss, "accuracy": accuracy, "macro_f1": f1, "weighted_f1": f1 + 0.005, "mcc": f1 - base}


def _event(kind: str, step: int, epoch: float, data: dict[str, Any], key: str = "") -> Event:
    return Event.model_validate(
        {"kind": kind, "attempt": 1, "step": step, "epoch": epoch, "time": TIME, "key": key, "data": data}
    )


def best_epoch(made: Made) -> int:
    return {"overfit": 2, "collapsed": 1, "diverged": 1}.get(made.kind, made.epochs)
