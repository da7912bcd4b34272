"""Long documents in windows, beside the same documents cut after their first window."""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.tasks.annotators import small
from benchmarks.tasks.emotions import rows_of, write_rows
from benchmarks.tasks.parts import Part, World

METRICS = ("accuracy", "macro_f1")
LANGUAGES = ("de", "el")
WORDS = 40
"""Documents of at least so many: from about one window of 64 tokens on, up to forty."""
WINDOWS = {"windows": "mean", "cut": "first"}
"""How the logits of a text's windows become one; those of its first window alone are truncation."""


def documents(language: str, pool: str, world: World) -> dict[str, Any]:
    """Sentiment of long documents; all else equal, all windows or the first."""
    rows = [row for row in rows_of(world.file("typology_binary", language)) if len(row["text"].split()) >= WORDS]
    file = write_rows(world.work / "data" / f"long-{language}.csv", rows)
    data = {
        "train": {language: file}, "train_rows": 900, "max_length": 64,
        "windows": {"stride": 16, "most": 6, "pool": pool},
    }  # fmt: skip
    return small(world, "single_label", data)


PARTS = tuple(
    Part(f"long-texts/{language}-{name}", partial(documents, language, pool), METRICS)
    for language in LANGUAGES
    for name, pool in WINDOWS.items()
)
