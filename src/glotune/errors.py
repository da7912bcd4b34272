"""The errors that a user can cause, written so that the user can mend them."""

from __future__ import annotations

import copyreg
import difflib
import unicodedata
from collections.abc import Iterable
from typing import Any

EXIT_OK = 0
EXIT_FAILURE = 1
"""Something went wrong that the user did not cause: a fault of the machine or of glotune."""
EXIT_USER_ERROR = 2
"""The user's mistake: a wrong recipe, file, key or value. Nothing was left behind."""
EXIT_INTERRUPTED = 130


class GlotuneError(Exception):
    """Base of every error that glotune raises on purpose; the message is one paragraph.

    What it quotes comes from files: characters that would command a terminal are shown as escapes.
    """

    exit_code = EXIT_FAILURE

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as it stands: a worker's error reaches whoever asked, whatever its class takes to be made."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class UserError(GlotuneError, ValueError):
    """A mistake in what the user gave, with what would mend it. A ValueError too, as other libraries expect.

    Args:
        found: what was found, e.g. ``"column 'lable' in en.csv"``.
        expected: what would have been right.
        remedy: what to do next; None where `expected` already says it.
        where: the file, row or recipe key, put in front.
    """

    exit_code = EXIT_USER_ERROR

    def __init__(
        self, found: str, *, expected: str | None = None, remedy: str | None = None, where: str | None = None
    ) -> None:
        self.found, self.expected, self.remedy, self.where = found, expected, remedy, where
        parts = [f"{where}: {found}" if where else found]
        if expected:
            parts.append(f"Expected {expected}")
        if remedy:
            parts.append(remedy)
        super().__init__(" ".join(_sentence(part) for part in parts))

    def with_words(self, old: str, new: str) -> UserError:
        """The same error with `new` wherever it says `old`."""
        found, expected, remedy, where = (
            part and part.replace(old, new) for part in (self.found, self.expected, self.remedy, self.where)
        )
        return UserError(found or "", expected=expected, remedy=remedy, where=where)


class RunError(GlotuneError):
    """A run that can't go on: the reason is recorded in its manifest."""


class InterruptedRun(GlotuneError):
    """A run that was asked to stop and did so cleanly; it can be resumed."""

    exit_code = EXIT_INTERRUPTED


class MissingExtra(UserError):
    """An optional part is not installed; the message holds its install line."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed",
            remedy=f"Install it with: pip install 'glotune[{extra}]'",
        )


def printable(text: str) -> str:
    """The text with control characters, lone surrogates, line separators and bidirectional overrides as escapes."""
    return "".join(
        character if character in "\n\t" or not _commands(character) else ascii(character)[1:-1] for character in text
    )


def _commands(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in _BIDIRECTIONAL


_BIDIRECTIONAL = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name closest to `name`, or None where nothing is close."""
    candidates = list(known)
    folded = {candidate.casefold(): candidate for candidate in reversed(candidates)}
    matches = difflib.get_close_matches(name.casefold(), list(folded), n=1, cutoff=0.6)
    return folded[matches[0]] if matches else None


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """``"Did you mean 'label'?"``, or None where nothing is close."""
    match = nearest(name, known)
    return f"Did you mean '{match}'?" if match else None


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "?", "!")) else text + "."
