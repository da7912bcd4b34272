"""`glotune monitor`."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Annotated

import typer

RUNS = Path("runs")


def monitor(
    place: Annotated[Path, typer.Argument(metavar="[RUN|FOLDER]", help="A run, or a folder of runs.")] = RUNS,
    once: Annotated[bool, typer.Option("--once", help="Print one snapshot and exit.")] = False,
    web: Annotated[bool, typer.Option("--web", help="Serve the report page, live, to this machine's browser.")] = False,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="With --web; 0: any that is free.")] = 0,
    host: Annotated[str, typer.Option("--host", help="With --web: the address to serve on.")] = "127.0.0.1",
) -> None:
    """Watch runs by their directories: in progress, finished or crashed, one or many; over ssh too.

    Reads only; a run never notices. Press ? inside for the keys.
    """
    from glotune.errors import MissingExtra, UserError
    from glotune.run.state import find_runs

    if once and web:
        raise UserError("--once and --web together", expected="one of them")
    if not place.exists():
        raise UserError(
            f"there is no {place}",
            expected="a run directory or a folder of runs",
            remedy="Train one: glotune quickstart",
        )
    unread: list[str] = []
    if once and not find_runs(place, trials=True, problems=unread) and not unread:
        raise UserError(
            f"{place} holds no run",
            expected="a run directory or a folder of runs",
            remedy=f"Train one: glotune train RECIPE --out {place / 'NAME'}, or glotune quickstart for a toy",
        )
    with contextlib.suppress(OSError):
        os.nice(5)  # the runs come first
    if once:
        from glotune.monitor.once import print_snapshot

        print_snapshot(place)
    elif web:
        from glotune.monitor.web import serve

        serve(place, host, port)
    else:
        try:
            from glotune.monitor.app import MonitorApp
        except ModuleNotFoundError as error:
            if not (error.name or "").startswith("textual"):
                raise
            raise MissingExtra("textual", "monitor", "the live monitor") from error
        MonitorApp(place).run()
