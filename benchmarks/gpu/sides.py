"""glotune's own stepper, and Hugging Face's own Trainer, each made to take one step when it is asked to.

Both read fresh batches ahead, in page-locked memory, and end a step when the device has.
"""

from __future__ import annotations

import itertools
import queue
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from benchmarks.gpu.texts import LABELS, MAX_LENGTH, Shape, model_of
from glotune.data.batches import Rows
from glotune.data.tokenization import TokenStore
from glotune.engine.assembly import Assembled, lay_out
from glotune.engine.checkpoints import CheckpointStore
from glotune.engine.fit import fit_to_machine
from glotune.engine.loop import build_loop
from glotune.engine.observer import Silent
from glotune.engine.processes import Control, Processes
from glotune.engine.recorder import Unwritten
from glotune.model.network import Network
from glotune.recipe import schema
from glotune.recipe.settings import TrainingSettings
from glotune.run.directory import RunDirectory
from glotune.run.records import Plan
from glotune.tasks.single_label import SingleLabel
from glotune.tasks.task import Choice

LEARNING_RATE = 1e-5


class Side(Protocol):
    """One engine at work."""

    def step(self) -> float:
        """One optimizer step to its end on the device; returns its loss."""
        ...

    def close(self) -> None:
        """Ends it and frees its memory."""
        ...


class Ours:
    """The stepper that trains, fitted to the machine as a run is: probe, plan, compared kernels."""

    def __init__(self, shape: Shape, store: TokenStore, device: torch.device, *, batch: int, dropout: float,
                 precision: str, batches: Iterator[Rows], recorded: bool = False) -> None:  # fmt: skip
        settings = TrainingSettings(
            seed=0,
            max_length=MAX_LENGTH,
            sampling_alpha=None,
            optimizer=schema.Optimizer(learning_rate=LEARNING_RATE),
            schedule=schema.Schedule(name="constant"),
            train=schema.Train(batch_size=batch, precision=precision),
            speed=schema.Speed(prefix_cache="off", cuda_graphs=recorded),
            checkpoints=schema.Checkpoints(),
            evaluate_every="epoch",
            patience=None,
            test="never",
        )
        stores = {"train": store, "validation": store}
        task = SingleLabel(list(LABELS), stores, ["und"], Choice("macro_f1", "source", True))
        network = Network(model_of(shape, dropout, device, trimmed=True))
        self._folder = tempfile.TemporaryDirectory()
        recorder = Unwritten(RunDirectory(self._folder.name), Silent(), 1, is_main=True)
        parts = lay_out(settings, network, task, stores, Processes(0, 1, device), None, recorder)
        self._parts = fit_to_machine(Assembled(parts, None, []), Path(self._folder.name), recorder).parts
        store_of_none = CheckpointStore(Path(self._folder.name) / "none", 1)
        stepper = build_loop(self._parts, None, recorder, store_of_none, Control()).stepper
        self._steps = stepper.run(enumerate(batches))

    @property
    def plan(self) -> Plan:
        """What the machine decided."""
        return self._parts.plan

    def step(self) -> float:
        _, _, outcome = next(self._steps)
        return outcome.loss

    def close(self) -> None:
        self._steps.close()  # type: ignore[attr-defined]
        self._parts.network.to("meta")
        self._folder.cleanup()


class Gated:
    """Trainer in a thread of its own, which waits at the beginning of every step until it is asked for it."""

    def __init__(self, shape: Shape, store: TokenStore, device: torch.device, *, batch: int, dropout: float,
                 precision: str, order: Rows | None = None, compiled: bool = False) -> None:  # fmt: skip
        self._turn, self._done = threading.Semaphore(0), queue.SimpleQueue[float | BaseException]()
        self._ends = False
        self._device = device
        self._folder = tempfile.TemporaryDirectory()
        self._model = model_of(shape, dropout, device, trimmed=False)
        self._trainer = _trainer(self, self._model, _examples(store, order), Path(self._folder.name), batch=batch,
                                 precision=precision, in_order=order is not None, compiled=compiled)  # fmt: skip
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._trainer.train()
        except BaseException as error:  # handed to whoever asked for the step
            self._done.put(error)

    def wait_for_turn(self) -> bool:
        """Called by Trainer before each step; whether it is the end."""
        self._turn.acquire()
        return self._ends

    def ended(self, loss: float) -> None:
        """Called by Trainer after each step."""
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        self._done.put(loss)

    def step(self) -> float:
        self._turn.release()
        found = self._done.get()
        if isinstance(found, BaseException):
            raise found
        return found

    def close(self) -> None:
        self._ends = True
        self._turn.release()
        self._thread.join(timeout=60)
        self._model.to("meta")
        self._folder.cleanup()


def _trainer(gate: Gated, model: Any, examples: list[dict[str, Any]], folder: Path, *, batch: int, precision: str,
             in_order: bool, compiled: bool) -> Any:  # fmt: skip
    from transformers import Trainer, TrainerCallback, TrainingArguments

    on_gpu = next(model.parameters()).device.type == "cuda"

    class Turns(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **named: Any) -> Any:
            control.should_training_stop = gate.wait_for_turn()
            return control

        def on_step_end(self, args: Any, state: Any, control: Any, **named: Any) -> None:
            gate.ended(trainer.last_loss())

    class Remembering(Trainer):
        losses: Any = None

        def training_step(self, *given: Any, **named: Any) -> Any:
            self.losses = super().training_step(*given, **named)
            return self.losses

        def last_loss(self) -> float:
            return float(self.losses)

    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=batch,
        num_train_epochs=1000,
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        weight_decay=0.01,
        optim="adamw_torch_fused",
        bf16=precision == "bf16",
        train_sampling_strategy="sequential" if in_order else "group_by_length",
        dataloader_num_workers=2 if on_gpu else 0,
        dataloader_pin_memory=on_gpu,
        torch_compile=compiled,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=not on_gpu,
        seed=0,
    )
    trainer = Remembering(
        model=model,
        args=arguments,
        train_dataset=examples,
        data_collator=lambda rows: padded(rows, 32 if compiled else 8),
        callbacks=[Turns()],
    )
    return trainer


def _examples(store: TokenStore, order: Rows | None) -> list[dict[str, Any]]:
    rows = range(len(store)) if order is None else order.tolist()
    return [
        {
            "input_ids": store.tokens[store.offsets[row] : store.offsets[row + 1]].tolist(),
            "labels": int(store.labels[row]),
        }
        for row in rows
    ]


def padded(rows: list[dict[str, Any]], multiple: int) -> dict[str, torch.Tensor]:
    """A batch padded to its longest text, in steps of `multiple`: fewer shapes for a compiler, and whole tiles."""
    longest = max(len(row["input_ids"]) for row in rows)
    width = min(MAX_LENGTH, -(-longest // multiple) * multiple)
    ids = torch.full((len(rows), width), 1)
    for place, row in enumerate(rows):
        ids[place, : len(row["input_ids"])] = torch.tensor(row["input_ids"])
    labels = torch.tensor([row["labels"] for row in rows])
    return {"input_ids": ids, "attention_mask": (ids != 1).long(), "labels": labels}


def fresh_batches(count: int, batch: int) -> Iterator[Rows]:
    """Shuffled batches without end."""
    generator = np.random.default_rng(1)
    for _ in itertools.count():
        order = generator.permutation(count)
        for start in range(0, count - batch + 1, batch):
            yield order[start : start + batch].astype(np.int64)
