"""The reference page of the command line: every command, argument and option, from typer's own description."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

PLACE = "reference/commands.md"

HEAD = """
# Commands

Every command with its arguments and options, made from the commands themselves. `glotune COMMAND --help` prints the
same. Exit codes: 0 done, 1 a fault of glotune or the machine, 2 a mistake in what was given, 130 interrupted.
`glotune COMMAND --debug` shows the whole traceback of an error.
"""


def text() -> str:
    """The page as Markdown, one section for each panel of ``glotune --help``."""
    from typer.main import get_command

    from glotune.cli.main import COMMANDS, build_app

    known: Mapping[str, Any] = get_command(build_app()).commands  # type: ignore[attr-defined]
    panels: dict[str, list[str]] = {}
    for name, (_, panel) in COMMANDS.items():
        panels.setdefault(panel, []).extend(_commands(name, known[name]) if name in known else [])
    parts = [f"## {panel}\n\n" + "\n\n".join(sections) for panel, sections in panels.items()]
    return HEAD.strip() + "\n\n" + "\n\n".join(parts) + "\n"


def _commands(name: str, command: Any) -> Iterator[str]:
    """A section for a command; for a family of verbs one for each verb."""
    verbs = getattr(command, "commands", None)
    if verbs is None:
        yield _section(name, command)
        return
    for verb, inner in verbs.items():
        yield _section(f"{name} {verb}", inner)


def _section(name: str, command: Any) -> str:
    hints = get_type_hints(inspect.unwrap(command.callback))
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option" and each.name != "help"]
    usage = " ".join(["glotune", name, *(["[OPTIONS]"] if options else []), *(_shown(each) for each in arguments)])
    paragraphs = [" ".join(part.split()) for part in (command.help or "").split("\n\n")]
    parts = [f"### glotune {name}", *paragraphs, f"```text\n{usage}\n```"]
    if arguments:
        parts.append(_rows("argument", [(_shown(each), each, hints[each.name]) for each in arguments]))
    if options:
        parts.append(_rows("option", [(_flags(each), each, hints[each.name]) for each in options]))
    return "\n\n".join(parts)


def _rows(kind: str, rows: list[tuple[str, Any, Any]]) -> str:
    lines = [f"| {kind} | value | meaning |", "| --- | --- | --- |"]
    for shown, parameter, hint in rows:
        meaning = " ".join((parameter.help or "").split()).replace("|", "\\|")
        lines.append(
            f"| `{shown}` | {_value(parameter, hint)} | {meaning}{_default(parameter)} |".replace("|  |", "| |")
        )
    return "\n".join(lines)


def _shown(argument: Any) -> str:
    """An argument as it stands in the usage line: brackets where it may be left out."""
    bare: str = (argument.metavar or argument.name.upper()).strip("[].")
    word = bare.replace("|", " or ") if "|" in bare else bare
    shown = word if argument.required else f"[{word}]"
    return f"{shown}..." if argument.nargs == -1 else shown


def _flags(option: Any) -> str:
    return ", ".join([*option.opts, *option.secondary_opts])


def _value(parameter: Any, hint: Any) -> str:
    """What may be given: the choices, or the type; nothing for a switch."""
    for kind in (hint, *get_args(hint)):
        if get_origin(kind) is Literal:
            return ", ".join(f"`{choice}`" for choice in get_args(kind))
    kinds = [kind for kind in (hint, *get_args(hint)) if isinstance(kind, type) and kind is not type(None)]
    names = {"str": "text", "Path": "path", "int": "whole number", "float": "number", "bool": ""}
    return next((names[kind.__name__] for kind in kinds if kind.__name__ in names), "text")


def _default(parameter: Any) -> str:
    if parameter.param_type_name == "argument" and parameter.required:
        return ""
    if getattr(parameter, "required", False):
        return " **Required.**"
    value = parameter.default
    unsaid = value is None or value is False or value in ("", [], ())
    return "" if unsaid or callable(value) else f" Default: `{value}`."
