"""The processes of a run: how they add up what each computed, and how they are asked to stop.

SIGTERM, Ctrl-C and a spot notice finish the step, checkpoint and leave. In every other stage (reading, tokenizing,
caches, the final evaluation, saving) there is no step to finish, and all that is written there is written so that a
crash can't hurt it: the run leaves at once, as `stopped_by_signals` says.
"""

from __future__ import annotations

import atexit
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from types import FrameType

import numpy as np
import torch
from accelerate import PartialState
from numpy.typing import NDArray
from torch import Tensor

from glotune.engine.accelerator import before_cuda
from glotune.errors import InterruptedRun

ANOTHER_RANK = "another rank was asked to stop"
LONGEST_WAIT = timedelta(days=1)
"""How long a rank waits for the others. The main rank asks teachers, answers unlabelled texts and fits cheap models
alone, and torch gives the waiting ranks up after 30 minutes on CPUs, after 10 on GPUs. A rank that died is told by its
closed connection or by its launcher, not by the clock."""
Handler = Callable[[int, FrameType | None], None]


class StopNow(KeyboardInterrupt):
    """Raised wherever the main thread is. No Exception: library code that catches those can't swallow it."""


@dataclass
class Control:
    """Whether somebody asked the run to stop, and why."""

    reason: str | None = None
    _at_once: bool = field(default=False, repr=False)

    def stop(self, reason: str) -> None:
        """Asks the run to stop after the step that it is in."""
        self.reason = reason

    @property
    def stop_requested(self) -> bool:
        return self.reason is not None

    @contextmanager
    def leaving_at_once(self) -> Iterator[None]:
        """Within it a signal, or one that came before, raises StopNow: for long work that may be done again."""
        self._at_once = True
        try:
            if self.stop_requested:
                raise StopNow(self.reason)
            yield
        finally:
            self._at_once = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The first SIGTERM or SIGINT is a request to stop; a second SIGINT leaves at once."""
        if self.stop_requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.stop(reason_of(number))
        if self._at_once:
            raise StopNow(self.reason)


def reason_of(number: int) -> str:
    """What the manifest says of a signal."""
    return "interrupted from the keyboard" if number == signal.SIGINT else "asked to stop (SIGTERM)"


@contextmanager
def listening(control: Control) -> Iterator[Control]:
    """Turns the first SIGTERM or SIGINT into a request to stop; a second SIGINT leaves at once.

    Outside the main thread, where Python allows no signal handlers, only `Control.stop` stops a run.
    """
    with _handled_by(control.handle):
        yield control


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Turns SIGTERM and SIGINT into StopNow within, and StopNow into InterruptedRun on the way out.

    Raises:
        InterruptedRun: a signal came where no `Control` listened.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        raise StopNow(reason_of(number))

    try:
        with _handled_by(leave):
            yield
    except StopNow as stop:
        raise InterruptedRun(str(stop)) from None


@contextmanager
def signals_as_before() -> Iterator[None]:
    """SIGTERM ends the process at once within, as it does by default: for waits of libraries before a run begins."""
    with _handled_by(signal.SIG_DFL, [signal.SIGTERM]):
        yield


@contextmanager
def _handled_by(
    handler: Handler | signal.Handlers, numbers: Sequence[signal.Signals] = (signal.SIGINT, signal.SIGTERM)
) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@dataclass(frozen=True)
class Processes:
    """The ranks of a run, as `accelerate launch` or `torchrun` started them; one rank otherwise."""

    rank: int
    ranks: int
    device: torch.device

    @classmethod
    def start(cls, device: str, *, deterministic: bool = False) -> Processes:
        """Joins the process group, if one was launched. `device` is ``cpu``, ``cuda`` or ``mps``.

        Args:
            deterministic: whatever GPU there is repeats itself bit for bit, more slowly.
        """
        if device == "cuda":
            before_cuda(deterministic=deterministic)
        with signals_as_before():  # joining can wait long for the others, where no handler of ours would be run
            state = PartialState(cpu=device == "cpu", timeout=LONGEST_WAIT)
        if state.backend == "gloo":
            # Its threads hold gradients that they summed; dropping those while Python ends aborts the process.
            atexit.register(state.destroy_process_group)
        # Accelerate's state is one for as long as the process lives, on the device of whoever asked first.
        alone = state.num_processes == 1 and state.device.type != device
        own = torch.device(device if alone else state.device)
        return cls(rank=state.process_index, ranks=state.num_processes, device=own)

    @property
    def is_main(self) -> bool:
        """Whether this rank writes files."""
        return self.rank == 0

    def lost_another(self, error: BaseException) -> bool:
        """Whether an error says that another rank is gone: gloo and NCCL raise RuntimeError and its kin for that."""
        message = str(error).lower()
        signs = ("connection", "gloo", "nccl", "socket", "peer", "broken pipe")
        return self.ranks > 1 and isinstance(error, RuntimeError) and any(sign in message for sign in signs)

    def barrier(self) -> None:
        """Waits for every rank."""
        if self.ranks > 1:
            torch.distributed.barrier()

    def agree(self, text: str) -> str:
        """The main rank's text, on every rank."""
        box = [text]
        if self.ranks > 1:
            torch.distributed.broadcast_object_list(box)
        return box[0]

    def sum_(self, tensor: Tensor) -> Tensor:
        """Sums a tensor over the ranks, in place."""
        if self.ranks > 1:
            torch.distributed.all_reduce(tensor)
        return tensor

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any rank."""
        if self.ranks == 1:
            return flag
        return bool(self.sum_(torch.tensor(float(flag), device=self.device)) > 0)

    def sum_array(self, array: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums a host array over the ranks: how every rank gets what each computed a part of."""
        if self.ranks == 1:
            return array
        summed = self.sum_(torch.from_numpy(array).to(self.device))
        return np.asarray(summed.cpu().numpy())
