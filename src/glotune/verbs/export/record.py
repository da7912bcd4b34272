"""``export.json``: how an exported model is to be read, where it comes from, and how its answers compare."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, ValidationError

from glotune.data.encoding import FullVocabulary
from glotune.errors import UserError
from glotune.recipe.data_keys import Quoting
from glotune.recipe.kinds import TaskName
from glotune.recipe.schema import Columns, Windows
from glotune.run.record import Count, Record, Size
from glotune.run.records import Interval
from glotune.verbs.calibrate import Calibration

Target = Literal["safetensors", "onnx"]
Precision = Literal["fp32", "fp16", "bf16", "int8"]

NAME = "export.json"
FULL_TOKENIZER = "full_tokenizer.json.gz"


class Vocabulary(Record):
    """What a vocabulary that was cut for good holds."""

    languages: list[str]
    """Of the run's texts that it was cut to."""
    files: list[str]
    """Names of further files of texts."""
    texts: Count
    pieces: Count
    full_pieces: Count
    own_piece_share: float
    """Of these texts, those that hold a piece that none of the others holds: about as many further texts of the kind
    hold a piece that was cut."""


class Part(Record):
    """One part of the model and what it costs to hold it in 8 bits."""

    name: str
    parameters: Count
    mean_change: float
    """Mean absolute change of a probability on validation texts, this part alone in 8 bits."""
    changed: Count
    """Validation texts whose answer changes with it alone."""
    quantised: bool


class Parity(Record):
    """The run's model and its export on the texts of one split and language."""

    split: str
    language: str
    n: Count
    largest_change: float
    """Of a probability, or of a score as a share of itself where it is above 1."""
    changed: Count
    """Texts that are answered otherwise."""
    outside: Count = 0
    """Texts that hold a piece that was cut from the vocabulary; none of the numbers above leaves them out."""
    largest_change_inside: float
    """Of a probability, among the other texts."""
    before: float | None
    """The metric of the run's model, as a share."""
    after: float | None
    difference: float | None = None
    """Export minus run."""
    interval: Interval | None = None
    """Its 95 % interval, paired over the texts."""


class ExportRecord(Record):
    """``export.json``."""

    schema_version: int = 1
    target: Target
    precision: Precision
    run: str
    """Name of the run."""
    recipe_hash: str
    created: str
    versions: dict[str, str] = Field(default_factory=dict)
    task: TaskName = "single_label"
    metric: str = "macro_f1"
    """That `parity` tells of: the one that runs of this task are ranked by."""
    labels: list[str]
    max_length: Count
    truncation: Literal["head", "head_tail"]
    windows: Windows | None = None
    pairs: bool
    """Whether it reads pairs of texts."""
    columns: Columns
    quoting: Quoting
    needs_code: bool = False
    """Whether transformers opens an export as safetensors under ``trust_remote_code=True`` alone."""
    calibration: Calibration | None = None
    """What ``glotune calibrate`` had fitted for the run."""
    before: Size
    after: Size
    vocabulary: Vocabulary | None = None
    parts: list[Part] = Field(default_factory=list)
    """Of an int8 export."""
    validation_loss: float | None = None
    """What an int8 export loses of the metric, times 100, on the validation texts it was fitted to."""
    parity: list[Parity] = Field(default_factory=list)
    files: dict[str, str] = Field(default_factory=dict)
    """Name -> SHA-256 of every other file."""


def read_export(folder: Path) -> ExportRecord | None:
    """The record of an export; None for a folder that is none.

    Raises:
        UserError: it can't be read.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        return ExportRecord.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise UserError(
            f"{path} can't be read ({str(error).splitlines()[0]})",
            expected="the record that glotune export wrote",
            remedy="Export the run again",
        ) from error


def write_full_tokenizer(folder: Path, backend: Any) -> None:
    """Keeps the tokenizer that a smaller one was cut from beside it."""
    (folder / FULL_TOKENIZER).write_bytes(gzip.compress(backend.to_str().encode(), compresslevel=6, mtime=0))


def read_full_vocabulary(folder: Path, small: Any) -> FullVocabulary | None:
    """The full tokenizer of an export whose vocabulary was cut, and where its pieces went.

    Args:
        small: the ``tokenizers.Tokenizer`` of the export.

    Raises:
        UserError: it can't be read.
    """
    from tokenizers import Tokenizer

    path = folder / FULL_TOKENIZER
    if not path.is_file():
        return None
    try:
        full = Tokenizer.from_str(gzip.decompress(path.read_bytes()).decode())
    except Exception as error:  # the library raises plain Exception
        raise UserError(f"{path} can't be read ({str(error)[:100]})", remedy="Export the run again") from error
    places = np.full(max(full.get_vocab().values()) + 1, -1, np.int64)
    here = small.get_vocab()
    for piece, index in full.get_vocab().items():
        if piece in here:
            places[index] = here[piece]
    return FullVocabulary(full, places)
