"""Pipes and devices as data: ``<(zcat …)``, named FIFOs, ``/dev/stdin``. They are copied to a file before they are read.

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
from glotune.data.sources import kind_of
from glotune.errors import UserError
from glotune.recipe.schema import Sources

_HEAD = 1 << 16
"""Bytes at the beginning by which a format is told."""


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
            named = kind_of(path) or path.name.lower().endswith((".txt", ".txt.gz"))
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


def refuse_streams(named: Sources | None, key: str, purpose: str) -> None:
    """Refuses pipes where the texts are needed more than once.

    Args:
        purpose: what needs them, e.g. ``"a study"``.

    Raises:
        UserError: names the first one.
    """
    for source in _flat(named):
        if is_stream(Path(source).expanduser()):
            raise UserError(
                f"{source} is a pipe, and {purpose} reads the texts more than once",
                where=key,
                expected="files",
                remedy="Write its content to a file first",
            )


def _flat(named: Sources | None) -> list[str]:
    if isinstance(named, dict):
        return [name for inner in named.values() for name in _flat(inner)]
    return [named] if isinstance(named, str) else list(named or [])
