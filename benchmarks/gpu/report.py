"""The table: every part is begun only while there is time for it, and each line is said as soon as it stands."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice, repeat
from typing import Any

import numpy as np
import torch
import transformers

from benchmarks.gpu.sides import Gated, Ours, Side, fresh_batches
from benchmarks.gpu.texts import SHAPES, TINY, Shape, flops_of, made_texts
from glotune.data.batches import Rows
from glotune.model.card import Card
from glotune.words import size

MATRIX = 8192
ROUNDS, WARM_UP = 10, 5
"""Rounds are interleaved: glotune, Trainer, compiled Trainer, glotune, …"""
STEPS = 3
"""In a round."""
EQUAL_STEPS = 20
RECORDED = 32
"""Texts of the batches whose steps are measured with `speed.cuda_graphs` too: small ones wait for launches."""
SECONDS = 450
"""No part is begun after so many, so that the whole call stays under eight minutes."""
COMPILING = 100
"""Seconds that a part with a compiled opponent may take."""
HEAD = (
    "| encoder | dropout | batch | Trainer | compiled | glotune | recorded | × the better | memory | kernels a step | "
    "attention | of the matmul rate |\n| --- | --- | ---: | ---: | ---: | ---: | ---: | --- | --- | --- | --- | --- |"
)


@dataclass(frozen=True)
class Part:
    """One line of the table."""

    shape: Shape
    dropout: float
    batch: int
    compiled: bool = False


@dataclass(frozen=True)
class Scale:
    """How much is measured: all of it, or as little as shows that the script runs."""

    parts: tuple[Part, ...]
    texts: int
    rounds: int
    warm_up: int
    equal_steps: int
    matrix: int


def full() -> Scale:
    """The lines that decide first: small and large batches under dropout, then the rest."""
    base, large = SHAPES
    first = [Part(base, 0.1, 32, True), Part(base, 0.1, 512, True), Part(large, 0.1, 512), Part(large, 0.1, 32)]
    others = [Part(shape, dropout, batch) for dropout in (0.1, 0.0) for shape in SHAPES for batch in (32, 128, 512)]
    known = {(part.shape, part.dropout, part.batch) for part in first}
    rest = [part for part in others if (part.shape, part.dropout, part.batch) not in known]
    return Scale(tuple(first + rest), 20_000, ROUNDS, WARM_UP, EQUAL_STEPS, MATRIX)


def small() -> Scale:
    """A tiny encoder: no figure means anything."""
    parts = tuple(Part(shape, dropout, batch) for shape in TINY for dropout in (0.1, 0.0) for batch in (8, 16))
    return Scale(parts, 64, 2, 1, 4, 256)


def lines(*, tiny: bool = False, seconds: float = SECONDS) -> Iterator[str]:
    """Everything, as Markdown."""
    there = torch.cuda.is_available()
    device = torch.device("cuda", 0) if there else torch.device("cpu")
    scale, started = small() if tiny or not there else full(), time.perf_counter()
    yield _heading(there, scale)
    rate = matrix_rate(device, scale.matrix)
    yield f"bf16 matmul of this device, {scale.matrix}³: {rate / 1e12:.3g} TFLOP/s\n"
    for precision in ("fp32", "bf16"):
        yield _equivalence(scale, precision, device)
    yield f"\n{HEAD}"
    for part in scale.parts:
        left = seconds - (time.perf_counter() - started)
        if left < 0:
            yield f"| {part.shape.name} | {part.dropout:g} | {part.batch} | time ran out | | | | | | | | |"
            continue
        yield _line(part, scale, device, rate, compiled=part.compiled and there and left > COMPILING)
    yield f"\n{time.perf_counter() - started:.0f} s in all"


def _heading(there: bool, scale: Scale) -> str:
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    if not there:
        return (
            f"There is no GPU here ({versions}): a tiny encoder shows that the script runs; no figure means anything."
        )
    note = " (tiny encoder: no figure means anything)" if scale.parts[0].shape in TINY else ""
    return f"{Card.of('cuda')}, {versions}{note}"


def matrix_rate(device: torch.device, matrix: int) -> float:
    """FLOP/s of a bf16 product of two square matrices, the best of ten."""
    left, right = (torch.randn(matrix, matrix, device=device, dtype=torch.bfloat16) for _ in range(2))
    times = [_timed(device, lambda: left @ right) for _ in range(10)]
    return float(2 * matrix**3 / min(times))


def _timed(device: torch.device, work: Callable[[], object]) -> float:
    _settle(device)
    started = time.perf_counter()
    work()
    _settle(device)
    return time.perf_counter() - started


def _settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


# ---- one line -----------------------------------------------------------------------------------------


@dataclass
class Measured:
    """One side."""

    seconds: list[float]
    """Of each round, per step."""
    allocated: int = 0
    """Bytes of device memory at most, without what the other sides hold."""


def _line(part: Part, scale: Scale, device: torch.device, rate: float, *, compiled: bool) -> str:
    store = made_texts(part.shape, scale.texts)
    precision = "bf16" if device.type == "cuda" else "fp32"
    common: dict[str, Any] = {"batch": part.batch, "dropout": part.dropout, "precision": precision}
    batches = list(islice(fresh_batches(len(store), part.batch), 64))
    tokens = float(np.mean([store.lengths[rows].sum() for rows in batches]))
    flops = float(np.mean([flops_of(part.shape, store.lengths[rows].tolist()) for rows in batches]))
    # glotune first: it fits itself into what is free, which Trainer leaves little of.
    makers: dict[str, Callable[[], Side]] = {
        "glotune": lambda: Ours(part.shape, store, device, batches=fresh_batches(len(store), part.batch), **common),
        "Trainer": lambda: Gated(part.shape, store, device, **common),
    }
    if part.batch <= RECORDED and device.type == "cuda":
        makers["recorded"] = lambda: Ours(
            part.shape, store, device, batches=fresh_batches(len(store), part.batch), recorded=True, **common
        )
    if compiled:
        makers["compiled"] = lambda: Gated(part.shape, store, device, compiled=True, **common)
    try:
        found, kernels, attention = measure(makers, scale, device)
    except (RuntimeError, MemoryError) as error:
        return f"| {part.shape.name} | {part.dropout:g} | {part.batch} | failed: {str(error).splitlines()[0]} |||||||||"
    own = np.array(found["glotune"].seconds)
    best = min(
        (name for name in found if name in ("Trainer", "compiled")), key=lambda name: np.median(found[name].seconds)
    )
    ratios = np.array(found[best].seconds) / own

    def shown(name: str) -> str:
        return f"{1000 * np.median(found[name].seconds):.1f} ms" if name in found else "-"

    mine, theirs = found["glotune"], found["Trainer"]
    memory = f"{size(mine.allocated)} of {size(theirs.allocated)}, {mine.allocated / max(1, theirs.allocated):.2f} ×"
    return (
        f"| {part.shape.name} | {part.dropout:g} | {part.batch} | {shown('Trainer')} | {shown('compiled')} | "
        f"{shown('glotune')} | {shown('recorded')} | {np.median(ratios):.2f} ({ratios.min():.2f}-{ratios.max():.2f}) | "
        f"{memory if device.type == 'cuda' else '-'} | {kernels} | {attention} | "
        f"{flops / np.median(own) / rate:.0%} ({tokens / np.median(own):,.0f} tokens/s) |"
    )


def measure(
    makers: dict[str, Callable[[], Side]], scale: Scale, device: torch.device
) -> tuple[dict[str, Measured], str, str]:
    """Interleaved rounds of all sides; kernels of one step and what attends in it, of glotune and of Trainer."""
    with ExitStack() as stack:
        sides: dict[str, Side] = {}
        held: dict[str, int] = {}
        for name, make in makers.items():
            before = _allocated(device)
            sides[name] = stack.enter_context(closing(make()))
            for _ in range(scale.warm_up):
                sides[name].step()
            held[name] = _allocated(device) - before
        found = {name: Measured([]) for name in sides}
        for _ in range(scale.rounds):
            for name, side in sides.items():
                _reset_peak(device)
                seconds = _timed(device, lambda side=side: [side.step() for _ in range(STEPS)])  # type: ignore[misc]
                found[name].seconds.append(seconds / STEPS)
                others = sum(bytes_ for other, bytes_ in held.items() if other != name)
                _note_peak(found[name], others, device)
        launched = {name: _profiled(sides[name], device) for name in ("glotune", "Trainer")}
    _clear(device)
    kernels = " / ".join(str(count) for count, _ in launched.values())
    return found, kernels, " / ".join(attention for _, attention in launched.values())


def _allocated(device: torch.device) -> int:
    return torch.cuda.memory_allocated() if device.type == "cuda" else 0


def _reset_peak(device: torch.device) -> None:
    """The allocator keeps what it holds: a step that has to ask for its memory anew waits for that."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()


