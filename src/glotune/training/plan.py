"""What the machine decides: device, precision, attention, threads and micro-batch budget, with the reasons."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import torch

from glotune.errors import UserError
from glotune.records import Plan

Precision = Literal["fp32", "bf16"]
Attention = Literal["packed_sdpa", "varlen", "padded"]

CPU_TOKENS = 2048
"""On a CPU larger micro-batches gain nothing: the products are large enough, and the caches small."""
NARROW = 512
"""Below this hidden size bf16 autocast is no faster on a CPU."""
CUDA_TOKENS_AT_BASE = 65_536
"""For a 768-wide, 12-layer encoder on 80 GB; scaled by memory and by width times layers."""


def choose_device(wanted: str) -> tuple[str, str]:
    """(device, reason).

    Raises:
        UserError: the recipe asks for a device that is not here.
    """
    available = available_devices()
    if wanted == "auto":
        return available[0], "the fastest device here"
    if wanted not in available:
        here = ", ".join(available)
        raise UserError(f"train.device is {wanted}, which this machine lacks", expected=f"auto, or one of: {here}")
    return wanted, "as the recipe says"


def available_devices() -> list[str]:
    """What this machine can train on, the fastest first."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return [name for name, is_there in there.items() if is_there]


def choose_precision(wanted: str, device: str, hidden: int) -> tuple[Precision, str]:
    """(precision, reason). bf16 is autocast over fp32 masters, only where the hardware computes in it.

    Raises:
        UserError: the recipe asks for bf16 and the hardware has none.
    """
    native = has_bf16(device)
    if wanted == "fp32":
        return "fp32", "as the recipe says"
    if wanted == "bf16":
        if not native:
            raise UserError(
                f"train.precision is bf16, but this machine's {device} has no bf16 instructions",
                expected="auto or fp32 here",
            )
        return "bf16", "as the recipe says"
    if not native:
        return "fp32", f"no bf16 instructions on this {device}"
    if device == "cpu" and hidden < NARROW:
        return "fp32", f"at {hidden} wide, casting to bf16 costs a CPU more than it saves"
    return "bf16", "the hardware computes in bf16"


def has_bf16(device: str) -> bool:
    """Whether `device` computes in bf16 natively: faster, not emulated."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device == "cpu" and cpu_has_bf16()


def cpu_has_bf16() -> bool:
    """AVX-512 bf16 or AMX on x86, bf16 on Arm, as Linux reports it."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return False
    flags = set(info.read_text().split())
    return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})


def choose_budget(device: str, hidden: int, layers: int) -> tuple[int, str]:
    """(tokens in one micro-batch, reason)."""
    if device != "cuda":
        return CPU_TOKENS, "large enough for full speed on this device"
    share = torch.cuda.get_device_properties(0).total_memory / 80e9
    tokens = int(CUDA_TOKENS_AT_BASE * share * (768 * 12) / (hidden * layers))
    return max(1024, tokens // 1024 * 1024), "from the device's memory and the encoder's size"


def make_plan(
    device: str,
    precision: tuple[Precision, str],
    attention: tuple[Attention, str],
    hidden: int,
    layers: int,
    ranks: int,
) -> Plan:
    """The plan of a fresh run, stored in its manifest. Choices come with their reasons."""
    budget, why_budget = choose_budget(device, hidden, layers)
    return Plan(
        device=device,
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
            "threads": "OMP_NUM_THREADS" if "OMP_NUM_THREADS" in os.environ else "all cores",
        },
    )
