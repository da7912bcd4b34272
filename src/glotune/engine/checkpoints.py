"""Checkpoints of training that can't be half: written aside, synced, renamed, verified by hash.

safetensors and JSON only; no pickle is ever written or loaded. A checkpoint holds what training changes: trainable
weights, the optimizer's moments, the state. Frozen weights come from the source again.
"""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from glotune.engine.state import TrainingState
from glotune.errors import RunError
from glotune.whole_files import open_to_umask, sha256, sync

WEIGHTS, OPTIMIZER, STATE, MANIFEST = "weights.safetensors", "optimizer.safetensors", "state.json", "manifest.json"
FORMAT = 1
READ_TOGETHER = 1 << 20
"""Values of a tensor that are read at once where it is to be copied."""


@dataclass(frozen=True)
class Snapshot:
    """All that a checkpoint holds, on the host."""

    step: int
    is_live: bool
    """The tensors are those that training changes, no copies: they must be written before it goes on."""
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor] | None
    """``NAME.exp_avg``, ``NAME.exp_avg_sq``, ``NAME.step``; None in a best-weights checkpoint."""
    state: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{'step' if self.optimizer is not None else 'best'}-{self.step:08d}"


def snapshot(
    trainable: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer | None, state: TrainingState
) -> Snapshot:
    """Weights and moments: copies of what lies on a device; what is on the host already is not held twice."""
    moments = None if optimizer is None else _moments(trainable, optimizer)
    weights = {name: value.detach().cpu().contiguous() for name, value in trainable.items()}
    is_live = all(value.device.type == "cpu" for value in trainable.values())
    return Snapshot(state.step, is_live, weights, moments, state.to_json())


