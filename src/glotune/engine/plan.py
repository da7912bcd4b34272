"""What the machine decides: device, precision, attention, threads and micro-batch budget, with the reasons in words."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from glotune.data.batches import LARGEST
from glotune.errors import UserError
from glotune.model.card import Card, has_tpu, why_no_cuda
from glotune.run.records import Plan
from glotune.words import counted, duration, rate, size

Precision = Literal["fp32", "bf16", "fp16"]
Attention = Literal["packed_sdpa", "varlen", "efficient", "blocks", "padded"]

CPU_TOKENS = 2048
"""In fp32 larger micro-batches gain nothing on a CPU. Measured on two cores (python -m benchmarks.choices budget), 768
wide: 2,374 tokens/s under 256 tokens, 3,021 under 1,024, 3,207 under 2,048, 3,118 under 4,096, 3,279 under 8,192."""
CPU_TOKENS_BF16 = 4096
"""In bf16 products are faster, and want to be larger: 768 wide 6,260 tokens/s under 1,024 tokens, 7,069 under 2,048,
7,617 under 4,096, 7,466 under 8,192; 384 wide 15,282, 18,368, 20,911 and 21,731."""
SMALLEST_TOKENS = 128
"""Memory lowers a budget no further: smaller products waste more time than they save bytes."""
MEMORY_SHARE = 0.8
"""Of the free memory that a run may plan with; the rest is for what the probe does not see."""
NARROW = 128
"""Below this hidden size bf16 autocast is hardly faster on a CPU."""
TPU_TOKENS = LARGEST * 3 // 4
"""Of the largest shape that batches are filled up to (`glotune.data.batches.filled`)."""
CUDA_TOKENS_AT_BASE = 65_536
"""For a 768-wide, 12-layer encoder on 80 GB; scaled by memory and by width times layers."""


@dataclass(frozen=True)
class Need:
    """Bytes that training will hold beside the weights, as a line over the tokens of a micro-batch."""

    held: int
    """Gradients and moments: from the first step on, whatever the budget."""
    fixed: int
    per_token: float
    """Activations; a token counts as it does in the budget, with the longest texts of the data."""

    def under(self, tokens: int) -> int:
        """Bytes in all under this budget."""
        return int(self.held + self.fixed + self.per_token * tokens)


def choose_device(wanted: str, key: str | None = "train.device") -> str:
    """``auto`` is CUDA where it is, then a TPU, then MPS, then the CPU.

    Args:
        key: of the recipe, that asks for it; None: no recipe does.

    Raises:
        UserError: a device that is not here.
    """
    available = available_devices()
    if wanted == "auto":
        return available[0]
    if wanted not in available:
        lacking = f"{key} is {wanted}, which this machine lacks" if key else f"the device {wanted} is not here"
        why = why_no_cuda() if wanted == "cuda" else None
        raise UserError(f"{lacking}: {why}" if why else lacking, expected=f"auto, or one of: {', '.join(available)}")
    return wanted


def device_of(plan: Plan | None, wanted: str) -> str:
    """Where a run goes on: on the device that it was planned for, where that is here.

    Args:
        wanted: by the recipe, for a run that has no plan yet.
    """
    if plan is None:
        return choose_device(wanted)
    return plan.device if plan.device in available_devices() else choose_device("auto")


def available_devices() -> list[str]:
    """What this machine can train on, the fastest first."""
    # A card that this torch has no code for is there, as torch sees it, until its first kernel fails.
    has_cuda = torch.cuda.is_available() and why_no_cuda() is None
    there = {"cuda": has_cuda, "tpu": has_tpu(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return [name for name, is_there in there.items() if is_there]


def choose_precision(wanted: str, card: Card, hidden: int, key: str = "train.precision") -> tuple[Precision, str]:
    """(precision, reason). bf16 and fp16 are autocast over fp32 masters, only where the hardware computes in them.

    Args:
        key: that asks for `wanted`, for the message.

    Raises:
        UserError: the recipe asks for one that the hardware lacks.
    """
    if wanted == "fp32":
        return "fp32", "as the recipe says"
    if wanted in ("bf16", "fp16"):
        half: Precision = "bf16" if wanted == "bf16" else "fp16"
        if not has_precision(half, card):
            raise UserError(
                f"{key} is {half}, but this machine's {card} has no {half} instructions",
                expected="auto or fp32 here",
            )
        return half, "as the recipe says"
    if not has_precision("bf16", card):
        if has_precision("fp16", card):
            return "fp16", "no bf16 instructions on this card; the loss is scaled, weights and updates are in fp32"
        return "fp32", f"no bf16 instructions on this {card.kind}"
    if card.kind == "cpu" and hidden < NARROW:
        return "fp32", f"at {hidden} wide casting to bf16 costs a CPU about what it saves"
    return "bf16", "the hardware computes in bf16, with weights and updates in fp32"


def has_precision(precision: Precision, card: Card) -> bool:
    """Whether a device computes in it natively: faster, not emulated."""
    if precision == "fp32":
        return True
    if precision == "fp16":
        return card.has_fp16
    return cpu_has_bf16() if card.kind == "cpu" else card.has_bf16


def cpu_has_bf16() -> bool:
    """AVX-512 bf16 or AMX on x86, bf16 on Arm, as Linux reports it."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return False
    flags = set(info.read_text(encoding="utf-8").split())
    return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})


