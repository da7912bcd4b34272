"""Small steps as CUDA graphs: the network's passes are recorded once for each of a few shapes, then replayed.

A step of 32 short texts waits for some thousand kernel launches, not for what they compute. A graph launches them at
once, but always with the same shapes and on the same memory. So micro-batches are filled up to a few shapes, copied to
where the graph reads, and gradients are added where it writes. Recorded kernels see the bounds of a batch's texts,
which lie on the device; what the host knew when they were recorded is the shape alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from glotune.data.batches import PackedBatch, filled
from glotune.engine.forward import autocast
from glotune.model.cpu.packed_weights import PackedWeights
from glotune.model.network import Network

SHAPES = (512, 1024, 2048)
"""Tokens of the micro-batches that are recorded; larger ones keep a GPU busy without."""
SHORT = 64
"""Tokens of a text below which no shape makes a difference."""
MOST = 32
"""Shapes that are recorded; what comes in others then runs as it is."""
WARM_UP = 3
"""Passes before a recording: libraries allocate their workspaces in the first ones, which a recording must not see."""
Work = Callable[[], None]
Record = Callable[[Work, Work], tuple[Work, Work]]
"""(forward, backward) pass on fixed memory -> what repeats each of them there."""
Shape = tuple[Any, ...]


def recorded_by_cuda(device: torch.device) -> Record:
    """As graphs, whose memory is shared: of two shapes one is done with before the other begins."""
    pool = torch.cuda.graph_pool_handle()

    def record(forward: Work, backward: Work) -> tuple[Work, Work]:
        stream = torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                forward()
                backward()
        torch.cuda.current_stream(device).wait_stream(stream)
        graphs = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        try:
            for graph, work in zip(graphs, (forward, backward), strict=True):
                # The thread that reads ahead locks memory meanwhile; a recording of all threads would not survive that.
                with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
                    work()
        except RuntimeError as error:
            _end_recording()
            raise RuntimeError(str(_cause(error))) from error
        return graphs[0].replay, graphs[1].replay

    return record


def _end_recording() -> None:
    """After a recording that failed, the generator of chance goes on as if there were one, and refuses to draw: one of
    nothing, which ends as it should, sets it right."""
    with suppress(RuntimeError), torch.cuda.graph(torch.cuda.CUDAGraph()):
        pass


def _cause(error: BaseException) -> BaseException:
    """What failed first: ending a recording that has failed fails too."""
    return error if error.__context__ is None else _cause(error.__context__)


@dataclass
class Graphs:
    """The network as a step calls it: by recorded passes where the batch has one of their shapes."""

    network: Network
    precision: str
    parameters: Sequence[nn.Parameter]
    record: Record
    _passes: dict[Shape, Passes] = field(default_factory=dict)
    _leaves: dict[str, Tensor] = field(default_factory=dict)
    """By its name in the network, each parameter's memory as a tensor of its own. Autograd holds on to the stream in
    which it first met a parameter; these it meets nowhere but in recordings."""
    _sums: dict[nn.Parameter, Tensor] = field(default_factory=dict)
    """Where recorded passes add the gradients of a step."""
    calls: int = 0
    """Forward passes that were replayed so far."""

    def __post_init__(self) -> None:
        names = {parameter: name for name, parameter in self.network.named_parameters()}
        self._leaves = {names[each]: each.detach().requires_grad_() for each in self.parameters}

    def logits(self, batch: PackedBatch) -> Tensor:
        """The network's, as functions of `_leaves`."""
        return cast(Tensor, functional_call(self.network, self._leaves, (batch,)))

    def gradients(self, logits: Tensor, upstream: Tensor) -> None:
        """Takes a pass back, and adds what it finds."""
        self.add(torch.autograd.grad(logits, list(self._leaves.values()), upstream, allow_unused=True))

    def filled(self, batch: PackedBatch) -> PackedBatch:
        """The batch with dummy texts at its end, in one of the shapes; as it is where it is too large for them."""
        made = filled(batch, SHAPES)
        if made.num_tokens > SHAPES[-1]:
            return batch
        return made.pinned() if batch.input_ids.is_pinned() else made

    def __call__(self, batch: PackedBatch) -> Tensor:
        """Logits_BC; the way back adds to the parameters' gradients."""
        if batch.num_tokens not in SHAPES or len(batch) == len(batch.rows) or self.network.recomputes:
            return self.network(batch)
        longest = max(SHORT, 1 << (max(batch.lengths) - 1).bit_length())
        sizes = (None if each is None else tuple(each.shape) for each in (batch.input_ids, batch.hidden_TH))
        shape = (self.network.training, len(batch), longest, *sizes)
        if shape not in self._passes:
            if len(self._passes) == MOST:
                return self.network(batch)
            self._passes[shape] = self._recorded(batch, longest)
        anchor = torch.zeros((), device=batch.input_ids.device, requires_grad=True)
        return _Replay.apply(anchor, self._passes[shape], batch)

    def _recorded(self, batch: PackedBatch, longest: int) -> Passes:
        devices = [batch.input_ids.device] if batch.input_ids.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):  # the step's dropout is drawn as if nothing had been recorded
            return Passes(self, batch, longest)

    def add(self, found: Sequence[Tensor | None]) -> None:
        """Adds to the gradients' fixed places; a parameter that no pass reaches has none, and stays without."""
        reached = {each: grad for each, grad in zip(self.parameters, found, strict=True) if grad is not None}
        for parameter in reached:
            if parameter not in self._sums:
                self._sums[parameter] = torch.zeros_like(parameter)
        torch._foreach_add_([self._sums[parameter] for parameter in reached], list(reached.values()))

    def lay_gradients(self) -> None:
        """Puts each gradient into its fixed place: zeros in a new step, what other passes have added else."""
        elsewhere = {each: sum_ for each, sum_ in self._sums.items() if each.grad is not sum_}
        if new := [sum_ for parameter, sum_ in elsewhere.items() if parameter.grad is None]:
            torch._foreach_zero_(new)
        for parameter, sum_ in elsewhere.items():
            if parameter.grad is not None:
                sum_.copy_(parameter.grad)
            parameter.grad = sum_


