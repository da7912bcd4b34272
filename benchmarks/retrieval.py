"""How well the embedded encoder finds translations that its training never saw: recall at 1, English and back."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from glotune.data.plain_text import read_plain_texts
from glotune.engine.assembly import assemble_pretraining
from glotune.engine.forward import evaluate
from glotune.engine.observer import Silent
from glotune.engine.processes import Processes
from glotune.engine.recorder import Recorder
from glotune.languages import find_language
from glotune.model.pretraining import prepare_tokenizer
from glotune.recipe.pretrain import load_pretrain_recipe
from glotune.run.directory import RunDirectory
from glotune.tasks.corpus import as_text_data, build_corpus
from glotune.tasks.pretraining import HeldOutScores, Pretraining
from glotune.words import language_name


def measure(pairs: Path, encoder: Path) -> dict[str, HeldOutScores]:
    """Language -> figures on the pairs that the recipe `nano` holds out; nothing is trained."""
    recipe = load_pretrain_recipe(
        "nano",
        {
            "data.pairs": str(pairs),
            "data.text": None,
            "teacher": None,
            "model.scratch": None,
            "model.name": str(encoder),
            "train.precision": "fp32",
            "train.device": "cpu",
        },
    )
    texts = read_plain_texts(recipe.data, from_scratch=False, seed=recipe.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokenizer = prepare_tokenizer(recipe, texts, folder)
        content = as_text_data(texts)
        corpus = build_corpus(texts, content, tokenizer, recipe.data, folder, lambda done, total: None)
        recorder = Recorder(RunDirectory(folder), Silent(), 1, is_main=True)
        parts = assemble_pretraining(recipe, corpus, tokenizer, Processes.start("cpu"), recorder, None).parts
        task = Pretraining.of(recipe, corpus, tokenizer, parts.network.hidden_size)
        return task.held_out_scores(evaluate(parts, "validation", recorder))


def mean_recall(figures: Mapping[str, HeldOutScores]) -> float:
    """Recall at 1, mean of both directions and of all languages that were asked."""
    values = [value for each in figures.values() if (value := each.recall_at_1) is not None]
    return sum(values) / len(values)


def table(figures: Mapping[str, HeldOutScores]) -> str:
    """Markdown: a row per language, best first."""
    asked = {code: each for code, each in figures.items() if each.recall_at_1 is not None}
    lines = ["| language | script | to English | from English | mean |", "| --- | --- | ---: | ---: | ---: |"]
    for code, each in sorted(asked.items(), key=lambda item: -(item[1].recall_at_1 or 0.0)):
        language = find_language(code)
        script = language.scripts[0] if language and language.scripts else ""
        lines.append(
            f"| {language_name(code)} ({code}) | {script} | {each.recall_forth:.2f} | {each.recall_back:.2f} | "
            f"{each.recall_at_1:.3f} |"
        )
    return "\n".join([*lines, f"| mean of {len(asked)} | | | | {mean_recall(asked):.3f} |"])
