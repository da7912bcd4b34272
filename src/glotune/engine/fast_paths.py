"""Fast paths check themselves: on the device that will run them, before the first step, against the plain path.

A card that nobody has tried gives a slower run then, never a wrong one: what differs, or fails, is switched off, and
the run's record says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from glotune.data.batches import Rows, by_length
from glotune.engine.forward import HALF, autocast
from glotune.engine.graphs import Graphs, recorded_by_cuda
from glotune.engine.parts import Parts
from glotune.engine.probe import lowest_trained
from glotune.engine.recorder import Recorder
from glotune.model.card import Card
from glotune.model.network import head_width
from glotune.model.packed.comparison import compared, relative_error
from glotune.model.packed.kernels import BLOCKS, PADDED, Kernels, kernels_of
from glotune.words import size

NETWORK_TOLERANCES = {"fp32": 5e-3, "bf16": 0.1, "fp16": 0.1}
"""Relative error, by the norm, of the loss and of the gradient that comes the whole way down: rounding adds up over
the layers."""
BACKEND = "inductor"
"""Of ``torch.compile``."""
RECORDER = recorded_by_cuda
"""Of `Graphs`."""
TEXTS = 6
"""Of the run, that go through the whole network."""


def with_fast_paths(parts: Parts, card: Card, recorder: Recorder) -> Parts:
    """The same parts with the fast paths that their plan names, each compared; without those that don't hold."""
    parts = _with_kernels(parts, card, recorder)
    if parts.plan.precision == "fp16" and (fault := _agreed(parts, faults_of_fp16(parts))):
        recorder.deviation(f"fp16 is off, the run computes in fp32: {fault}")
        parts = _planned(parts, "precision", "fp32", fault)
    if parts.settings.speed.frozen_weights == "auto" and card.kind != "cpu" and parts.plan.precision != "fp32":
        _hold_frozen(parts, recorder)
    if parts.settings.speed.compile == "regional":
        _compile(parts, card, recorder)
    return _with_graphs(parts, card, recorder) if parts.settings.speed.cuda_graphs else parts


def _with_graphs(parts: Parts, card: Card, recorder: Recorder) -> Parts:
    if (why := why_no_graphs(parts, card)) is not None:
        recorder.warn(f"speed.cuda_graphs: no step is recorded {why}")
        return parts
    network, precision = parts.network, parts.plan.precision
    recorded = replace(parts, graphs=Graphs(network, precision, list(parts.trainable.values()), RECORDER(parts.device)))
    fault = _agreed(parts, faults_of_graphs(recorded))
    if fault is not None:
        recorder.deviation(f"steps are not recorded as CUDA graphs: {fault}")
        return parts
    recorder.deviation("steps are recorded as CUDA graphs, of texts filled up to few shapes: dropout draws other masks")
    return recorded


