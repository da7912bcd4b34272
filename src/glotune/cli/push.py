"""`glotune push`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def push(
    run: Annotated[Path, typer.Argument(help="The directory of a complete run.")],
    repository: Annotated[str, typer.Argument(metavar="USER/NAME", help="Where on the Hugging Face Hub.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be uploaded; upload nothing.")] = False,
    public: Annotated[bool, typer.Option("--public", help="Make a new repository public; private by default.")] = False,
    adapter: Annotated[
        bool, typer.Option("--adapter", help="Push the LoRA adapter instead of the model with it merged.")
    ] = False,
    checkpoints: Annotated[bool, typer.Option("--checkpoints", help="Push the checkpoints too.")] = False,
    logs: Annotated[
        bool,
        typer.Option("--logs", help="Push events, log and report too; they show texts of your data and its paths."),
    ] = False,
    license: Annotated[str | None, typer.Option("--license", help="The Hub's name of a licence, e.g. mit.")] = None,
    message: Annotated[str, typer.Option("--message", "-m", help="Commit message.")] = "Publish the run",
) -> None:
    """Publish a run on the Hugging Face Hub: model, tokenizer, recipe, scores and a card made from its report.

    The card holds the results per language with their intervals, the verdict and the limits.
    """
    from rich.table import Table
    from rich.text import Text

    from glotune.cli.console import out, say, show
    from glotune.hub.files import Choice, uploads
    from glotune.hub.publishing import check_credentials, check_repository, publish
    from glotune.run.directory import RunDirectory
    from glotune.words import size

    directory = RunDirectory.open(run)
    check_repository(repository)
    if not dry_run:
        check_credentials()
    files = uploads(directory, repository, Choice(adapter, checkpoints, logs, license))
    if dry_run:
        table = Table(box=None, pad_edge=False)
        table.add_column("size", justify="right", no_wrap=True)
        table.add_column("file", overflow="fold")
        for file in files:
            table.add_row(size(file.size), Text(file.name))
        out.print(table)
        show("")
        show(files[0].content.decode() if isinstance(files[0].content, bytes) else "")
        total = size(sum(file.size for file in files))
        kind = "public" if public else "private"
        say(f"Nothing was sent. {len(files)} files, {total}, would go to {repository} ({kind} if it is new).")
        return
    published = publish(repository, files, public=public, message=message, log=say)
    show(f"{published.url} ({'private' if published.is_private else 'public'}), commit {published.commit[:8]}")
