"""Everything that makes a network faster where it runs, in one place: the same numbers, or the same up to rounding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from glotune.model.cpu.dropout import use_fast_dropout
from glotune.model.cpu.fast_linear import use_fast_linear
from glotune.model.cpu.host_memory import bound_kernel_caches, keep_freed_memory
from glotune.model.cpu.packed_weights import use_packed_weights
from glotune.model.half_weights import use_cast_once
from glotune.model.packed.walk import PostNormWalk, project_fused

if TYPE_CHECKING:
    from glotune.model.network import Network


def tune(network: Network, device: str, precision: str, *, training: bool) -> None:
    """Gives a network its kernels, and the process its memory settings. Called once, before the first product.

    Args:
        network: after surgery: what it is made of must be fixed.
        device: kind of device that it is going to run on, ``cpu``, ``cuda`` or ``mps``.
        precision: what it computes in there.
        training: it is trained, too; otherwise it only predicts.
    """
    # After loading, whose freed memory has gone by now; a process that only predicts gives back what it can.
    if training:
        keep_freed_memory()
    bound_kernel_caches()
    use_fast_dropout(network.hf)
    if hasattr(network.hf, "peft_config"):
        from glotune.model.cpu.lean_lora import project_together, use_lean_lora  # PEFT: LoRA runs alone import it

        use_lean_lora(network.hf)
        if isinstance(network.walk, PostNormWalk):
            network.walk.project = project_together
    elif device != "cpu" and isinstance(network.walk, PostNormWalk):
        network.walk.project = project_fused
    if device != "cpu" and precision != "fp32":
        use_cast_once(network.hf)
    packs = use_packed_weights(network, device, precision)
    if not training and not packs:
        use_fast_linear(network)
