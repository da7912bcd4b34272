"""`glotune launch`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glotune.cli.overrides import refuse_options


def launch(
    recipe: Annotated[str, typer.Argument(help="A built-in recipe (see: glotune recipes) or a YAML file.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Recipe keys to change.", callback=refuse_options),
    ] = None,
    infra: Annotated[
        str, typer.Option("--infra", help="aws, gcp, k8s or ssh; aws/us-east-1, k8s/CONTEXT, ssh/POOL.")
    ] = "",
    gpus: Annotated[str | None, typer.Option("--gpus", help="NAME:COUNT, e.g. H100:1; without it, CPUs only.")] = None,
    spot: Annotated[
        bool, typer.Option("--spot", help="Spot machines: cheaper, can be preempted; the run resumes elsewhere.")
    ] = False,
    max_hourly_cost: Annotated[float | None, typer.Option("--max-hourly-cost", help="Dollars an hour at most.")] = None,
    bucket: Annotated[
        str | None, typer.Option("--bucket", help="Bucket for the run: an s3://, gs:// or r2:// address, or a name.")
    ] = None,
    cpus: Annotated[str | None, typer.Option("--cpus", help="Number of CPUs, e.g. 8+")] = None,
    memory: Annotated[str | None, typer.Option("--memory", help="Memory in GiB, e.g. 32+")] = None,
    disk: Annotated[int, typer.Option("--disk", min=20, help="Disk size in GiB.")] = 100,
    autostop: Annotated[int, typer.Option("--autostop", min=1, help="Idle minutes before it is stopped.")] = 10,
    package: Annotated[
        str | None, typer.Option("--package", help="What pip installs: a requirement or a wheel.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the job; by default from the recipe and the time.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Local folder; runs/NAME by default.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the task; needs no SkyPilot.")] = False,
) -> None:
    """Train on another machine through SkyPilot: a cloud, a Kubernetes cluster or your own machines over ssh.

    The run is kept in a bucket while it trains, so a spot machine that is taken away costs a few steps. Its results
    come back into the runs folder: glotune cloud fetch RUN.
    """
    from glotune.cli.console import say, show
    from glotune.errors import UserError
    from glotune.launch import skypilot
    from glotune.launch.remote import Remote
    from glotune.launch.task import INFRASTRUCTURE, Wanted, as_yaml, check, default_bucket, default_name, make_task
    from glotune.recipe import load_recipe

    if not infra:
        raise UserError("--infra is missing", expected=f"one of {', '.join(INFRASTRUCTURE)}")
    resolved = load_recipe(recipe, overrides or [])
    wanted = Wanted(
        name=name or default_name(resolved.name),
        infra=infra,
        bucket=bucket or default_bucket(),
        gpus=gpus,
        cpus=cpus,
        memory=memory,
        disk_gib=disk,
        spot=spot,
        max_hourly_cost=max_hourly_cost,
        autostop_minutes=autostop,
        package=package,
    )
    check(wanted)
    task = as_yaml(make_task(resolved, wanted))
    if dry_run:
        show(task.rstrip())
        return
    skypilot.find_command()
    run = out or Path("runs") / wanted.name
    path = Remote.of(wanted).write(run, task)
    skypilot.run(skypilot.launch_command(path, wanted.name, managed=spot))
    say(f"Launched. Its output: glotune cloud logs {run}. Bring its results here: glotune cloud fetch {run}")