class Passes:
    """Forward and backward pass of one shape, on memory of their own."""

    def __init__(self, graphs: Graphs, batch: PackedBatch, longest: int) -> None:
        self._graphs = graphs
        self._way_back: Tensor | None = None
        """Logits that autograd knows the way back from."""
        # The kernels are launched for the shape's longest text, and find the texts themselves by their bounds.
        lengths = lengths_of(len(batch), batch.num_tokens, longest)
        self._batch = replace(batch, lengths=lengths, targets={}, twin=None).copied()
        self._forward()
        self.upstream = torch.zeros_like(self.logits)
        self._backward()
        self.forward, self.backward = graphs.record(self._forward, self._backward)
        self._way_back = None

    def _forward(self) -> None:
        self._way_back = None  # of the pass before, which lay in another stream
        # Casts belong into the recording: those that a step or autocast keeps are of weights as they once were.
        device, precision = self._batch.input_ids.device, self._graphs.precision
        with torch.enable_grad(), PackedWeights.in_use(None), autocast(device, precision, keeps_casts=False):
            self._way_back = self._graphs.logits(self._batch)
        self.logits = self._way_back.detach()

    def _backward(self) -> None:
        assert self._way_back is not None
        self._graphs.gradients(self._way_back, self.upstream)

    def called(self) -> int:
        """The number of this forward pass."""
        self._graphs.calls += 1
        return self._graphs.calls

    def refuse_all_but(self, call: int) -> None:
        """Raises RuntimeError where another pass ran in between: shapes share memory, and activations are gone."""
        if call != self._graphs.calls:
            raise RuntimeError("this task calls the network again before the way back of the first call")

    def lay_gradients(self) -> None:
        """See `Graphs.lay_gradients`."""
        self._graphs.lay_gradients()

    def read(self, batch: PackedBatch) -> None:
        """Copies the batch to where the passes read."""
        for place, given in zip(self._batch.tensors(), replace(batch, targets={}).tensors(), strict=True):
            place.copy_(given, non_blocking=True)


class _Replay(torch.autograd.Function):
    """Recorded passes as autograd sees them; gradients of parameters are added where they lie."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, passes: Passes, batch: PackedBatch) -> Tensor:
        """Args: anchor: anything that asks for a gradient, so that the way back leads here."""
        ctx.passes = passes
        passes.read(batch)
        passes.forward()
        ctx.call = passes.called()
        return passes.logits.clone()  # the next replay writes over them

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[None, None, None]:
        """Of nothing that autograd knows."""
        passes: Passes = ctx.passes
        passes.refuse_all_but(ctx.call)
        passes.upstream.copy_(grad[0])
        passes.lay_gradients()
        passes.backward()
        return None, None, None


def lengths_of(texts: int, tokens: int, longest: int) -> tuple[int, ...]:
    """Lengths of so many texts, none beyond the longest, that add up to the tokens: all texts of a shape share them."""
    if longest == 1:
        return (1,) * texts
    full, left = divmod(tokens - texts, longest - 1)
    lengths = [longest] * full + [1 + left] * (left > 0)
    return tuple(lengths + [1] * (texts - len(lengths)))
