"""The card's metadata, as the Hub reads it: languages, base model, and evaluation results as a model index."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from huggingface_hub import EvalResult, ModelCardData

from glotune.hub.paths import sources_of
from glotune.recipe.paths import is_folder
from glotune.run.data import RunData
from glotune.run.records import Evaluation
from glotune.words import language_name

BUILDERS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".parquet": "parquet",
    ".txt": "text",
    "": "folder",
}
"""File suffix -> the name by which `datasets.load_dataset` reads such files."""
METRICS = {
    "accuracy": ("accuracy", "Accuracy", None),
    "macro_f1": ("f1", "Macro-F1", {"average": "macro"}),
    "weighted_f1": ("f1", "Weighted-F1", {"average": "weighted"}),
    "micro_f1": ("f1", "Micro-F1", {"average": "micro"}),
    "pearson": ("pearsonr", "Pearson's r", None),
    "spearman": ("spearmanr", "Spearman's rho", None),
}
"""Ours -> the Hub's metric, its name for people, and its arguments."""
LONGEST_NAME = 96


def metadata(run: RunData, repository: str, *, adapter: bool = False, license: str | None = None) -> ModelCardData:
    """The metadata of a run's card.

    An unsound run carries no evaluation results: the Hub would rank numbers that mean nothing.

    Args:
        repository: ``USER/NAME``.
        adapter: the files are an adapter, not a whole model.
        license: the Hub's identifier; left out where it is not given.
    """
    sound = run.manifest.verdict is not None and run.manifest.verdict.is_sound
    results = list(_results(run)) if sound else []
    base = base_model(run)
    return ModelCardData(
        language=languages(run),
        license=license,
        library_name="peft" if adapter else "transformers",
        pipeline_tag="text-classification",
        base_model=base,
        base_model_relation=("adapter" if adapter else "finetune") if base else None,
        datasets=hub_data_sets(run) or None,
        metrics=list(dict.fromkeys(METRICS[name][0] for name in run.kind.drawn if name in METRICS)),
        tags=["text-classification", "cross-lingual", "glotune"],
        model_name=repository.partition("/")[2],
        eval_results=results or None,
    )


def languages(run: RunData) -> list[str]:
    """ISO 639 codes of the languages trained on and tested, source languages first."""
    known = [*run.sources, *(code for split in run.evaluations.values() for code in split)]
    codes = [code.replace("_", "-").partition("-")[0].lower() for code in known]
    return [code for code in dict.fromkeys(codes) if code.isalpha() and len(code) in (2, 3)]


def base_model(run: RunData) -> str | None:
    """The encoder's Hub name; None for a folder of the machine that trained, and for what is built in."""
    name = run.recipe.model.name if run.recipe else ""
    noted = run.manifest.encoder_is_folder
    if is_folder(name) if noted is None else noted:
        return None
    parts = name.split("/")
    looks_like_one = len(parts) == 2 and all(parts) and not name.startswith((".", "~"))
    return name if looks_like_one else None


def hub_data_sets(run: RunData) -> list[str]:
    """Data sets of the Hub that the run read."""
    names = [source.path.partition(":")[0] for source in run.manifest.data]
    return list(dict.fromkeys(name for name in names if _is_hub_name(name)))


def _is_hub_name(name: str) -> bool:
    pure = PurePosixPath(name)
    return not pure.is_absolute() and not pure.suffix and name.count("/") <= 1 and not name.startswith((".", "~"))


def _results(run: RunData) -> Iterable[EvalResult]:
    for language, evaluation in run.main.items():
        for ours, (theirs, shown, arguments) in METRICS.items():
            value = evaluation.scores.get(ours)
            if value is not None:
                kind, name = _data_set(run, evaluation)
                yield EvalResult(
                    task_type="text-classification",
                    task_name="Text classification",
                    dataset_type=kind,
                    dataset_name=f"{name} ({language_name(language)})",
                    dataset_config=language,
                    dataset_split=evaluation.split,
                    metric_type=theirs,
                    metric_name=shown,
                    metric_args=arguments,
                    metric_value=round(value, 6),
                )


def _data_set(run: RunData, evaluation: Evaluation) -> tuple[str, str]:
    """(the Hub's id or the file's kind, a name for people) of what a language was evaluated on."""
    sources = run.recipe.data if run.recipe else None
    names = sources_of(getattr(sources, evaluation.split) if sources else None, evaluation.language)
    if not names:
        return "text", f"rows of the training data held out for {evaluation.split}"
    first = names[0].removesuffix(".gz").removesuffix(".GZ")
    if _is_hub_name(first.partition(":")[0]) and hub_data_sets(run):
        return first.partition(":")[0], first
    suffix = PurePosixPath(first).suffix.lower()
    shown = ", ".join(PurePosixPath(name).name for name in names)
    return BUILDERS.get(suffix, "text"), shown[:LONGEST_NAME]
