"""What was measured, put between its marks in a page of the documentation."""

from __future__ import annotations

from pathlib import Path


def marks(name: str) -> tuple[str, str]:
    """The lines of a document between which the content of this name stands."""
    return f"<!-- {name}: begin -->", f"<!-- {name}: end -->"


def put_between(document: Path, name: str, content: str) -> None:
    """Puts `content` between the marks of this name in a document.

    Raises:
        ValueError: the document has no such marks.
    """
    text = document.read_text(encoding="utf-8")
    begin, end = marks(name)
    if begin not in text or end not in text:
        raise ValueError(f"{document} holds no {begin} … {end}")
    before, _, rest = text.partition(begin)
    document.write_text(f"{before}{begin}\n\n{content}\n\n{end}{rest.partition(end)[2]}", encoding="utf-8")
