"""`glotune evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run.")],
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE|KEY=VALUE",
            help="Labelled files or folders, or LANGUAGE=FILE; keys of how to read them, e.g. data.columns.text=tweet",
        ),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="A labelled file or folder, or LANGUAGE=FILE; can be repeated. By default the run's own data."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the folder under RUN/evaluations.")] = None,
    quoting: Annotated[
        Literal["standard", "none"] | None,
        typer.Option(help="none: quotes in CSV and TSV are ordinary characters. By default as in the run's recipe."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[
        Literal["fp32", "bf16"], typer.Option(help="fp32: transformers' scores; bf16: faster, off by up to about 0.01.")
    ] = "fp32",
) -> None:
    """Evaluate a run's saved model on labelled texts: metrics, intervals and predictions per language."""
    from glotune.cli.console import show
    from glotune.cli.progress import watch
    from glotune.cli.results import show_scores, transfer_gap
    from glotune.run.directory import RunDirectory
    from glotune.run.predictions import answers_in

    directory = RunDirectory.open(run)
    keys = [entry for entry in files or [] if is_key(entry)]
    sources = parse_sources([*(entry for entry in files or [] if entry not in keys), *(data or [])])

    from glotune.verbs.evaluate import evaluate as evaluate_run

    with watch() as observer:
        judged = evaluate_run(
            run,
            sources,
            name=name,
            device=device,
            precision=precision,
            observer=observer,
            keys=[*keys, *([f"data.quoting={quoting}"] if quoting else [])],
        )
    manifest = directory.read_manifest()
    for split, languages in RunDirectory(judged.path).read_metrics().items():
        if split == "schema":
            continue
        answered = answers_in(RunDirectory(judged.path).predictions, split, languages)
        show_scores(languages, manifest, split, f"{manifest.name}: {split} of {judged.path.name}", answered)
        gap = transfer_gap(languages, manifest)
        if gap:
            show(gap)
    if precision == "bf16":
        show("computed in bf16: probabilities are off transformers' by up to about 0.01")
    show(f"evaluation   {judged.path}")


def is_key(entry: str) -> bool:
    """Whether it names a key of the recipe, as ``data.columns.text=tweet`` does, and no file."""
    from glotune.recipe import Recipe
    from glotune.recipe.paths import exists

    key, equals, _ = entry.partition("=")
    return bool(equals) and key.partition(".")[0] in Recipe.model_fields and "." in key and not exists(entry)


def parse_sources(given: list[str]) -> list[str] | dict[str, str | list[str]] | None:
    """``bn=bn.csv`` names a language; without any, files are named by their language or have a column that says it.

    What exists under the whole of its name is a file, ``a=b.csv`` too.

    Raises:
        UserError: some name a language and some don't.
    """
    from glotune.errors import UserError
    from glotune.recipe.paths import exists

    if not given:
        return None
    pairs = [entry.partition("=") for entry in given]
    named = [
        bool(equals) and "/" not in language and "." not in language and not exists(entry)
        for entry, (language, equals, _) in zip(given, pairs, strict=True)
    ]
    if not any(named):
        return given
    if not all(named):
        raise UserError(
            f"{given[named.index(False)]} names no language, others do",
            expected="LANGUAGE=FILE for all of them or for none",
        )
    languages: dict[str, list[str]] = {}
    for language, _, path in pairs:
        languages.setdefault(language, []).append(path)
    return {language: paths[0] if len(paths) == 1 else list(paths) for language, paths in languages.items()}
