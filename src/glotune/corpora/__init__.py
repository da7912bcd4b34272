"""Corpora that come with the package, so that the first run needs neither a network nor a download."""

from __future__ import annotations

from pathlib import Path


def quickstart_path() -> Path:
    """The folder of the quickstart corpus: ``<language>.csv`` with the columns text, label, language, split.

    Every language has a test split that says the same, row by row; only English has train and validation.
    The folder's README says how it was made and why its figures are those of a toy.
    """
    return Path(__file__).parent / "quickstart"
