"""Opens plain and gzipped files, and turns what goes wrong with their bytes into errors that name the place."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from glotune.errors import UserError
from glotune.whole_files import sha256


def open_bytes(path: Path) -> IO[bytes]:
    """The content as bytes, unpacked where the name ends in ``.gz`` or ``.GZ``."""
    return cast("IO[bytes]", gzip.open(path, "rb")) if path.suffix.lower() == ".gz" else path.open("rb")


def is_stream(path: Path) -> bool:
    """Whether this is a pipe or device: it can be read once only, and its name may say no format."""
    return path.exists() and not path.is_dir() and (not path.is_file() or path.parts[1:2] in (("dev",), ("proc",)))


@contextmanager
def reading(path: Path, shown: str) -> Iterator[None]:
    """Turns the operating system's and gzip's complaints into a UserError that names the file."""
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(
            f"{shown} can't be unpacked ({error})",
            expected="a whole gzip file",
            remedy="Pack or download it again, or drop .gz from its name if it is not packed",
        ) from error
    except OSError as error:
        raise UserError(
            f"{shown} can't be read ({error.strerror or error})", expected="a file that you may read"
        ) from error


def sha256_of(path: Path, shown: str) -> str:
    """SHA-256 of the file as it lies on disk."""
    with reading(path, shown):
        return sha256(path)


def first_bad_byte(path: Path, shown: str) -> tuple[int, int]:
    """Offset and value of the first byte that is not UTF-8; raises ValueError where all of them are."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    done = 0
    with reading(path, shown), open_bytes(path) as file:
        while True:
            block = file.read(1 << 20)
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                return done - pending + error.start, error.object[error.start]
            if not block:
                raise ValueError(f"{shown} is UTF-8")
            done += len(block)


def decoded_lines(file: IO[bytes], shown: str) -> Iterator[str]:
    """The lines of an open file without their ends, nor the byte order mark of the first one.

    Raises:
        UserError: a byte that is not UTF-8.
    """
    offset = 0
    for row, line in enumerate(file, 1):
        try:
            text = line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise not_utf8(shown, row, offset + error.start, line[error.start]) from error
        yield text.removeprefix("\ufeff") if row == 1 else text
        offset += len(line)


def not_utf8(shown: str, row: int, offset: int, value: int) -> UserError:
    """The error for a byte that is not UTF-8. `row` 0 is the header."""
    where = f"{shown}, row {row}" if row else f"{shown}, header"
    utf16 = offset <= 1 and value in (0xFF, 0xFE)
    return UserError(
        f"byte {offset} (0x{value:02X}) is not UTF-8" + ("; this looks like UTF-16" if utf16 else ""),
        where=where,
        expected="a file in UTF-8",
        remedy=f"Convert it, e.g. iconv -f {'UTF-16' if utf16 else 'LATIN1'} -t UTF-8",
    )
