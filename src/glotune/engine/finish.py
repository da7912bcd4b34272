"""The end of a run: every prediction recorded, the verdict, the saved model, the report."""

from __future__ import annotations

from typing import Any

import numpy as np

from glotune.data.batches import PackedBatch, by_length, collate
from glotune.engine.assembly import Assembled
from glotune.engine.forward import evaluate
from glotune.engine.parts import Parts
from glotune.engine.recorder import Recorder
from glotune.engine.state import TrainingState
from glotune.evidence.judgement import judge_run
from glotune.model.saving import save_adapter, save_model
from glotune.recipe import Recipe
from glotune.run.records import Evaluation
from glotune.words import size


def record_best(parts: Parts, recorder: Recorder) -> list[Evaluation]:
    """Evaluates the best weights on every held-out split; the task keeps what its scores follow from."""
    evaluations: list[Evaluation] = []
    for split in ("validation", "test"):
        if split not in parts.stores:
            continue
        answers = evaluate(parts, split, recorder)
        for language, metrics in parts.task.scores(split, answers).items():
            recorder.event("evaluation", dict(metrics), key=f"best/{split}/{language}")
        if recorder.is_main:
            evaluations += parts.task.record(recorder.directory.predictions, split, answers)
    if recorder.is_main:
        recorder.directory.write_metrics(evaluations)
    return evaluations


def judge_and_save(
    assembled: Assembled, recipe: Recipe, state: TrainingState, tokenizer: Any, recorder: Recorder
) -> None:
    """The verdict into the manifest; the model with its full vocabulary, and the adapter of a LoRA run, to disk."""
    if not recorder.is_main:
        return
    parts, directory = assembled.parts, recorder.directory
    verdict = judge_run(directory)
    decision = parts.task.decision
    directory.update_manifest(verdict=verdict, best_step=state.best_step, decision=decision)
    recorder.write_log(f"verdict: {verdict.status}. {' '.join(verdict.evidence[:1])}")
    data = recipe.data
    if recipe.model.lora is not None:
        save_adapter(parts.network, directory.adapter, assembled.vocabulary, decision)
    saved = save_model(
        parts.network,
        tokenizer,
        assembled.vocabulary,
        directory.model,
        max_length=data.max_length,
        normalization=data.normalization,
        truncation=data.truncation,
        windows=data.windows,
        check_with=_few_texts(parts),
        trusted=recipe.model.trust_remote_code,
        decision=decision,
    )
    recorder.keep_notes(saved.notes)
    recorder.log(f"saved the model to {directory.model} ({size(saved.size)})")


def _few_texts(parts: Parts) -> PackedBatch:
    """Four training texts from short to fairly long, as the network takes them."""
    store = parts.stores["train"]
    ordered = by_length(np.arange(len(store)), store.lengths)
    places = sorted({quarter * len(ordered) // 4 for quarter in range(4)})
    return collate(store, ordered[places], id_map=parts.id_map, uncounted=parts.network.uncounted)
