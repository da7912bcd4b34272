"""The engine's loop, told what pretraining books and how it is judged."""

from __future__ import annotations

from dataclasses import dataclass

from glotune.data.batches import Rows
from glotune.engine.checkpoints import snapshot
from glotune.engine.loop import Loop
from glotune.engine.pretraining.evaluate import LanguageFigures, evaluate, monitored
from glotune.engine.pretraining.parts import PretrainParts
from glotune.engine.pretraining.step import PretrainStepper
from glotune.engine.selection import update_best
from glotune.engine.state import EpochFigures
from glotune.engine.step import StepOutcome


@dataclass
class PretrainLoop(Loop):
    """`Loop`: its order of things, its checkpoints, its early stopping; with other figures."""

    parts: PretrainParts
    stepper: PretrainStepper

    def _take(self, rows: Rows, outcome: StepOutcome) -> None:
        super()._take(rows, outcome)
        if outcome.is_finite:
            self.recorder.event("objectives", self.stepper.figures.to_json(), flush=False)

    def _close_epoch(self) -> None:
        figures = self.state.epoch_figures
        if figures.texts:
            data = {"loss": figures.loss_sum / figures.texts, "n": figures.texts, "tokens": figures.tokens}
            self.recorder.event("epoch", data, key="train")
        self.state.epoch_figures = EpochFigures()

    def _evaluate(self) -> None:
        with self._may_be_left():
            found = evaluate(self.parts, self.recorder.observer)
        for language, figures in found.items():
            self.recorder.event("evaluation", {"n": figures.n, **figures.scores()}, key=f"validation/{language}")
        chooses_by = self.parts.pretrain.chooses_by
        value = monitored(found, chooses_by)
        if update_best(self.state, value, self.parts.recipe.evaluate):
            self.recorder.event("best", {"metric": chooses_by, "value": value, "on": "held_out"})
            if self.recorder.is_main:
                self.checkpoints.save(snapshot(self.parts.trainable, None, self.state))
        self._log_figures(found)

    def _log_figures(self, found: dict[str, LanguageFigures]) -> None:
        best = " (best so far)" if self.state.best_step == self.state.step else ""
        asked = sum(each.recall_at_1 is not None for each in found.values())
        retrieval = f", recall at 1 {monitored(found, 'retrieval'):.4f} over {asked} languages" if asked else ""
        self.recorder.log(
            f"epoch {self.recorder.epoch:.3g}/{self.parts.recipe.train.epochs}, step {self.state.step}: held-out "
            f"masked loss {monitored(found, 'masked_loss'):.4f}{retrieval}{best}"
        )
