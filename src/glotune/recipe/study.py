"""The schema of a study: a base recipe, what is varied, the seeds, and what is expected of the result."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from glotune.recipe.schema import Section

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]
Keys = dict[str, Any]
"""Recipe keys, nested as in a recipe (``model: {layers: 6}``) or dotted (``model.layers: 6``)."""


def _as_range(value: Any) -> Any:
    """``seeds: 3`` is ``[0, 1, 2]``."""
    return list(range(value)) if isinstance(value, int) and not isinstance(value, bool) else value


Seeds = Annotated[
    list[Annotated[int, Field(ge=0, lt=2**32)]],
    Field(min_length=1),
    BeforeValidator(_as_range),
]


class StudyClaim(Section):
    """What the study expects; the report answers it: supported, refuted or inconclusive."""

    name: str = Field(min_length=1)
    """The expectation as a sentence."""
    form: Literal["superior", "non_inferior", "interaction"]
    """Better by more than the margin; worse by at most the margin; one gain above another by more than the margin."""
    variants: list[Name] = Field(min_length=2, max_length=4)
    """[candidate, reference]; for an interaction [a, b, c, d]: a over b by more than c over d."""
    metric: str = "macro_f1"
    """A score, a time, a speed, a size: any metric of the study's tables."""
    margin: float | None = Field(default=None, ge=0.0)
    """Raw units for a score (0.02 is 2 points); for times, speeds and sizes a factor of at least 1."""
    language: str | None = None
    """As the study's own."""

    @model_validator(mode="after")
    def _variants_fit_form(self) -> StudyClaim:
        wanted = 4 if self.form == "interaction" else 2
        if len(self.variants) != wanted:
            raise ValueError(f"{self.form} compares {wanted} variants, found {len(self.variants)}")
        return self


class Scale(Section):
    """What one scale of a study changes: smaller encoder, fewer rows, fewer epochs."""

    description: str = ""
    """What this scale is for."""
    keys: Keys = Field(default_factory=dict)
    """Over the study's own keys."""
    data: Keys = Field(default_factory=dict)
    """The ``data`` section, where no ``data.train`` is given on the command line."""
    variants: dict[Name, Keys] = Field(default_factory=dict)
    """Over the keys of single variants."""
    seeds: Seeds | None = None
    """Instead of the study's."""
    folds: int | None = Field(default=None, ge=2)
    """Instead of the study's."""


class StudyRecipe(Section):
    """One study: every variant is trained with every seed, and on every fold where there are folds."""

    name: Name
    """Names the study and its folder."""
    title: str = ""
    """Headline of the report."""
    description: str = ""
    """First lines of the report."""
    recipe: str | Keys
    """The base: a built-in recipe, a YAML file, or the keys of a recipe themselves."""
    keys: Keys = Field(default_factory=dict)
    """Over the base recipe, for all variants."""
    variants: dict[Name, Keys] = Field(default={"base": {}}, min_length=1)
    """Name -> the keys that make it."""
    grid: dict[str, list[Any] | dict[Name, Keys]] = Field(default_factory=dict)
    """Each axis is crossed with all variants: a recipe key with a list of values, or a name with levels of keys."""
    seeds: Seeds = Field(default=[0, 1, 2])
    """A list, or a number of seeds counted from 0."""
    folds: int | None = Field(default=None, ge=2)
    """k of k-fold cross-validation: stratified, exact duplicates on one side, out-of-fold predictions kept."""
    fold_seed: int = Field(default=0, ge=0, lt=2**32)
    """Draws the folds: the same ones for every seed and variant."""
    metric: str = "macro_f1"
    """What the variants are ranked and tested by."""
    language: str | None = None
    """One code, ``targets`` (null: languages that no variant trains on, or all where there are none) or ``all``."""
    reference: Name | None = None
    """The variant that the others are measured against; null: the first."""
    level: float = Field(default=0.95, gt=0.5, lt=1.0)
    """One minus the chance that any false claim is supported."""
    claims: list[StudyClaim] = Field(default_factory=list)
    """What is expected; see the keys of a claim."""
    scales: dict[Name, Scale] = Field(default_factory=dict)
    """Name -> what it changes; ``full`` changes nothing unless it is named here."""

    @model_validator(mode="after")
    def _seeds_differ(self) -> StudyRecipe:
        for seeds in (self.seeds, *(scale.seeds or [] for scale in self.scales.values())):
            if len(set(seeds)) != len(seeds):
                raise ValueError(f"seeds: one of {seeds} stands twice; a repetition is no further seed")
        return self
