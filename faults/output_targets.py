"""Where users send output, generated: files, links, pipes, devices. No file is destroyed on the way."""

from __future__ import annotations

import contextlib
import io
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from faults.answers import expect, users_mistakes
from faults.fuzz import Attempt
from glotune.errors import EXIT_USER_ERROR, UserError

OLD = "old content\n"
TARGETS = (
    "new", "existing", "link", "dangling link", "link to a link", "fifo", "device", "read-only folder", "no folder",
    "folder", "long name", "file for a folder",
)  # fmt: skip
WRITTEN = ("new", "existing", "link", "dangling link", "link to a link", "fifo", "device")


def output_targets(run: Path) -> Attempt:
    """Where output is to go: written there, whatever stands there stays what it is; or refused, and nothing changes."""

    def attempt(generator: Random, folder: Path) -> object:
        Path("texts.txt").write_text("good room\nbad food\n", encoding="utf-8")
        Path("en.csv").write_text(
            "text,label\n" + "".join(f"t {n},{'xy'[n % 2]}\n" for n in range(8)), encoding="utf-8"
        )
        kind = generator.choice(TARGETS)
        target, real, drain = _target(kind)
        if target is None:
            return None  # no such thing may be made on this machine
        command = generator.choice(
            [["predict", str(run), "texts.txt", "--device", "cpu", "--out"], ["data", "check", "en.csv", "--json"]]
        )
        before, kind_before = _state(Path()), _mode(target)
        code, told = called([*command, str(target)])
        if kind not in WRITTEN:
            _check_refused(kind, code, told, before)
            raise UserError(told)  # booked as what it is
        expect(code in (0, 3), f"{kind}: exit code {code}: {told.strip()[:120]}")
        expect(kind_before is None or kind_before == _mode(target), f"the {kind} became something else")
        content = drain() if drain else None if real is None else real.read_text(encoding="utf-8")
        if content is not None:
            lines = content.splitlines()
            whole = len(lines) == 2 if command[0] == "predict" else True
            expect(whole and bool(json.loads(lines[0] if command[0] == "predict" else content)), f"{kind}: {content!r}")
        left = [path.name for path in Path().iterdir() if path.name.startswith(".")]
        expect(not left, f"{kind}: {left} left behind")
        return content

    return users_mistakes(attempt)


def called(arguments: list[str]) -> tuple[int, str]:
    """Exit code and stderr of a command, carried out in this process."""
    from glotune.cli.main import run

    told = io.StringIO()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(told):
            run(arguments)
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else int(left.code is not None), told.getvalue()
    return 0, told.getvalue()


def _target(kind: str) -> tuple[Path | None, Path | None, Callable[[], str] | None]:
    """The target, the file where the content is to be found, and for a pipe what reads it."""
    target, real = Path("out.json"), Path("real.json")
    if kind in ("link", "link to a link", "existing"):
        (target if kind == "existing" else real).write_text(OLD, encoding="utf-8")
    if kind in ("link", "dangling link"):
        target.symlink_to(real)
    elif kind == "link to a link":
        Path("between").symlink_to(real)
        target.symlink_to("between")
    elif kind == "fifo":
        os.mkfifo(target)
        descriptor = os.open(target, os.O_RDONLY | os.O_NONBLOCK)  # open already, so that no writer waits
        return target, None, lambda: _drained(descriptor)
    elif kind == "device":
        try:
            os.mknod(target, stat.S_IFCHR | 0o666, os.makedev(1, 3))  # a null device of its own
            target.write_bytes(b"")
        except OSError:
            return None, None, None
        return target, None, None
    elif kind in ("read-only folder", "no folder", "file for a folder"):
        place = Path("place")
        if kind == "read-only folder":
            if os.geteuid() == 0:
                return None, None, None  # root may write anywhere
            place.mkdir(mode=0o555)
        elif kind == "file for a folder":
            place.write_text(OLD, encoding="utf-8")
        return place / target, None, None
    elif kind == "folder":
        target.mkdir()
    elif kind == "long name":
        return Path("x" * 300), None, None
    return target, target if kind in ("new", "existing") else real, None


def _drained(descriptor: int) -> str:
    with os.fdopen(descriptor, "rb") as pipe:
        return (pipe.read() or b"").decode()


def _check_refused(kind: str, code: int, told: str, before: dict[str, Any]) -> None:
    expect(code == EXIT_USER_ERROR, f"{kind}: exit code {code}: {told.strip()[:120]}")
    expect("Traceback" not in told and told.count("Error: ") == 1, f"{kind}: {told[-150:]!r}")
    expect(_state(Path()) == before, f"{kind}: files changed")


def _mode(path: Path) -> int | None:
    try:
        return stat.S_IFMT(path.lstat().st_mode)
    except OSError:
        return None


def _state(folder: Path) -> dict[str, Any]:
    """Every name below a folder, with the content of what is a file."""
    return {
        str(path): path.read_bytes() if path.is_file() and not path.is_symlink() else _mode(path)
        for path in folder.rglob("*")
    }
