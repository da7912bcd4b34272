"""`glotune cloud`: what runs elsewhere."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Runs on other machines: status, logs, results, stop.")

RunFolder = Annotated[Path, typer.Argument(help="The folder that glotune launch made.")]


@app.command()
def status(run: RunFolder) -> None:
    """Show what SkyPilot says of the job."""
    from glotune.launch import skypilot
    from glotune.launch.remote import Remote

    remote = Remote.read(run)
    skypilot.run(skypilot.status_command(remote.name, managed=remote.managed))


@app.command()
def logs(
    run: RunFolder, follow: Annotated[bool, typer.Option("--follow", "-f", help="Follow the log.")] = False
) -> None:
    """Show the job's output."""
    from glotune.launch import skypilot
    from glotune.launch.remote import Remote

    remote = Remote.read(run)
    skypilot.run(skypilot.logs_command(remote.name, managed=remote.managed, follow=follow))


@app.command()
def fetch(
    run: RunFolder,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Repeat every 30 s until the run has ended.")] = False,
) -> None:
    """Bring the run's files here from its bucket; glotune monitor, report and compare then work on them."""
    from glotune.cli.console import say
    from glotune.launch.remote import Remote
    from glotune.launch.remote import fetch as fetch_run
    from glotune.run.directory import RunDirectory
    from glotune.run.records import RunStatus

    remote = Remote.read(run)
    while True:
        fetch_run(run, remote)
        state = RunDirectory.open(run).read_manifest().status
        say(f"{run} is {state.value}. Look at it with: glotune monitor {run}")
        if not follow or state is not RunStatus.RUNNING:
            return
        time.sleep(30)


@app.command()
def stop(run: RunFolder) -> None:
    """Stop the job and give its machine back; its last checkpoint stays in the bucket."""
    from glotune.cli.console import say
    from glotune.launch import skypilot
    from glotune.launch.remote import Remote

    remote = Remote.read(run)
    for command in skypilot.stop_commands(remote.name, managed=remote.managed):
        skypilot.run(command)
    say(f"Stopped. What it had reached: glotune cloud fetch {run}")
