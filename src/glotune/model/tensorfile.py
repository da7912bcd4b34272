"""safetensors files read by mapping and written in a stream: never a second copy of a model in memory.

The format (https://github.com/huggingface/safetensors): 8 bytes of header length, a JSON header, raw little-endian
tensors.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAX_HEADER = 100_000_000


@dataclass(frozen=True)
class Entry:
    """A float32 tensor to be written: its shape, and where its values come from when its turn has come."""

    shape: tuple[int, ...]
    chunks: Callable[[], Iterable[NDArray[np.float32]]]


def write_tensors(path: Path, entries: Mapping[str, Entry]) -> int:
    """Writes and syncs a safetensors file, one chunk in memory at a time.

    Returns:
        Bytes written.

    Raises:
        ValueError: an entry gave another number of values than its shape has.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, entry in entries.items():
        size = 4 * int(np.prod(entry.shape, dtype=np.int64))
        header[name] = {"dtype": "F32", "shape": list(entry.shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for name, entry in entries.items():
            begin = file.tell()
            for chunk in entry.chunks():
                file.write(np.ascontiguousarray(chunk, dtype="<f4").data)
            first, last = header[name]["data_offsets"]
            if file.tell() - begin != last - first:
                raise ValueError(f"{name} gave {file.tell() - begin} bytes, its shape has {last - first}")
        file.flush()
        os.fsync(file.fileno())
        return file.tell()


def map_matrix(source: str | Path, suffix: str, shape: tuple[int, ...]) -> NDArray[np.float32] | None:
    """Maps a float32 tensor of a saved model, found by the end of its name and its shape.

    Args:
        source: a folder, or a Hub name whose files are in the local cache.

    Returns:
        A read-only map that stays valid when the file is replaced; None where there is no such tensor.
    """
    for path in _files(source):
        header, begin = _header(path)
        for name, entry in header.items():
            fits = name != "__metadata__" and name.endswith(suffix) and tuple(entry["shape"]) == tuple(shape)
            if fits and entry["dtype"] == "F32":
                return np.memmap(path, dtype="<f4", mode="r", offset=begin + entry["data_offsets"][0], shape=shape)
    return None


def release(matrix: NDArray[np.float32]) -> None:
    """Lets go of the pages of a mapped matrix that were read; the next access reads them again."""
    mapped = getattr(matrix, "_mmap", None)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def _files(source: str | Path) -> list[Path]:
    folder = Path(source)
    if folder.is_dir():
        return sorted(folder.glob("*.safetensors"))
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(str(source), "model.safetensors")
    return [Path(found)] if isinstance(found, str) else []


def _header(path: Path) -> tuple[dict[str, Any], int]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length < _MAX_HEADER:
            return {}, 0
        header: dict[str, Any] = json.loads(file.read(length))
        return header, 8 + length
