"""What a process settles with its accelerator before the first kernel, and what it does when memory runs out."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")
_OUT_OF_MEMORY = (
    "can't allocate memory",
    "cuda error: out of memory",
    "cuda out of memory",
    "hip out of memory",
    "mps backend out of memory",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
)
"""What errors say that are no `torch.OutOfMemoryError`: of the host's allocator, of libraries that take memory by
themselves, of MPS."""


def before_cuda(*, deterministic: bool) -> None:
    """Settings that CUDA reads once, when it starts: in the environment, where the user has not set them.

    Segments that grow in place leave no holes between micro-batches of ever new sizes; a fixed workspace makes cuBLAS
    repeat itself.
    """
    is_set = {"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"} & os.environ.keys()  # the second is its older name
    if torch.version.hip is None and not is_set:
        os.environ["PYTORCH_ALLOC_CONF"] = "expandable_segments:True"
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def settle(device: torch.device, *, deterministic: bool) -> None:
    """How torch computes on a GPU, for the whole process; nothing on other devices.

    cuDNN's attention is off: on Hopper it builds a plan for every new shape, and packed batches never repeat one; and
    it rounds the dropout rate to sixteenths.
    """
    if device.type != "cuda":
        return
    torch.backends.cuda.enable_cudnn_sdp(False)
    torch.use_deterministic_algorithms(deterministic)
    # Filling what is allocated is for finding reads of it; here nothing reads what was not written.
    import torch.utils.deterministic as settings

    settings.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # torch's own module class has it


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: torch's error, Python's, or one of a library that only its words tell."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign in said for sign in _OUT_OF_MEMORY)


def give_back(device: torch.device) -> None:
    """Hands the allocator's unused blocks back: those of a probe, or of a step that ran out, have other sizes."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def within_memory(
    work: Callable[[int], T], token_budget: int, smallest: int, device: torch.device, halved: Callable[[int], None]
) -> T:
    """`work` under a token budget; where memory runs out, again from its start under half of it.

    Args:
        smallest: no budget below it helps: the tokens of the longest text.
        halved: is told the new budget.

    Raises:
        The error itself, where even the smallest micro-batch is too large.
    """
    while True:
        try:
            return work(token_budget)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error) or token_budget <= smallest:
                raise
        # Outside the handler: the traceback of the error holds what ran out of memory.
        token_budget = max(smallest, token_budget // 2)
        give_back(device)
        halved(token_budget)


def peak_device_memory(device: torch.device) -> dict[str, int]:
    """Bytes that the GPU held at most, as events say it; nothing on other devices."""
    if device.type != "cuda":
        return {}
    return {
        "peak_device_memory_bytes": int(torch.cuda.max_memory_allocated(device)),
        "peak_device_memory_reserved_bytes": int(torch.cuda.max_memory_reserved(device)),
    }
