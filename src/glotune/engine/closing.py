"""The end of a run: every prediction recorded, the verdict, the saved model, the report."""

from __future__ import annotations

from typing import Any

import numpy as np

from glotune.data.batches import by_length
from glotune.data.packed import PackedBatch, collate
from glotune.data.texts import TextData
from glotune.engine.assembly import Assembled
from glotune.engine.evaluate import by_language, evaluate_split
from glotune.engine.finish import record_split
from glotune.engine.loop import evaluation_figures
from glotune.engine.parts import Parts
from glotune.engine.recorder import Recorder
from glotune.engine.scoring import language_scores
from glotune.engine.state import TrainingState
from glotune.evidence.judgement import judge_run
from glotune.model.saving import save_adapter, save_model
from glotune.run.records import Evaluation


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


def judge_and_save(assembled: Assembled, state: TrainingState, tokenizer: Any, recorder: Recorder) -> None:
    """The verdict into the manifest; the model with its full vocabulary, and the adapter of a LoRA run, to disk."""
    if not recorder.is_main:
        return
    parts, directory = assembled.parts, recorder.directory
    verdict = judge_run(directory)
    directory.update_manifest(verdict=verdict, best_step=state.best_step)
    recorder.write_log(f"verdict: {verdict.status}. {' '.join(verdict.evidence[:1])}")
    data = parts.recipe.data
    if parts.recipe.model.lora is not None:
        save_adapter(parts.network, directory.adapter, assembled.vocabulary)
    saved = save_model(
        parts.network,
        tokenizer,
        assembled.vocabulary,
        directory.model,
        max_length=data.max_length,
        normalization=data.normalization,
        truncation=data.truncation,
        check_with=_few_texts(parts),
        trusted=parts.recipe.model.trust_remote_code,
    )
    known = directory.read_manifest().notes
    directory.update_manifest(notes=[*known, *(note for note in saved.notes if note not in known)])
    recorder.log(f"saved the model to {directory.model} ({saved.size / 1e6:.0f} MB)")


def _few_texts(parts: Parts) -> PackedBatch:
    """Four training texts from short to fairly long, as the network takes them."""
    store = parts.stores["train"]
    ordered = by_length(np.arange(len(store)), store.lengths)
    places = sorted({quarter * len(ordered) // 4 for quarter in range(4)})
    return collate(store, ordered[places], id_map=parts.id_map)
