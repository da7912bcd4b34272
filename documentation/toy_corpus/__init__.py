"""How the toy corpus of the quickstart is written: its words in 17 languages, and what makes sentences of them."""

from __future__ import annotations

from pathlib import Path

WORDS = Path(__file__).parent / "words"
"""The plan of meanings, and one file per language that says them."""
CORPUS = Path(__file__).parents[2] / "src" / "glotune" / "corpora" / "quickstart"
"""Where the corpus lies: ``<language>.csv`` with the columns text, label, language, split."""
