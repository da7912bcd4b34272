"""``python -m documentation``: draws the pictures of docs/pictures again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from documentation.picture_claims import claims
from documentation.picture_collapse import collapse
from documentation.picture_packing import packing
from documentation.picture_prefix import prefix
from documentation.picture_vocabulary import vocabulary
from documentation.svg import Drawing

FOLDER = Path(__file__).parent.parent / "docs" / "pictures"
PICTURES: dict[str, Callable[[], Drawing]] = {
    draw.__name__: draw for draw in (packing, vocabulary, prefix, collapse, claims)
}
"""File name without its ending -> what draws it."""


def main(folder: Path = FOLDER) -> None:
    """Draws every picture."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in PICTURES.items():
        (folder / f"{name}.svg").write_text(str(draw()), encoding="utf-8")


if __name__ == "__main__":
    main()
