"""What every section of a recipe is, and the kinds of value that several share."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from glotune.recipe.values import settled

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Share = Annotated[float, Field(gt=0.0, le=1.0)]
Rate = Annotated[float, Field(gt=0.0, le=1.0)]


class Section(BaseModel):
    """Base of all recipe sections: immutable, unknown keys refused, values not coerced from strings.

    Where a string is wanted, a scalar's own characters count: ``00``, ``1.10`` and ``True`` stay what they are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _settle(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        fields = cls.model_fields
        return {key: settled(value, fields[key].annotation) if key in fields else value for key, value in given.items()}


def _on_or_off(value: Any) -> Any:
    """YAML 1.1 habits: true and false mean on and off here."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


OnOff = Annotated[Literal["on", "off"], BeforeValidator(_on_or_off)]
AutoAllOrOff = Annotated[Literal["auto", "all", "off"], BeforeValidator(_on_or_off)]


def as_list(value: Any) -> Any:
    """One name as a list of one."""
    return [value] if isinstance(value, str) else value


Names = Annotated[list[str], BeforeValidator(as_list)]
