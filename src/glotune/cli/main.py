"""`glotune`: parses, calls, prints. Commands are imported when asked for, and nothing here imports torch."""

from __future__ import annotations

import io
import os
import sys
from importlib import import_module
from typing import Annotated

import typer

from glotune.cli.failures import report_failure

COMMANDS: dict[str, tuple[str, str]] = {
    "train": ("glotune.cli.train:train", "Runs"),
    "distill": ("glotune.cli.distill:distill", "Runs"),
    "study": ("glotune.cli.study:study", "Runs"),
    "average": ("glotune.cli.average:average", "Runs"),
    "resume": ("glotune.cli.resume:resume", "Runs"),
    "quickstart": ("glotune.cli.quickstart:quickstart", "Runs"),
    "list": ("glotune.cli.runs:list_runs", "Runs"),
    "stop": ("glotune.cli.stop:stop", "Runs"),
    "monitor": ("glotune.cli.monitor:monitor", "Runs"),
    "clean": ("glotune.cli.clean:clean", "Runs"),
    "evaluate": ("glotune.cli.evaluate:evaluate", "Models"),
    "predict": ("glotune.cli.predict:predict", "Models"),
    "calibrate": ("glotune.cli.calibrate:calibrate", "Models"),
    "export": ("glotune.cli.export:export", "Models"),
    "serve": ("glotune.cli.serve:serve", "Models"),
    "compare": ("glotune.cli.compare:compare", "Results"),
    "report": ("glotune.cli.report:report", "Results"),
    "reproduce": ("glotune.cli.reproduce:reproduce", "Results"),
    "track": ("glotune.cli.track:track", "Results"),
    "push": ("glotune.cli.push:push", "Results"),
    "launch": ("glotune.cli.launch:launch", "Cloud"),
    "cloud": ("glotune.cli.cloud:app", "Cloud"),
    "recipes": ("glotune.cli.recipes:app", "Setup"),
    "data": ("glotune.cli.data:app", "Setup"),
    "pretrain": ("glotune.cli.pretrain:pretrain", "Setup"),
    "doctor": ("glotune.cli.doctor:doctor", "Setup"),
    "version": ("glotune.cli.version:version", "Setup"),
}
"""Name -> where the command lives (a function, or a typer app for a family of verbs) and its panel in the help."""


def main(
    debug: Annotated[bool, typer.Option("--debug", help="Show the whole traceback when something fails.")] = False,
) -> None:
    """Fine-tune multilingual encoders for text classification, and know what may be believed about the result.

    Start with: glotune quickstart
    """


def build_app(wanted: str | None = None) -> typer.Typer:
    """The command tree; only the command `wanted` where there is one of that name, all of them otherwise."""
    app = typer.Typer(
        name="glotune",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(main)
    for name, (place, panel) in COMMANDS.items():
        if wanted in COMMANDS and name != wanted:
            continue
        module, attribute = place.split(":")
        command = getattr(import_module(module), attribute)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name, rich_help_panel=panel)
        else:
            app.command(name=name, rich_help_panel=panel)(command)
    return app


def run(arguments: list[str] | None = None) -> None:
    """The entry point: runs one command and exits with its code."""
    _speak_utf_8()
    given = sys.argv[1:] if arguments is None else arguments
    given = ["version"] if given == ["--version"] else given  # what every other tool understands
    own = given[: given.index("--")] if "--" in given else given
    debug = "--debug" in own
    left = [argument for argument in own if argument != "--debug"] + given[len(own) :]
    try:
        build_app(left[0] if left else None)(args=left, prog_name="glotune")
    except Exception as error:
        sys.exit(report_failure(error, debug))
    except KeyboardInterrupt as error:
        sys.exit(report_failure(error, debug))


def _speak_utf_8() -> None:
    """What programs read is UTF-8, whatever the locale says; a terminal gets escapes for what it can't show.

    An encoding that was asked for by name (``PYTHONIOENCODING``) is kept.
    """
    if not isinstance(sys.stdout, io.TextIOWrapper) or os.environ.get("PYTHONIOENCODING"):
        return
    if sys.stdout.isatty():
        sys.stdout.reconfigure(errors="backslashreplace")
    else:
        sys.stdout.reconfigure(encoding="utf-8")


if __name__ == "__main__":
    run()
