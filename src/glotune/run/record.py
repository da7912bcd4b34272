"""What all records are made of: files are the interface."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

SCHEMA = 1
"""Version of the records below; a reader refuses a newer one."""


Count = Annotated[int, Field(ge=0, lt=2**53)]
"""A number of things: few enough to be exact in double precision, in which scores and shares are computed from it."""


class Record(BaseModel):
    """Base of all records: immutable, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSource(Record):
    """One file (or hub data set) that a run read."""

    path: str
    sha256: str
    rows: Count


class Size(Record):
    """How large a classifier is."""

    parameters: Count
    bytes: Count
    """Of its files of weights."""
