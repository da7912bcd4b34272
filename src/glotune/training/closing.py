"""The end of a run: every prediction recorded, the verdict, the saved model, the report."""

from __future__ import annotations

from typing import Any

from glotune.data.texts import TextData
from glotune.model.saving import save_adapter, save_model
from glotune.records import Evaluation
from glotune.report.writing import write_report
from glotune.training.assembly import Assembled
from glotune.training.evaluate import by_language, evaluate_split
from glotune.training.finish import record_split
from glotune.training.loop import evaluation_figures
from glotune.training.parts import Parts
from glotune.training.recorder import Recorder
from glotune.training.scoring import language_scores
from glotune.training.state import TrainingState


def record_best(parts: Parts, texts: TextData, recorder: Recorder) -> list[Evaluation]:
    """Evaluates the best weights on every held-out split and language; one record per prediction."""
    evaluations: list[Evaluation] = []
    for split in ("validation", "test"):
        if split not in parts.stores:
            continue
        outputs = evaluate_split(parts, split, recorder.observer)
        for language, scores in language_scores(parts, split, outputs).items():
            recorder.event("evaluation", evaluation_figures(scores), key=f"best/{split}/{language}")
        if recorder.is_main:
            folder, with_text = recorder.directory.predictions, parts.recipe.records.text
            evaluations += record_split(folder, texts, split, by_language(parts, split), outputs, with_text)
    if recorder.is_main:
        recorder.directory.write_metrics(evaluations)
    return evaluations