def _note_peak(found: Measured, others: int, device: torch.device) -> None:
    if device.type == "cuda":
        found.allocated = max(found.allocated, torch.cuda.max_memory_allocated() - others)


def _profiled(side: Side, device: torch.device) -> tuple[int, str]:
    """(kernels of a step, which kind of attention they hold)."""
    if device.type != "cuda":
        side.step()
        return 0, "-"
    from torch.autograd import DeviceType  # type: ignore[attr-defined]
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as recorded:
        side.step()
        torch.cuda.synchronize()
    names = [event.name.lower() for event in recorded.events() if event.device_type == DeviceType.CUDA]
    kinds = {"flash": ("flash",), "cudnn": ("cudnn_generated", "cudnn_fmha"), "efficient": ("fmha_cutlass", "mem_eff")}
    there = [kind for kind, signs in kinds.items() if any(sign in name for name in names for sign in signs)]
    return len(names), "+".join(there) or "unfused"


def _clear(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


# ---- the same training? ---------------------------------------------------------------------------------


def _equivalence(scale: Scale, precision: str, device: torch.device) -> str:
    """The loss of every step on both sides, the same texts in the same order, without dropout."""
    shape, batch, steps = scale.parts[0].shape, 32, scale.equal_steps
    if precision == "bf16" and device.type == "cpu":
        return "losses in bf16: not compared on a CPU"
    store = made_texts(shape, max(scale.texts, batch))
    order = next(fresh_batches(len(store), min(len(store), batch * steps)))
    pieces: list[Rows] = [order[start : start + batch] for start in range(0, len(order), batch)]
    common = {"batch": batch, "dropout": 0.0, "precision": precision}
    makers: list[Callable[[], Side]] = [
        partial(Ours, shape, store, device, batches=chain.from_iterable(repeat(pieces)), **common),  # type: ignore[arg-type]
        partial(Gated, shape, store, device, order=order, **common),  # type: ignore[arg-type]
    ]
    losses = []
    for make in makers:
        with closing(make()) as side:
            losses.append([side.step() for _ in range(min(steps, len(pieces)))])
        _clear(device)
    largest = max(abs(a - b) for a, b in zip(*losses, strict=True))
    return f"losses of {len(losses[0])} steps in {precision}, dropout 0, on {shape.name}: at most {largest:.1e} apart"
