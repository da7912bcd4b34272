"""Pipes and devices as data: ``<(zcat …)``, named FIFOs, ``/dev/stdin``; copied to a file before they are read.

Readers open a file more than once (for its hash, its rows, the place of a fault), and Parquet is read from its end.
"""

from __future__ import annotations

import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from glotune.data.opening import is_stream, reading
from glotune.data.sources import is_line_file, kind_of
from glotune.data.texts import SPLITS
from glotune.errors import UserError
from glotune.recipe.data_keys import Sources
from glotune.recipe.paths import place_of
from glotune.recipe.schema import Data

_HEAD = 1 << 16
"""First bytes of a file, by which its format is recognised."""
_DESCRIPTORS = (Path("/dev/fd"), Path("/proc/self/fd"))
"""Where a shell's ``<(…)`` lies: gone once the command is over."""


@contextmanager
def on_disk(path: Path, shown: str) -> Iterator[Path]:
    """The file itself; of a stream a temporary copy, whose name ends as the stream's does, or as its content asks.

    Raises:
        UserError: the stream can't be read, or there is no room for the copy.
    """
    if not is_stream(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="glotune-") as folder:
        copy = Path(folder) / "stream"
        with reading(path, shown):
            with path.open("rb") as source, copy.open("wb") as target:
                shutil.copyfileobj(source, target)
            named = kind_of(path) or is_line_file(path.name)
            copy = copy.rename(f"{copy}{''.join(path.suffixes[-2:]) if named else _ending(copy)}")
        yield copy


def _ending(path: Path) -> str:
    """The ending that the content asks for: Parquet, JSON lines, tabs in the first line, else commas; and ``.gz``."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    packed = head.startswith(b"\x1f\x8b")
    if packed:
        head = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, _HEAD)
    if head.startswith(b"PAR1"):
        return ".parquet"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    ending = ".jsonl" if text[:1] in (b"{", b"[") else ".tsv" if b"\t" in text.partition(b"\n")[0] else ".csv"
    return ending + ".gz" * packed


def refuse_streams(data: Data, purpose: str) -> None:
    """Refuses pipes as the texts of a recipe where they are read again, or in another process.

    Args:
        purpose: what reads them, e.g. ``"a study"``.

    Raises:
        UserError: names the first one.
    """
    for split in SPLITS:
        refuse_stream_names(getattr(data, split), f"data.{split}", purpose)


def refuse_stream_names(named: Sources | None, key: str, purpose: str) -> None:
    """As `refuse_streams`, for what one key names."""
    for name in _flat(named):
        path = place_of(name)
        if is_stream(path) or path.parent in _DESCRIPTORS:
            raise UserError(
                f"{name} is a pipe, which {purpose} can't read",
                where=key,
                expected="files: a pipe is read once, and by one process",
                remedy="Write its content to a file, and name that",
            )


def _flat(named: Sources | None) -> list[str]:
    if isinstance(named, dict):
        return [name for inner in named.values() for name in _flat(inner)]
    return [named] if isinstance(named, str) else list(named or [])
