"""The rows of the quickstart's embedding matrix, and those that its texts use."""

from __future__ import annotations

import json

import numpy as np

from documentation.svg import BLUE, FAINT, MUTED, Drawing
from documentation.toy_tokens import toy_tokens
from glotune.nano import nano_path

PER_CELL, COLUMNS, CELL = 20, 50, 9.0
TINTS = (FAINT, "#b3d4e8", "#66aad1", BLUE)
"""No row of a cell used; up to a third; up to two thirds; more."""


def vocabulary() -> Drawing:
    """The full matrix as cells of some rows each, tinted by how many are used; beside it the trimmed one."""
    config = json.loads((nano_path() / "config.json").read_text(encoding="utf-8"))
    full, width = config["vocab_size"], config["hidden_size"]
    used = toy_tokens().used_ids
    drawing = Drawing(760, 230, f"{len(used):,} of {full:,} embedding rows are used by the quickstart's texts")
    counts = np.bincount(used // PER_CELL, minlength=-(-full // PER_CELL))
    bottom = _matrix(drawing, 24, 44, np.ceil(3 * counts / PER_CELL).astype(int))
    cells = -(-len(used) // PER_CELL)
    _matrix(drawing, 530, 44, np.full(cells, 3), columns=20)
    drawing.words(24, 26, f"The encoder's matrix: {full:,} rows of {width}", bold=True)
    drawing.words(530, 26, f"While training: {len(used):,} rows", bold=True)
    drawing.words(
        24, bottom + 20, f"One cell is {PER_CELL} rows; the darker, the more of them occur.", size=12, colour=MUTED
    )
    millions = (full - len(used)) * width / 1e6
    words = f"{millions:.1f} M weights fewer are held; all {full:,} rows are in the saved model."
    drawing.words(24, bottom + 40, words, size=12, colour=MUTED)
    drawing.height = bottom + 60
    return drawing


def _matrix(drawing: Drawing, left: float, top: float, tints: np.ndarray, columns: int = COLUMNS) -> float:
    for tint, colour in enumerate(TINTS):
        places = np.flatnonzero(tints == tint)
        corners = [(left + CELL * int(place % columns), top + CELL * int(place // columns)) for place in places]
        if corners:
            drawing.cells(corners, CELL - 1, CELL - 1, colour)
    return top + CELL * -(-len(tints) // columns)