def choose_budget(card: Card, hidden: int, layers: int, precision: Precision) -> tuple[int, str]:
    """(tokens in one micro-batch, reason), as far as speed asks; `fit_budget` holds it against memory."""
    if card.kind == "tpu":
        return TPU_TOKENS, "with what fills it up, the largest of the fixed shapes"
    if card.kind != "cuda":
        tokens = CPU_TOKENS if precision == "fp32" else CPU_TOKENS_BF16
        return tokens, f"full speed in {precision} on this device, larger ones gain nothing"
    tokens = int(CUDA_TOKENS_AT_BASE * card.memory / 80e9 * (768 * 12) / (hidden * layers))
    return max(1024, tokens // 1024 * 1024), "from the device's memory and the encoder's size"


def fit_budget(wanted: int, need: Need, free: int) -> tuple[int, str | None]:
    """(tokens in one micro-batch, reason where memory asks for fewer than `wanted`).

    The wanted budget is halved until it fits: so the same machine gives the same budget, however its free memory
    varies from run to run, unless memory is what decides.
    """
    tokens = wanted
    while need.under(tokens) > MEMORY_SHARE * free and tokens // 2 >= SMALLEST_TOKENS:
        tokens //= 2
    if need.under(tokens) > MEMORY_SHARE * free:
        return tokens, "memory is short: even this may not fit into what is free"
    return tokens, None if tokens == wanted else f"as much as the free memory allows; {wanted} for full speed"


def make_plan(
    card: Card,
    precision: tuple[Precision, str],
    attention: tuple[Attention, str],
    hidden: int,
    layers: int,
    ranks: int,
) -> Plan:
    """The plan of a fresh run, stored in its manifest. Choices come with their reasons."""
    budget, why_budget = choose_budget(card, hidden, layers, precision[0])
    return Plan(
        device=card.kind,
        precision=precision[0],
        attention=attention[0],
        token_budget=budget,
        threads=torch.get_num_threads(),
        ranks=ranks,
        reasons={
            "device": "the fastest device here, unless the recipe names one",
            "precision": precision[1],
            "attention": attention[1],
            "token_budget": why_budget,
            "threads": why_threads(),
        },
    )


def keep_threads(plan: Plan, log: Callable[[str], None]) -> None:
    """Computes with as many threads as the plan says: sums over another number of them end in other last digits.

    `log` gets a line where that is not what this process was started with.
    """
    here = torch.get_num_threads()
    if here != plan.threads:
        log(
            f"threads: {plan.threads}, as the run began, not the {here} of {why_threads()} here: the same numbers come "
            "out of the same number of threads only"
        )
    torch.set_num_threads(plan.threads)


def why_threads() -> str:
    """Where the number of threads comes from."""
    return "OMP_NUM_THREADS" if "OMP_NUM_THREADS" in os.environ else "all cores"


def plan_lines(plan: Plan, *, goes_on: bool = False) -> list[str]:
    """What a run says of its plan when it starts; one that goes on has other times before it than the whole run's."""
    lines = [
        f"plan: {plan.device}, {plan.precision}, attention {plan.attention}, {plan.token_budget} tokens in a "
        f"micro-batch, {counted(plan.threads, 'thread')}, "
        f"{plan.ranks} process{'es' if plan.ranks > 1 else ''}"
    ]
    if "prefix_cache" in plan.reasons:
        lines.append(f"plan: frozen prefix: {plan.reasons['prefix_cache']}")
    if "seconds" in plan.wall and not goes_on:
        lines.append(f"expected: {epoch_time(plan)}, {whole_time(plan)}")
    return lines


def plan_rows(plan: Plan) -> list[tuple[str, str]]:
    """Each choice of a plan with its reason, and what was measured."""
    chosen = {
        "device": plan.device,
        "precision": plan.precision,
        "attention": plan.attention,
        "token_budget": f"{plan.token_budget} tokens",
        "threads": str(plan.threads),
    }
    names = {"token_budget": "micro-batch"}
    rows = [
        (names.get(key, key), f"{value}: {plan.reasons[key]}" if key in plan.reasons else value)
        for key, value in chosen.items()
    ]
    if plan.ranks > 1:
        rows.append(("processes", str(plan.ranks)))
    if "prefix_cache" in plan.reasons:
        rows.append(("frozen prefix", plan.reasons["prefix_cache"]))
    if "bytes_free" in plan.wall:
        rows.append(("memory", memory_use(plan)))
    if "seconds" in plan.wall:
        rows.append(("expected", f"{epoch_time(plan)}, {whole_time(plan)}"))
    return rows


def epoch_time(plan: Plan) -> str:
    """``about 3 min 20 s an epoch (12,300 tokens/s), 12 s of it for evaluation``."""
    wall = plan.wall
    return (
        f"about {duration(wall['seconds_per_epoch'])} an epoch ({rate(wall['tokens_per_second'], 'tokens')}), "
        f"{duration(wall['evaluation_seconds_per_epoch'])} of it for evaluation"
    )


def whole_time(plan: Plan) -> str:
    """``about 35 min 10 s in all, at most 42 s of it to fill the cache of the frozen prefix``."""
    filling = plan.wall["cache_seconds"]
    cache = f", at most {duration(filling)} of it to fill the cache of the frozen prefix" if filling else ""
    rounds = plan.wall.get("rounds_seconds")
    more = "" if rounds is None else f"; with all rounds of self-training up to {duration(rounds)}"
    return f"about {duration(plan.wall['seconds'])} in all{cache}{more}"


def time_left(plan: Plan, step: int, steps: int) -> str:
    """``, about 3 min 10 s left`` after `step` of `steps`; nothing where the plan expects no time, or none is left."""
    if "seconds" not in plan.wall or step >= steps:
        return ""
    return f", about {duration(plan.wall['seconds'] * (1 - step / steps))} left"


def memory_use(plan: Plan) -> str:
    """What training takes beside the weights, of what is free."""
    wall = plan.wall
    asked = wall["bytes_held"] + wall["bytes_per_token"] * plan.token_budget
    return (
        f"{size(asked)} of {size(wall['bytes_free'])} free: {size(wall['bytes_held'])} for gradients and "
        f"moments, {size(wall['bytes_per_token'])} for each token of a micro-batch"
    )
