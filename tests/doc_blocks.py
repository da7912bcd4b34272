"""The commands of the documentation: fenced blocks of a page, split into simple commands, and what each would mean."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parent.parent
FENCE = re.compile(r"^```(\w*)\s*$")
MARK = re.compile(r"^<!--\s*(not run|printed by):\s*(.+?)\s*-->$")
SEPARATORS = {"||", "&&", "|", ";", "&"}


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        page: path below the project.
        line: of its first line, from 1.
        language: after the fence.
        text: what it holds.
        not_run: why it can't run here; None: it runs.
        printed_by: the command whose output it shows.
    """

    page: str
    line: int
    language: str
    text: str
    not_run: str | None = None
    printed_by: str | None = None

    @property
    def commands(self) -> list[str]:
        """Its shell lines: continuations joined, comments dropped."""
        joined = self.text.replace("\\\n", " ")
        return [line.strip() for line in joined.splitlines() if line.strip() and not line.strip().startswith("#")]


def blocks_of(path: Path) -> Iterator[Block]:
    """The blocks of a Markdown page, in order; a marker is the comment right above the fence.

    Raises:
        ValueError: a fence that is never closed.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    place, number = str(path.relative_to(PROJECT)), 0
    while number < len(lines):
        opened = FENCE.match(lines[number])
        number += 1
        if opened is None:
            continue
        start = number
        while number < len(lines) and lines[number] != "```":
            number += 1
        if number == len(lines):
            raise ValueError(f"{place}:{start}: the block is not closed")
        mark = MARK.match(lines[start - 2].strip()) if start >= 2 else None
        marks = {} if mark is None else {mark[1].replace(" ", "_"): mark[2]}
        yield Block(place, start + 1, opened[1], "\n".join(lines[start:number]) + "\n", **marks)
        number += 1


def simple_commands(line: str) -> list[list[str]]:
    """The words of each simple command of a shell line, redirections dropped."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    skip = False
    for word in lexer:
        if skip:
            skip = False
        elif set(word) <= set("<>&") and set(word) & set("<>"):
            skip = True
        elif word in SEPARATORS:
            found.append([])
        else:
            found[-1].append(word)
    return [words for words in found if words]


def glotune_words(words: list[str]) -> list[str] | None:
    """What is given to glotune, also below a launcher of processes; None for another program."""
    if words[0] == "glotune":
        return words[1:]
    if words[0] in ("torchrun", "accelerate") and "glotune.cli.main" in words:
        return words[words.index("glotune.cli.main") + 1 :]
    return None


def refuse_unknown_flags(words: list[str]) -> dict[str, Any]:
    """The parsed arguments of a glotune command.

    Raises:
        AssertionError: no such command, an unknown option, or an argument is missing.
    """
    from typer.main import get_command

    from glotune.cli.main import COMMANDS, build_app

    assert words, "a command of glotune"
    assert words[0] in COMMANDS or words[0].startswith("-"), f"no command 'glotune {words[0]}'"
    command: Any = get_command(build_app(words[0]))
    context = None
    while getattr(command, "commands", None) and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"no command '{words[0]}'"
        command, words = command.commands[words[0]], words[1:]
    if words in (["--help"], ["-h"]):
        return {}
    try:
        context = command.make_context(command.name, list(words))
    except Exception as error:
        raise AssertionError(f"glotune {command.name} {' '.join(words)}: {error}") from error
    return dict(context.params)