def why_no_graphs(parts: Parts, card: Card) -> str | None:
    """Why the steps of a run can't be recorded, as "no step is recorded" goes on; None where they can."""
    settings, family = parts.settings, parts.network.anatomy.family
    reasons = {
        f"on {card.kind}": card.kind != "cuda",
        f"of {family.name}, whose passes look at the texts' lengths on the host": family.body != "post_norm",
        f"with train.batching={settings.train.batching}": not parts.network.packed,
        f"of the task {type(parts.task).__name__}, in which every token counts": not parts.task.may_be_filled,
        "with train.checkpoint_activations, which sets the random state on the way back": parts.network.recomputes,
        "with adversarial, whose moves are made within a pass": settings.adversarial is not None,
        "together with speed.compile": settings.speed.compile != "off",
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def faults_of_graphs(parts: Parts) -> list[str]:
    """Where recorded passes answer otherwise than the network itself, on few texts and on more of them, which are
    filled up to the same shape; or draw dropout otherwise than by the seed."""
    assert parts.graphs is not None
    found: list[str] = []
    try:
        for rows in _few_rows(parts, TEXTS), _few_rows(parts, TEXTS - 1), _few_rows(parts, TEXTS):
            answers = [_step_of(parts, network, rows) for network in (parts.graphs, parts.network)]
            found += [f"recorded, {fault}" for fault in _too_large(_errors(*answers), parts.plan.precision)]
        rows = _few_rows(parts, TEXTS)
        first, again, other = (float(_step_of(parts, parts.graphs, rows, seed)[0]) for seed in (1, 1, 2))
    except RuntimeError as error:
        return [*found, f"recording fails: {str(error).splitlines()[0]}"]
    if abs(first - again) > NETWORK_TOLERANCES[parts.plan.precision] * abs(first):
        found.append("recorded, the same seed draws another dropout mask")
    if _drops_out(parts.network) and first == other:
        found.append("recorded, every seed draws the same dropout mask")
    return found


def _drops_out(network: nn.Module) -> bool:
    return any(isinstance(part, nn.Dropout) and part.p > 0 for part in network.modules())


def _few_rows(parts: Parts, count: int) -> Rows:
    """Rows that a step may draw, from short to long: of pairs the texts, which bring their translations along."""
    lengths = parts.stores["train"].lengths[: parts.task.drawn]
    return by_length(np.arange(len(lengths)), lengths)[np.linspace(0, len(lengths) - 1, count).astype(np.int64)]


def _step_of(parts: Parts, network: Any, rows: Rows, seed: int | None = None) -> tuple[Tensor, Tensor]:
    """Loss of the texts, and its lowest gradient as a step leaves it; nothing of the run is changed.

    Args:
        network: what a step calls.
        seed: of dropout; None: without.
    """
    assert parts.graphs is not None
    objective, lowest = parts.task.objective(0, rows), lowest_trained(parts)
    micro = parts.graphs.filled(parts.load("train", objective.rows, None, objective.dress)).to(parts.device)
    was_training = parts.network.training
    parts.network.train(seed is not None)
    try:
        with torch.random.fork_rng(devices=[parts.device] if parts.device.type == "cuda" else []):
            torch.manual_seed(0 if seed is None else seed)
            with parts.autocast():
                loss = objective.part(network, micro).loss
            loss.backward()
        return loss.detach(), (loss if lowest.grad is None else lowest.grad).detach().clone()
    finally:
        parts.network.train(was_training)
        parts.network.zero_grad(set_to_none=True)


def _hold_frozen(parts: Parts, recorder: Recorder) -> None:
    """Holds what is not trained in half precision, for good or not at all."""
    network, precision = parts.network, parts.plan.precision
    plain = _loss_and_gradient(parts, network.kernels, precision)
    saved = network.hold_frozen(HALF[precision])
    fault = _agreed(parts, _faults_of_held(parts, plain) if saved else [])
    if fault is not None:
        network.restore_frozen()
        recorder.deviation(f"frozen weights stay in fp32: {fault}")
    elif saved:
        recorder.log(f"frozen weights are held in {precision}: {size(saved)} less on the device, the same numbers")


def _faults_of_held(parts: Parts, plain: tuple[Tensor, Tensor]) -> list[str]:
    precision = parts.plan.precision
    try:
        return _too_large(_errors(_loss_and_gradient(parts, parts.network.kernels, precision), plain), precision)
    except (RuntimeError, TypeError) as error:  # a family whose own code computes with a weight by itself
        return [f"the network fails with them in {precision}: {str(error).splitlines()[0]}"]


def _compile(parts: Parts, card: Card, recorder: Recorder) -> None:
    """Compiles the network's regions, for good or not at all."""
    regions = parts.network.regions()
    if card.kind != "cuda" or not regions:
        where = f"on {card.kind}" if regions else f"of {parts.network.anatomy.family.name}"
        recorder.warn(f"speed.compile: nothing is compiled {where}")
        return
    plain = _loss_and_gradient(parts, parts.network.kernels, parts.plan.precision)
    fault = _agreed(parts, _faults_of_compiled(parts, regions, plain))
    if fault is None:
        recorder.deviation("what follows attention is compiled: numbers agree to rounding, with another process's too")
        return
    for region in regions:
        region._compiled_call_impl = None
    recorder.deviation(f"compilation is off: {fault}")


def _faults_of_compiled(parts: Parts, regions: Sequence[nn.Module], plain: tuple[Tensor, Tensor]) -> list[str]:
    try:
        for region in regions:
            region.compile(dynamic=True, backend=BACKEND)
        found = _errors(_loss_and_gradient(parts, parts.network.kernels, parts.plan.precision), plain)
        with torch.random.fork_rng(devices=[parts.device] if parts.device.type == "cuda" else []):
            _loss_and_gradient(parts, parts.network.kernels, parts.plan.precision, dropout=True)
    except Exception as error:  # a compiler fails in many ways, and none of them is the run's
        return [f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"]
    return _too_large(found, parts.plan.precision)


def _with_kernels(parts: Parts, card: Card, recorder: Recorder) -> Parts:
    network = parts.network
    if parts.plan.attention == "blocks":  # the public product, and batches that are filled for it
        network.kernels = BLOCKS
    if parts.plan.attention not in ("varlen", "efficient"):
        return parts
    offered, _ = kernels_of(card, head_width(network.anatomy))
    heads, width = int(network.anatomy.config.num_attention_heads), head_width(network.anatomy)
    kernels, faults = compared(offered, heads, width, parts.device)
    used, left = (offered.full, kernels.full) if parts.plan.precision == "fp32" else (offered.half, kernels.half)
    own = faults.get(used, [])
    fault = _agreed(parts, own if left != used else faults_of_network(parts, kernels))
    if fault is not None:
        network.kernels = PADDED
        recorder.deviation(f"attention without padding is off, texts are padded around the product: {fault}")
        return _planned(parts, "attention", "packed_sdpa", fault)
    if (fault := _agreed(parts, own)) is not None:
        kernels = replace(kernels, undropped=kernels.undropped | {used})
        if _drops_out(network):
            recorder.deviation(f"under dropout, texts are padded around the attention product: {fault}")
    network.kernels = kernels
    return parts


def _planned(parts: Parts, what: str, choice: str, why: str) -> Parts:
    plan = parts.plan
    reasons = {**plan.reasons, what: f"the faster path did not pass its check: {why}"}
    return replace(parts, plan=plan.model_copy(update={what: choice, "reasons": reasons}))


def _agreed(parts: Parts, faults: Sequence[str]) -> str | None:
    """What is wrong on any rank: all of them compute the same way."""
    fault = "; ".join(faults)
    if not parts.processes.any(bool(fault)):
        return None
    return fault or "it failed on another rank"


def faults_of_network(parts: Parts, kernels: Kernels) -> list[str]:
    """Where loss and gradient of a few texts differ between these kernels and the padded product."""
    precision = parts.plan.precision
    try:
        fast, plain = (_loss_and_gradient(parts, which, precision) for which in (kernels, PADDED))
    except (RuntimeError, TypeError, NotImplementedError) as error:
        return [f"the network fails with it: {str(error).splitlines()[0]}"]
    return _too_large(_errors(fast, plain), precision)


def _errors(fast: tuple[Tensor, Tensor], plain: tuple[Tensor, Tensor]) -> dict[str, float]:
    return {name: relative_error(a, b) for name, a, b in zip(("loss", "gradient"), fast, plain, strict=True)}


def _too_large(errors: dict[str, float], precision: str) -> list[str]:
    return [
        f"the network's {name} is off by {error:.2g}"
        for name, error in errors.items()
        if error > NETWORK_TOLERANCES[precision]
    ]


def faults_of_fp16(parts: Parts) -> list[str]:
    """Where loss and gradient of a few texts leave fp16's range, or differ from fp32's."""
    kernels = parts.network.kernels
    half, full = (_loss_and_gradient(parts, kernels, precision) for precision in ("fp16", "fp32"))
    error = relative_error(half[0], full[0])
    return [f"the network's loss is off by {error:.2g}"] if error > NETWORK_TOLERANCES["fp16"] else []


def _loss_and_gradient(
    parts: Parts, kernels: Kernels, precision: str, *, dropout: bool = False
) -> tuple[Tensor, Tensor]:
    """Of a few texts from short to long: nothing of the run is changed."""
    network, lengths = parts.network, parts.stores["train"].lengths
    objective = parts.task.objective(0, _few_rows(parts, TEXTS))
    own = objective.rows
    longest = min(int(lengths[own].max()), parts.settings.max_length)
    pad_to = None if parts.settings.train.batching == "packed" else longest
    micro = parts.load("train", own, pad_to, objective.dress).to(parts.device)
    was_training, before = network.training, network.kernels
    network.train(dropout)
    network.kernels = kernels
    try:
        with autocast(parts.device, precision):
            part = objective.part(network, micro)
        (gradient,) = torch.autograd.grad(part.loss, [lowest_trained(parts)], allow_unused=True)
    finally:
        network.train(was_training)
        network.kernels = before
    return part.loss.detach(), part.loss.detach() if gradient is None else gradient
