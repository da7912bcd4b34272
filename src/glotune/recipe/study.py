"""The schema of a study: a base recipe, what is varied, the seeds, and what is expected of the result."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from glotune.recipe.schema import Section
from glotune.recipe.search import Budget, Search

PLAIN, WINNER = "plain", "winner"
"""The variants of a study that searches."""
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
    """A hypothesis of the study; the report answers it: supported, refuted or inconclusive."""

    name: str = Field(min_length=1)
    """The hypothesis as a sentence."""
    form: Literal["superior", "non_inferior", "interaction"]
    """superior: better by more than the margin; non_inferior: worse by at most the margin; interaction: one gain above
    another by more than the margin."""
    variants: list[Name] = Field(min_length=2, max_length=4)
    """[candidate, reference]; for an interaction [a, b, c, d]: a over b by more than c over d."""
    metric: str = "macro_f1"
    """Any metric of the study's tables: a score, a time, a speed, a size."""
    margin: float | None = Field(default=None, ge=0.0)
    """For a score a difference in raw units (0.02 is 2 points); for times, speeds and sizes a factor of at least 1."""
    language: str | None = None
    """As the study's ``language``, for this claim."""

    @model_validator(mode="after")
    def _variants_fit_form(self) -> StudyClaim:
        wanted = 4 if self.form == "interaction" else 2
        if len(self.variants) != wanted:
            raise ValueError(f"{self.form} compares {wanted} variants, found {len(self.variants)}")
        better, worse = self.variants[:1] + self.variants[3:], self.variants[1:3]
        if sorted(better) == sorted(worse):
            raise ValueError(f"{', '.join(self.variants)}: {self.form} compares something with itself here")
        return self


class Scale(Section):
    """A scale of a study, e.g. a smaller encoder, fewer rows, fewer epochs."""

    description: str = ""
    """What this scale is for."""
    keys: Keys = Field(default_factory=dict)
    """Recipe keys that override the study's ``keys``."""
    data: Keys = Field(default_factory=dict)
    """The ``data`` section, where no ``data.train`` is given on the command line."""
    variants: dict[Name, Keys] = Field(default_factory=dict)
    """Recipe keys that override those of single variants."""
    seeds: Seeds | None = None
    """Instead of the study's."""
    folds: int | None = Field(default=None, ge=2)
    """Instead of the study's."""
    budget: Budget | None = None
    """Instead of the search's."""


class StudyRecipe(Section):
    """One study: every variant is trained with every seed, and on every fold where there are folds."""

    name: Name
    """Name of the study and of its folder."""
    title: str = ""
    """Title of the report."""
    description: str = ""
    """First lines of the report."""
    recipe: str | Keys
    """The base: a built-in recipe, a YAML file, or the keys of a recipe themselves."""
    keys: Keys = Field(default_factory=dict)
    """Recipe keys that override the base recipe, for all variants."""
    variants: dict[Name, Keys] = Field(default={"base": {}}, min_length=1)
    """Name -> recipe keys of the variant."""
    search: Search | None = None
    """In the place of variants and grid: the best recipe of a space, against the recipe as it is."""
    grid: dict[str, list[Any] | dict[Name, Keys]] = Field(default_factory=dict)
    """Each axis is crossed with all variants: a recipe key with a list of values, or a name with levels of keys."""
    seeds: Seeds = Field(default=[0, 1, 2])
    """A list, or a number of seeds counted from 0."""
    folds: int | None = Field(default=None, ge=2)
    """k of k-fold cross-validation: stratified, exact duplicates on one side, out-of-fold predictions kept."""
    fold_seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of the folds, which are the same for every seed and variant."""
    metric: str = "macro_f1"
    """Metric by which the variants are ranked and tested."""
    language: str | None = None
    """One code, ``targets`` (null: languages that no variant trains on, or all where there are none) or ``all``."""
    reference: Name | None = None
    """The variant that the others are compared with; null: the first."""
    level: float = Field(default=0.95, gt=0.5, lt=1.0)
    """Confidence level: one minus the probability that any false claim is supported."""
    claims: list[StudyClaim] = Field(default_factory=list)
    """Hypotheses; see the keys of a claim."""
    scales: dict[Name, Scale] = Field(default_factory=dict)
    """Name -> the changes; ``full`` changes nothing unless it is named here."""

    @model_validator(mode="after")
    def _a_search_makes_the_variants(self) -> StudyRecipe:
        if self.search is None:
            if named := [name for name, scale in self.scales.items() if scale.budget is not None]:
                raise ValueError(f"scales.{named[0]}.budget is a search's, and this study has no search")
            return self
        by_scale = any(each.variants for each in self.scales.values())
        if self.grid or by_scale or self.variants not in ({"base": {}}, {PLAIN: {}}):
            raise ValueError(
                f"a search has two variants, {PLAIN} (the recipe as it is) and {WINNER} (what it finds): no variants "
                "or grid beside it. What all trials share stands under keys"
            )
        if self.folds is not None or any(scale.folds is not None for scale in self.scales.values()):
            raise ValueError("a search is judged on validation texts and its winner on test texts: no folds beside it")
        return self

    @model_validator(mode="after")
    def _seeds_differ(self) -> StudyRecipe:
        for seeds in (self.seeds, *(scale.seeds or [] for scale in self.scales.values())):
            if len(set(seeds)) != len(seeds):
                raise ValueError(f"seeds: one of {seeds} stands twice; a repetition is no further seed")
        return self
