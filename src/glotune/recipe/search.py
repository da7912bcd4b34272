"""The section `search` of a study: which keys are searched, for how long, and by what a trial is judged."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from glotune.recipe.section import Section

FIRST_RUNG, FACTOR = 1, 3
"""Successive halving looks after epochs 1, 3, 9, ...; each time the best third goes on."""


class Dimension(Section):
    """The values of one key: a range of numbers (low, high), or choices."""

    low: float | None = None
    """The least value of a range; whole numbers are drawn where the recipe's key is a whole number."""
    high: float | None = None
    """The largest value of a range; it may be drawn too."""
    log: bool = False
    """Draw the logarithm evenly: for rates, whose orders of magnitude count."""
    step: float | None = Field(default=None, gt=0.0)
    """Distance between the values of a range; null: any value."""
    choices: list[Any] | None = None
    """Values of the recipe's key, null and whole sections among them; a plain list is short for it."""

    @model_validator(mode="before")
    @classmethod
    def _listed(cls, given: Any) -> Any:
        return {"choices": given} if isinstance(given, list) else given

    @model_validator(mode="after")
    def _more_than_a_point(self) -> Dimension:
        if self.choices is not None:
            if {"low", "high", "log", "step"} & {name for name in self.model_fields_set if getattr(self, name)}:
                raise ValueError("choices stand alone: no low, high, log or step beside them")
            if len(self.choices) < 2:
                raise ValueError("a space of one point: give two choices or more, or set the key under `keys`")
            return self
        low, high = self.low, self.high
        if low is None or high is None:
            raise ValueError("give low and high, or choices")
        if low >= high:
            what = "a space of one point" if low == high else "an empty space"
            raise ValueError(f"low {low:g} and high {high:g} make {what}: low lies below high")
        if self.log and low <= 0:
            raise ValueError(f"log needs low above 0, found {low:g}")
        if self.log and self.step is not None:
            raise ValueError("log and step are two ways to draw a value: take one of them")
        if self.step is not None and low + self.step > high:
            raise ValueError(f"step {self.step:g} leaves a space of one point between {low:g} and {high:g}")
        return self


class Budget(Section):
    """How much is searched; with both, whatever ends first."""

    runs: int | None = Field(default=None, ge=1, le=9999)
    """Number of trials."""
    minutes: float | None = Field(default=None, gt=0.0)
    """No trial begins after so many minutes of search, over all sessions; those under way are finished."""

    @model_validator(mode="after")
    def _some_end(self) -> Budget:
        if self.runs is None and self.minutes is None:
            raise ValueError("the budget has no end: give runs, e.g. {runs: 20}, or minutes, e.g. {minutes: 60}")
        return self


class Search(Section):
    """A search over recipe keys. The best trial by validation is trained again with the study's seeds, which the search
    never used, beside the recipe as it was: the variants ``winner`` and ``plain``."""

    space: dict[str, Dimension] = Field(min_length=1)
    """{recipe key: {low, high, log, step} or {choices: [...]}}. Keys that depend on each other are joined in one:
    ``model.freeze: {choices: [{embeddings: false}, {embeddings: true, layers: 6}]}``."""
    budget: Budget
    """{runs: 20}, {minutes: 60} or both."""
    sampler: Literal["tpe", "random"] = "tpe"
    """tpe: tree-structured Parzen estimator (Bergstra et al. 2011, NeurIPS), values like those of the best trials
    so far first; random: drawn evenly."""
    pruning: Literal["asha", "none"] = "asha"
    """asha: asynchronous successive halving (Li et al. 2020, arXiv:1810.05934): after epochs 1, 3, 9, ... only trials
    that are among the best third there go on; none: every trial is trained to its end."""
    on: Literal["source", "target"] = "source"
    """Validation texts that judge a trial: of the source languages, or of the target languages (an oracle, marked as
    such in every output). The metric is the recipe's ``evaluate.metric``, at the checkpoint that it chooses."""
    seed: int = Field(default=1000, ge=0, lt=2**32)
    """Seed of every trial, and of the sampler; none of the study's ``seeds``, with which the winner is trained."""