def _moments(trainable: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, parameter in trainable.items():
        for key, value in optimizer.state[parameter].items():
            found[f"{name}.{key}"] = value.detach().cpu().contiguous()
    return found


def restore_weights(folder: Path, trainable: Mapping[str, nn.Parameter]) -> None:
    """Puts a checkpoint's weights into the network.

    Raises:
        RunError: the checkpoint is of another model.
    """
    with safe_open(folder / WEIGHTS, "pt") as file:
        found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping
    if found != {name: tuple(parameter.shape) for name, parameter in trainable.items()}:
        raise RunError(
            f"{folder} holds the weights of another model: its tensors differ in name or shape from this run's"
        )
    for name, parameter in trainable.items():
        for part in _parts(parameter):
            # Opened for each part: what was read of a mapped file counts as memory until it is closed.
            with safe_open(folder / WEIGHTS, "pt") as file, torch.no_grad():
                parameter[part].copy_(file.get_slice(name)[part])


@torch.no_grad()
def restore_mean(folders: Sequence[Path], trainable: Mapping[str, nn.Parameter]) -> None:
    """Puts the mean of several checkpoints' weights into the network; summed in fp64, a part of a tensor at a time.

    Raises:
        RunError: one of them is of another model.
    """
    restore_weights(folders[0], trainable)  # refuses names and shapes that differ
    for name, parameter in trainable.items():
        for part in _parts(parameter):
            summed = torch.zeros_like(parameter[part], dtype=torch.float64, device="cpu")
            for folder in folders:
                with safe_open(folder / WEIGHTS, "pt") as file:
                    summed += file.get_slice(name)[part].double()
            parameter[part].copy_(summed / len(folders))


def _parts(tensor: Tensor) -> Iterator[Any]:
    """Rows of a large tensor, some at a time; a small one whole."""
    if tensor.numel() <= READ_TOGETHER:
        yield ...
        return
    rows = max(1, READ_TOGETHER * len(tensor) // tensor.numel())
    for start in range(0, len(tensor), rows):
        yield slice(start, start + rows)


def restore_optimizer(folder: Path, trainable: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
    """Puts a checkpoint's moments into a fresh optimizer.

    The count of steps goes where the moments are: a fused AdamW adds to it there.
    """
    keys = ("exp_avg", "exp_avg_sq", "step")
    for name, parameter in trainable.items():
        with safe_open(folder / OPTIMIZER, "pt") as file:  # for each tensor, as above
            if f"{name}.step" in file.keys():  # noqa: SIM118 - no mapping
                optimizer.state[parameter] = {
                    key: file.get_tensor(f"{name}.{key}").to(parameter.device, copy=True) for key in keys
                }


def read_state(folder: Path) -> TrainingState:
    """The training state of a checkpoint."""
    return TrainingState.from_json(json.loads((folder / STATE).read_bytes()))


@dataclass(frozen=True)
class Resumption:
    """Where a run goes on: its newest whole checkpoint."""

    folder: Path
    state: TrainingState
    damaged: list[str]
    """A line for each newer checkpoint that was passed over."""


class CheckpointStore:
    """The checkpoints of a run. A background thread writes, one checkpoint at a time, in order.

    Live tensors are handed to the system's page cache at once: a longer pause than to copy them, and no second copy in
    memory. Hashing, syncing and renaming are left to the thread all the same.

    The thread is a daemon: who leaves at once need not wait for a write, which a crash may interrupt anyway.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep
        self._writing: Future[None] | None = None
        self.passed_over: list[str] = []
        """A line for each damaged checkpoint that `latest` met."""

    def save(self, taken: Snapshot) -> float:
        """Starts writing a snapshot; returns the seconds that training stood still for it and for the one before.

        What goes wrong with this one is raised by the next `check`, `wait` or `save`.

        Raises:
            RunError: the one before could not be written (a full disk, say).
        """
        started = time.perf_counter()
        self.wait()
        writing: Future[None] = Future()
        try:
            if taken.is_live:
                self._write_tensors(taken)
        except RunError as error:
            writing.set_exception(error)
        else:
            threading.Thread(target=self._carry_out, args=(writing, taken), name="checkpoint", daemon=True).start()
        self._writing = writing
        return time.perf_counter() - started

    def _carry_out(self, writing: Future[None], taken: Snapshot) -> None:
        try:
            if not taken.is_live:
                self._write_tensors(taken)
            self._complete(taken)
        except BaseException as error:
            writing.set_exception(error)
        else:
            writing.set_result(None)

    def check(self) -> None:
        """Raises what went wrong in the background, as `wait` does; doesn't wait."""
        if self._writing is not None and self._writing.done():
            self.wait()

    def wait(self) -> None:
        """Waits until everything saved is durable; raises what went wrong."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def latest(self) -> Resumption | None:
        """The newest checkpoint that is whole, with the best weights it refers to; None without any."""
        damaged: list[str] = []
        self.passed_over = damaged
        for path in sorted(self.folder.glob("step-*"), reverse=True):
            problem = damage(path)
            if problem is None:
                state = read_state(path)
                problem = self._damage_of_weights({state.best_step, *state.averaged} - {None})
                if problem is None:
                    return Resumption(path, state, damaged)
            damaged.append(f"checkpoint {path.name} is damaged ({problem}); falling back to the one before")
        return None

    def _damage_of_weights(self, steps: Iterable[int | None]) -> str | None:
        """From a checkpoint before the damaged weights they are made again; from this one they never would be."""
        found = (damage(self.folder / f"best-{step:08d}") for step in steps)
        problem = next((each for each in found if each is not None), None)
        return None if problem is None else f"of the best weights so far, {problem}"

    def drop_after(self, step: int) -> None:
        """Drops what earlier attempts saved after the step that this attempt resumes from: it is made again."""
        for path in [*self.folder.glob("step-*"), *self.folder.glob("best-*")]:
            if step_of(path) > step:
                shutil.rmtree(path)

    def best(self, step: int) -> Path:
        """The weights of the best evaluation, or of one that enters a mean; raises RunError where they are damaged or
        gone."""
        path = self.folder / f"best-{step:08d}"
        problem = damage(path)
        if problem is not None:
            raise RunError(f"the best checkpoint {path} can't be used: {problem}")
        return path

    def _write_tensors(self, taken: Snapshot) -> None:
        with self._telling(taken):
            self.folder.mkdir(exist_ok=True)
            for leftover in self.folder.glob(".*.tmp"):
                shutil.rmtree(leftover)
            aside = self._aside(taken)
            aside.mkdir()
            save_file(taken.weights, aside / WEIGHTS)
            if taken.optimizer is not None:
                save_file(taken.optimizer, aside / OPTIMIZER)

    def _complete(self, taken: Snapshot) -> None:
        with self._telling(taken):
            aside = self._aside(taken)
            # The manifest with the hashes comes last and the rename after every file is synced: a crash at any point
            # leaves either the whole checkpoint or a hidden folder that the next write removes.
            (aside / STATE).write_text(json.dumps(taken.state), encoding="utf-8")
            files = {path.name: {"bytes": path.stat().st_size, "sha256": sha256(path)} for path in aside.iterdir()}
            (aside / MANIFEST).write_text(
                json.dumps({"format": FORMAT, "step": taken.step, "files": files}), encoding="utf-8"
            )
            open_to_umask(aside)
            for path in aside.iterdir():
                sync(path)
            self._put_in_place(aside, taken.name)
        # Only now, with the new one in place, so that a whole one is always there. One whose evaluation is still
        # due prunes nothing: it is replaced under its own name, and until then the one before must be there.
        if taken.optimizer is not None and not taken.state["evaluation_due"]:
            self._prune()

    def _aside(self, taken: Snapshot) -> Path:
        return self.folder / f".{taken.name}.tmp"

    @contextmanager
    def _telling(self, taken: Snapshot) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            shutil.rmtree(self._aside(taken), ignore_errors=True)  # its space is what the run's last words need
            if not isinstance(error, OSError | SafetensorError):
                raise
            raise RunError(
                f"the checkpoint {taken.name} could not be written to {self.folder} ({error}). Checkpoints before it "
                f"are whole: free some space there, then go on with: glotune resume {self.folder.parent}"
            ) from error

    def _put_in_place(self, aside: Path, name: str) -> None:
        """Renames; a checkpoint of that name, left by an attempt that was stopped in front of an evaluation, goes.

        Between the two renames neither has the name: the checkpoint before, which is not pruned until then, counts.
        """
        target, old = self.folder / name, self.folder / f".{name}.old.tmp"
        if target.exists():
            target.replace(old)
        aside.replace(target)
        sync(self.folder)
        shutil.rmtree(old, ignore_errors=True)

    def _prune(self) -> None:
        """Drops old checkpoints, and best weights that no kept checkpoint refers to."""
        # Steps are zero-padded in names, so the order of names is the order of steps.
        steps = sorted(self.folder.glob("step-*"))
        for path in steps[: -self.keep]:
            shutil.rmtree(path)
        states = [read_state(path) for path in steps[-self.keep :]]
        referred = {step for state in states for step in (state.best_step, *state.averaged)}
        for path in self.folder.glob("best-*"):
            if step_of(path) not in referred:
                shutil.rmtree(path)


def step_of(path: Path) -> int:
    """The step in a checkpoint's name."""
    match = re.fullmatch(r"(?:step|best)-(\d+)", path.name)
    return int(match.group(1)) if match else -1


def damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint, or None where every file has its size and hash."""
    try:
        content = json.loads((folder / MANIFEST).read_bytes())
        for name, expected in content["files"].items():
            path = folder / Path(name).name
            if path.stat().st_size != expected["bytes"]:
                return f"{name} has {path.stat().st_size} bytes, not {expected['bytes']}"
            if sha256(path) != expected["sha256"]:
                return f"{name} does not match its hash"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"its manifest can't be read ({error})"
    return None


def size_of(folder: Path) -> int:
    """Bytes on disk."""
    return sum(path.stat().st_size for path in folder.iterdir())
