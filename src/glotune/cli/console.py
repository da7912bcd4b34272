"""The two streams of the command line: results on stdout, everything said about them on stderr."""

from __future__ import annotations

import os

from rich.console import Console

PLAIN_WIDTH = 120
"""Columns of a table that is not written to a terminal."""


def _console(stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False, markup=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PLAIN_WIDTH
    return console


out = _console(stderr=False)
err = _console(stderr=True)


def say(message: str) -> None:
    """One line for people on stderr, printed as it is: no markup, no wrapping."""
    err.print(message, markup=False, soft_wrap=True)


def show(text: str) -> None:
    """Text on stdout, printed as it is."""
    out.print(text, markup=False, soft_wrap=True)
