"""What the small files of a run say, each with the reason where it can't be read: a report shows both."""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Any

from glotune.errors import UserError
from glotune.run.as_written import AsWritten
from glotune.run.baselines import Baselines, read_baselines
from glotune.run.directory import RunDirectory
from glotune.run.metrics import parse_metrics
from glotune.run.profile import DataProfile, parse_profile
from glotune.run.records import Evaluation
from glotune.run.teaching import TeacherComparison

if TYPE_CHECKING:
    from glotune.recipe.schema import Recipe


class Contents:
    """The small files of one run directory, each read when it is first asked for: (what it says, what is wrong)."""

    def __init__(self, directory: RunDirectory, files: AsWritten, sources: list[str]) -> None:
        self._directory = directory
        self._files = files
        self._sources = sources

    @cached_property
    def recipe_file(self) -> tuple[str, UserError | None]:
        """recipe.yaml as it stands; empty where it can't be read."""
        try:
            return self._files.content(self._directory.recipe).decode("utf-8"), None
        except (OSError, UnicodeDecodeError) as error:
            return "", UserError(f"{self._directory.recipe} can't be read ({error})")

    @cached_property
    def recipe(self) -> tuple[Recipe | None, UserError | None]:
        """None where recipe.yaml is of another kind or version."""
        text, problem = self.recipe_file
        if problem is not None:
            return None, problem
        from glotune.recipe import Recipe, yaml

        try:
            return Recipe.model_validate(yaml.parse(text, "recipe.yaml")), None
        except (ValueError, UserError) as error:
            return None, UserError(f"recipe.yaml is no recipe of this version ({str(error).splitlines()[0]})")

    @cached_property
    def metrics(self) -> tuple[dict[str, Any], UserError | None]:
        """``metrics.json``: split -> language -> entry; empty for a run that was not evaluated yet."""
        try:
            return self._directory.parse_scores(self._files.content(self._directory.metrics_path)), None
        except FileNotFoundError:
            return {}, None
        except OSError as error:
            return {}, UserError(f"{self._directory.metrics_path} can't be read ({error})")
        except UserError as error:
            return {}, error

    @cached_property
    def evaluations(self) -> tuple[dict[str, dict[str, Evaluation]], UserError | None]:
        """split -> language -> scores of the best checkpoint, source languages first."""
        metrics, problem = self.metrics
        if problem is not None:
            return {}, problem
        try:
            return parse_metrics(metrics, self._sources), None
        except UserError as error:
            return {}, error

    @cached_property
    def profile(self) -> tuple[DataProfile, UserError | None]:
        """``data_profile.json``."""
        path = self._directory.data_profile
        if not path.exists():
            return DataProfile(), None
        try:
            content = json.loads(self._files.content(path))
        except (OSError, ValueError) as error:
            return DataProfile(), UserError(f"{path.name} can't be read ({error})")
        return parse_profile(content if isinstance(content, dict) else {}), None

    @cached_property
    def baselines(self) -> tuple[Baselines | None, UserError | None]:
        """What cheap models make of the same texts."""
        try:
            return read_baselines(self._directory), None
        except UserError as error:
            return None, error

    @cached_property
    def teacher(self) -> tuple[TeacherComparison | None, UserError | None]:
        """Size and speed of student and teacher."""
        try:
            return self._directory.read_teacher_comparison(), None
        except UserError as error:
            return None, error

    @property
    def problems(self) -> tuple[UserError, ...]:
        """What is wrong with any of them."""
        found = (self.recipe, self.evaluations, self.profile, self.baselines, self.teacher)
        return tuple(problem for _, problem in found if problem is not None)
