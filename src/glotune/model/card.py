"""What the device of a run is, and what it can do: asked once, so that no other line asks CUDA by name and year."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import torch

from glotune.words import size

Capability = tuple[int, int]
_ARCHITECTURE = re.compile(r"(sm|compute)_(\d+)(\d)[af]?")
"""``sm_90``: code for 9.0 and what is newer within 9; ``compute_90``: the driver compiles it for all that is newer."""
AMPERE, VOLTA = (8, 0), (7, 0)
_DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Card:
    """One device."""

    kind: str
    """``cpu``, ``cuda``, ``mps`` or ``tpu``."""
    name: str = ""
    capability: Capability | None = None
    """NVIDIA's compute capability; None on other devices. A card under ROCm is called ``cuda`` too and has none."""
    memory: int = 0
    """Bytes in all; 0 where it shares the host's."""

    @classmethod
    def of(cls, device: torch.device | str) -> Card:
        """The device of this process: of many ranks each has its own."""
        there = torch.device(device)
        if there.type != "cuda":
            return cls(there.type)
        found = torch.cuda.get_device_properties(there)
        capability = None if torch.version.hip else (int(found.major), int(found.minor))
        return cls("cuda", str(found.name), capability, int(found.total_memory))

    @property
    def has_bf16(self) -> bool:
        """Whether an accelerator computes in bf16: of a GPU, torch's own answer counts emulation as support."""
        if self.kind != "cuda":
            return self.kind == "tpu"
        if self.capability is None:
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
        return self.capability >= AMPERE

    @property
    def has_fp16(self) -> bool:
        """Whether fp16 products are faster than fp32's: tensor cores, from Volta on."""
        return self.kind == "cuda" and (self.capability is None or self.capability >= VOLTA)

    def __str__(self) -> str:
        """``NVIDIA A100-SXM4-80GB, 79.3 GiB, compute capability 8.0``"""
        known = [self.name or self.kind]
        known += [size(self.memory)] if self.memory else []
        known += [f"compute capability {'.'.join(map(str, self.capability))}"] if self.capability else []
        return ", ".join(known)


def has_tpu() -> bool:
    """Whether a TPU is here: torch_tpu registers itself with torch as ``torch.tpu`` where it is installed."""
    module = getattr(torch, "tpu", None)
    return module is not None and bool(module.is_available())


def why_no_cuda() -> str | None:
    """Why a GPU that is built in can't be used; None where there is none, or nothing is the matter.

    torch itself says this at most as a warning, and goes on with the CPU; or says nothing until the first kernel.
    """
    if not torch.cuda.is_available():
        return _why_not_available()
    if torch.version.hip:
        return None
    card = Card.of("cuda")
    if card.capability is None or runs_on(torch.cuda.get_arch_list(), card.capability):
        return None
    return (
        f"this torch ({torch.__version__}) has no code for {card}: it was built for "
        f"{', '.join(torch.cuda.get_arch_list())}. Install a build of torch that has"
    )


def _why_not_available() -> str | None:
    if not _DRIVER.exists() or os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return None
    driver = _DRIVER.read_text(encoding="utf-8").splitlines()[0]
    version = next(iter(re.findall(r"\d+\.\d+[.\d]*", driver)), "unknown")
    if torch.version.cuda is None:
        return (
            f"there is an NVIDIA driver ({version}), but this torch ({torch.__version__}) was built without CUDA. "
            "Install a build of torch for CUDA"
        )
    return (
        f"the NVIDIA driver ({version}) does not work with this torch, which was built for CUDA {torch.version.cuda}: "
        "it is too old, or no GPU answers it. Update the driver, or install a torch built for an older CUDA"
    )


def runs_on(architectures: list[str], capability: Capability) -> bool:
    """Whether code built for these architectures runs on a card: same major number, or compiled by the driver."""
    for name in architectures:
        if (match := _ARCHITECTURE.fullmatch(name)) is None:
            continue
        kind, built = match[1], (int(match[2]), int(match[3]))
        if built <= capability and (kind == "compute" or built[0] == capability[0]):
            return True
    return False
