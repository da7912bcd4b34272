"""The report of a study written again from its folder: nothing is trained, and torch is not needed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from glotune.errors import UserError
from glotune.recipe import Recipe, load_recipe, yaml
from glotune.recipe.problems import refuse
from glotune.recipe.study import StudyRecipe
from glotune.recipe.study_loading import resolve_study
from glotune.run_dir import RunDirectory
from glotune.study.directory import StudyDirectory
from glotune.study.out_of_fold import is_complete
from glotune.study.plan import StudyPlan, plan_runs
from glotune.study.summarise import Summary, write_summary


def is_study(folder: Path) -> bool:
    """Whether a folder is a study's."""
    return StudyDirectory(folder).study.is_file()


def redraw_study(folder: Path) -> Summary:
    """Writes ``report/`` of a study again, finished or not.

    Raises:
        UserError: ``study.yaml`` can't be read, no run is complete, or the study has folds, whose texts only the
            command that made it can pool.
    """
    directory = StudyDirectory(folder)
    content = yaml.read(directory.study)
    scale = content.pop("scale", "full") if isinstance(content, dict) else "full"
    try:
        study = StudyRecipe.model_validate(content)
    except ValidationError as error:
        raise refuse(error, StudyRecipe, str(directory.study), what="study") from error
    if study.folds is not None:
        raise UserError(
            f"{folder} is a study with {study.folds} folds, whose report needs its texts",
            remedy=f"Write it again with the command that made it: glotune study {study.name} --out {folder}",
        )
    planned = plan_runs(resolve_study(study, scale, seeds=study.seeds), directory)
    runs = tuple(replace(run, recipe=_as_trained(directory, run.name) or run.recipe) for run in planned.runs)
    plan = StudyPlan(planned.resolved, runs, planned.fold_files)
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
