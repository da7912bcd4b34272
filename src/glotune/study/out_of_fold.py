"""One run directory for each variant and seed of a cross-validated study, from the test predictions of its folds.

Every text was predicted by the one model that did not train on it. Texts in languages that are not trained on were
predicted by all k models: text i is answered by model i mod k, so that scores stay those of a single model, not of an
ensemble. As run directories they are compared, reported and claimed about like any other run; they hold no model.
"""

from __future__ import annotations

import json
import shutil
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from glotune.errors import UserError
from glotune.recipe import recipe_hash, recipe_yaml
from glotune.run.data import RunData, load_run
from glotune.run.directory import RunDirectory, write_atomically
from glotune.run.predictions import read_predictions
from glotune.run.records import Evaluation, Manifest, RunStatus, Verdict
from glotune.stats.evaluation import evaluation_of
from glotune.study.directory import StudyDirectory
from glotune.study.plan import StudyPlan


def pool_folds(plan: StudyPlan, directory: StudyDirectory) -> list[RunDirectory]:
    """Writes ``out_of_fold/VARIANT-seedN`` for each variant and seed whose folds are all complete."""
    pooled = []
    for seed in plan.resolved.study.seeds:
        for variant in plan.resolved.variants:
            places = [RunDirectory(directory.runs / run.name) for run in plan.of(variant, seed)]
            if places and all(is_complete(place) for place in places):
                pooled.append(_pool(directory.out_of_fold / f"{variant}-seed{seed}", variant, seed, places, plan))
    return pooled


def pooled_runs(path: Path) -> list[RunDirectory]:
    """The out-of-fold predictions that a study's folder holds, or those that `path` itself is; none for another place.

    Raises:
        UserError: a study without any.
    """
    directory = StudyDirectory(path)
    if path.parent.name == directory.out_of_fold.name and (path / "manifest.json").is_file():
        return [RunDirectory(path)]
    if not directory.study.is_file():
        return []
    found = [RunDirectory(place) for place in sorted(directory.out_of_fold.glob("*")) if place.is_dir()]
    if not found:
        raise UserError(
            f"the study {path} holds no out-of-fold predictions",
            expected="a study with folds whose runs are complete",
            remedy="Write folds: 5 into its file, or name one of its runs for the texts that this one held out",
        )
    return found


def origins(run: RunDirectory) -> dict[int, tuple[str, int]]:
    """Row of the file of folds that a run of a study read -> (file, row) that its text came from."""
    folder = StudyDirectory(run.path.parent.parent).folds
    # Beside the texts a run may have read word lists: those stand elsewhere.
    named = [folder / Path(source.path).name for source in run.read_manifest().data]
    path = next((each for each in named if each.is_file()), named[0])
    try:
        file, row = pq.read_schema(path).names[-2:]
        table = pq.read_table(path, columns=[file, row])
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} can't be read ({str(error).splitlines()[0]})") from error
    pairs = zip(table[file].to_pylist(), table[row].to_pylist(), strict=True)
    return dict(enumerate(pairs, 1))


def is_complete(place: RunDirectory) -> bool:
    """Whether the run is there and complete."""
    return place.manifest_path.exists() and place.read_manifest().status is RunStatus.COMPLETE


def _pool(path: Path, variant: str, seed: int, places: list[RunDirectory], plan: StudyPlan) -> RunDirectory:
    folds = [load_run(place) for place in places]
    for fold in folds:  # what is pooled gets hashes of its own: they must not vouch for what a fold did not write
        written = fold.directory.prediction_files()
        fold.require_as_written([path for path in written if path.name.startswith("test.")])
    manifests = [fold.manifest for fold in folds]
    recipe = plan.resolved.variants[variant].model_copy(update={"seed": seed})
    manifest = manifests[0].model_copy(
        update={
            "seed": seed,
            # A language whose texts all stand in one fold is trained on by the other folds' runs alone.
            "source_languages": list(dict.fromkeys(chain.from_iterable(each.source_languages for each in manifests))),
            "recipe_hash": recipe_hash(recipe),
            "verdict": _worst(manifests),
            "best_step": None,
            "outputs": None,
            "deviations": list(dict.fromkeys(line for each in manifests for line in each.deviations)),
            "command": ["glotune", "study", plan.resolved.study.name],
            "notes": [
                f"out-of-fold predictions of {len(places)} runs: {', '.join(place.path.name for place in places)}"
            ],
        }
    )
    shutil.rmtree(path, ignore_errors=True)
    run = RunDirectory.create(path, recipe_yaml(recipe), manifest)
    evaluations: list[Evaluation] = []
    leaked: dict[str, list[int]] = {}
    for language in _languages(places):
        parts = _answers(folds, language, language in manifest.source_languages)
        table = pa.concat_tables([part for _, part in parts]).sort_by("row").combine_chunks()
        leaked[language] = sorted(row for fold, part in parts for row in _leaked(fold, language, part))
        run.predictions.mkdir(exist_ok=True)
        path_of_table = run.predictions / f"test.{language}.parquet"
        pq.write_table(table, path_of_table)
        evaluations.append(evaluation_of(read_predictions(path_of_table).outcomes, "test", language, manifest.labels))
    run.write_metrics(evaluations)
    known = {"leaked": {"test": {language: rows for language, rows in leaked.items() if rows}}}
    write_atomically(run.data_profile, json.dumps(known) + "\n")
    run.update_manifest(outputs=run.hashes())
    return run


def _languages(places: list[RunDirectory]) -> list[str]:
    found = {path.stem.partition(".")[2] for place in places for path in place.predictions.glob("test.*.parquet")}
    return sorted(found)


def _answers(folds: list[RunData], language: str, is_source: bool) -> list[tuple[RunData, pa.Table]]:
    """The predictions of one language, each text once, beside the fold that they are taken from."""
    parts = []
    for number, fold in enumerate(folds):
        path = fold.directory.predictions / f"test.{language}.parquet"
        if not path.exists():
            continue  # a fold may hold no text of a small language
        table = pq.read_table(path).sort_by("row")
        if not is_source:
            table = table.filter(pa.array(np.arange(len(table)) % len(folds) == number))
        parts.append((fold, table))
    return parts


def _leaked(fold: RunData, language: str, answered: pa.Table) -> set[int]:
    """Rows that the model of this fold answered, and whose text it met in training."""
    return set(fold.leaked.get("test", {}).get(language, [])) & set(answered["row"].to_pylist())


def _worst(manifests: list[Manifest]) -> Verdict | None:
    """The verdict of the first fold that is not sound, otherwise that of the first; None where one has none."""
    verdicts = [manifest.verdict for manifest in manifests]
    if any(verdict is None for verdict in verdicts):
        return None
    known = [verdict for verdict in verdicts if verdict is not None]
    return next((verdict for verdict in known if not verdict.is_sound), known[0])
