"""The report of a study written again from its folder: nothing is trained, and torch is not needed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from glotune.recipe import Recipe, load_recipe, yaml
from glotune.recipe.problems import refuse
from glotune.recipe.study import StudyRecipe
from glotune.recipe.study_loading import resolve_study
from glotune.run.directory import RunDirectory
from glotune.study.directory import StudyDirectory
from glotune.study.locked_plan import lock_plan, with_dropped
from glotune.study.out_of_fold import is_complete
from glotune.study.plan import StudyPlan, list_runs
from glotune.study.search import with_found
from glotune.study.summarise import Summary, write_summary


def is_study(folder: Path) -> bool:
    """Whether a folder is a study's."""
    return StudyDirectory(folder).study.is_file()


def redraw_study(folder: Path) -> Summary:
    """Writes ``report/`` of a study again, finished or not.

    Raises:
        UserError: ``study.yaml`` can't be read, or no run is complete.
    """
    directory = StudyDirectory(folder)
    content = yaml.read(directory.study)
    scale = content.pop("scale", "full") if isinstance(content, dict) else "full"
    try:
        study = StudyRecipe.model_validate(content)
    except ValidationError as error:
        raise refuse(error, StudyRecipe, str(directory.study), what="study") from error
    resolved = resolve_study(study, scale, seeds=study.seeds)
    if study.search is not None:
        resolved = with_found(resolved, directory)
    # Folds are drawn from texts that may be gone: what each run was trained on stands in its own recipe.
    plan = with_dropped(
        resolved, directory, lambda each: StudyPlan(each, list_runs(each, lambda name, seeded, fold: seeded), {})
    )
    runs = tuple(replace(run, recipe=_as_trained(directory, run.name) or run.recipe) for run in plan.runs)
    plan = replace(plan, runs=runs)
    lock_plan(resolved, directory)
    return write_summary(
        plan, {run.name: _reason(directory, run.name) for run in runs if _lacks(directory, run.name)}, directory
    )


def _as_trained(directory: StudyDirectory, name: str) -> Recipe | None:
    path = directory.recipes / f"{name}.yaml"
    return load_recipe(path) if path.is_file() else None


def _lacks(directory: StudyDirectory, name: str) -> bool:
    return not is_complete(RunDirectory(directory.runs / name))


def _reason(directory: StudyDirectory, name: str) -> str:
    place = RunDirectory(directory.runs / name)
    if not place.manifest_path.exists():
        return "not started"
    manifest = place.read_manifest()
    return manifest.reason or f"its status is {manifest.status.value}"
