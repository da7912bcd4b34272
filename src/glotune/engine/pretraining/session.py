"""Pretraining to the end, and what it leaves: held-out figures, the encoder."""

from __future__ import annotations

from typing import Any

import torch

from glotune.engine.checkpoints import Resumption
from glotune.engine.loop import Loop
from glotune.engine.pretraining.evaluate import LanguageFigures, evaluate
from glotune.engine.pretraining.loop import PretrainLoop
from glotune.engine.pretraining.parts import PretrainParts
from glotune.engine.pretraining.step import PretrainStepper
from glotune.engine.recorder import Recorder
from glotune.engine.session import train_to_the_end
from glotune.engine.state import TrainingState
from glotune.model.pretraining import save_encoder
from glotune.run.records import Evaluation


def pretrain_to_the_end(parts: PretrainParts, resumption: Resumption | None, recorder: Recorder) -> TrainingState:
    """Trains from the start or a checkpoint, and leaves the best weights in the network.

    Raises:
        InterruptedRun, RunError: see `Loop.run`.
    """

    def adapt(loop: Loop) -> Loop:
        engine = loop.stepper
        stepper = PretrainStepper(parts, engine.optimizer, engine.schedule, engine.row_decay, engine.token_budget)
        return PretrainLoop(parts, stepper, loop.state, loop.recorder, loop.checkpoints, loop.control, loop.watch)

    return train_to_the_end(parts, resumption, recorder, adapt=adapt)


def record_held_out(parts: PretrainParts, recorder: Recorder) -> dict[str, LanguageFigures]:
    """Judges the best weights; figures go to the events and to ``metrics.json``."""
    found = evaluate(parts, recorder.observer)
    for language, figures in found.items():
        recorder.event("evaluation", {"n": figures.n, **figures.scores()}, key=f"best/validation/{language}")
    if recorder.is_main:
        recorder.directory.write_metrics(
            [
                Evaluation(split="validation", language=language, n=figures.n, scores=figures.counted_scores())
                for language, figures in found.items()
            ]
        )
    return found


def save(parts: PretrainParts, tokenizer: Any, state: TrainingState, recorder: Recorder) -> None:
    """The encoder with its output layer and tokenizer, as any Hugging Face folder."""
    if not recorder.is_main:
        return
    dtype = torch.float16 if parts.pretrain.model.saved_as == "float16" else torch.float32
    save_encoder(parts.network.hf, tokenizer, recorder.directory.model, dtype)
    recorder.directory.update_manifest(best_step=state.best_step)
    recorder.log(f"the encoder is in {recorder.directory.model}: use it as model.name")
