"""Which layers the quickstart computes in which epoch, without and with the cache of its frozen prefix."""

from __future__ import annotations

import json

from documentation.svg import BLUE, FAINT, INK, MUTED, ORANGE, Drawing
from glotune.nano import nano_path
from glotune.recipe import Recipe, load_recipe

COLUMN, ROW = 24.0, 24.0


def prefix() -> Drawing:
    """Two grids of layers by epochs, from the recipe and the encoder's configuration."""
    recipe = load_recipe("quickstart")
    config = json.loads((nano_path() / "config.json").read_text(encoding="utf-8"))
    layers = recipe.model.layers or config["num_hidden_layers"]
    frozen = recipe.model.freeze.layers
    drawing = Drawing(
        760, 60 + ROW * (layers + 2) + 42, f"{frozen} of {layers} layers computed once instead of every epoch"
    )
    for left, cached in ((110.0, False), (460.0, True)):
        _grid(drawing, left, layers, recipe, cached=cached)
    for row, name in enumerate(_names(layers)):
        drawing.words(100, 62 + ROW * row, name, size=12, anchor="end")
    bottom = 60 + ROW * (layers + 1) + 36
    _legend(drawing, bottom)
    return drawing


def _names(layers: int) -> list[str]:
    return [*(f"layer {layer}" for layer in range(layers, 0, -1)), "embeddings"]


def _grid(drawing: Drawing, left: float, layers: int, recipe: Recipe, *, cached: bool) -> None:
    frozen, epochs = recipe.model.freeze.layers, recipe.train.epochs
    title = "speed.prefix_cache: auto" if cached else "speed.prefix_cache: off"
    drawing.words(left, 24, title, bold=True)
    for column in range(-1, epochs):
        if column == -1 and not cached:
            continue
        for row in range(layers + 1):
            layer = layers - row  # 0: the embeddings
            x, y = left + COLUMN * (column + 1), 46 + ROW * row
            if layer > frozen:
                if column >= 0:
                    # The last layer's feed-forward runs for the pooled token alone: drawn as a thin bar.
                    height = 7 if layer == layers and recipe.speed.pooled_last_layer else ROW - 3
                    drawing.rect(x, y + ROW - 3 - height, COLUMN - 3, height, BLUE)
            else:
                computed = column == -1 if cached else True
                drawing.rect(x, y, COLUMN - 3, ROW - 3, ORANGE if computed else FAINT)
        name = "fill" if column == -1 else str(column + 1)
        x = left + COLUMN * (column + 1) + (COLUMN - 3) / 2
        drawing.words(x, 46 + ROW * (layers + 1) + 14, name, size=11, colour=MUTED, anchor="middle")


def _legend(drawing: Drawing, y: float) -> None:
    marks = ((BLUE, "trained"), (ORANGE, "frozen, computed"), (FAINT, "frozen, read from disk"))
    x = 110.0
    for colour, words in marks:
        drawing.rect(x, y, 12, 12, colour)
        drawing.words(x + 18, y + 11, words, size=12, colour=INK)
        x += 40 + 7.2 * len(words)
    drawing.words(x, y + 11, "columns: epochs", size=12, colour=MUTED)
