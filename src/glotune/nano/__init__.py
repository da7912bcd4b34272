"""glotune-nano, the embedded encoder: where its files lie. Imports nothing heavy.

A small teaching and testing encoder (MODEL_CARD.md beside the weights says how small); `model.name: glotune-nano`.
"""

from __future__ import annotations

from pathlib import Path

NAME = "glotune-nano"


def nano_path() -> Path:
    """The folder of the encoder, in Hugging Face layout: works as `model.name` and with `from_pretrained`."""
    return Path(__file__).parent / "model"
