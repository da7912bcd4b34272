"""`glotune export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from glotune.verbs.export.record import ExportRecord


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run.")],
    to: Annotated[
        Literal["onnx", "safetensors"], typer.Option(help="onnx: for ONNX Runtime. safetensors: for transformers.")
    ] = "onnx",
    precision: Annotated[
        Literal["fp32", "fp16", "bf16", "int8"],
        typer.Option(help="Of the weights. onnx: fp32, fp16 or int8 (products too); safetensors: fp32, fp16 or bf16."),
    ] = "fp32",
    languages: Annotated[
        str | None,
        typer.Option(help="Cut the vocabulary for good to the run's texts in these languages, as in bn,hi."),
    ] = None,
    texts: Annotated[
        list[Path] | None,
        typer.Option(help="Cut the vocabulary for good to the texts of this file too; can be repeated."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A new folder. Default: one in RUN/exports.")] = None,
    max_loss: Annotated[
        float,
        typer.Option(
            min=0, help="Points of macro-F1 (of scores, hundredths of pearson) that int8 may lose on validation texts."
        ),
    ] = 1.0,
    force: Annotated[bool, typer.Option("--force", help="Write it even where int8 loses more.")] = False,
) -> None:
    """Write a run's model to a folder of its own: converted, smaller, its answers compared with the run's."""
    from glotune.cli.console import out as console
    from glotune.cli.console import show
    from glotune.cli.progress import watch
    from glotune.errors import UserError
    from glotune.run.directory import RunDirectory

    RunDirectory.open(run)  # a wrong path is reported before torch is imported
    wanted = [each.strip() for each in (languages or "").split(",") if each.strip()]
    if languages is not None and not wanted:
        raise UserError(
            f"--languages '{languages}' names no language",
            expected="codes with commas between them, as in bn,hi",
            remedy="Leave it out to keep the whole vocabulary",
        )

    from glotune.verbs.export.card import about
    from glotune.verbs.export.export import export as write

    with watch() as observer:
        written = write(
            run,
            to=to,
            precision=precision,
            languages=wanted,
            texts=texts or [],
            out=out,
            max_loss=max_loss,
            force=force,
            observer=observer,
        )
    record = written.record
    if record.parts:
        console.print(_parts_table(record))
    console.print(_parity_table(record))
    if any(row.interval is not None and not row.changed for row in record.parity):
        show("[95 %]: over texts. Where no answer changed, it says what as many other texts could still show.")
    if record.vocabulary is not None:
        show(about(record.vocabulary))
    show(_sizes(record))
    show(f"export       {written.path}")


def _sizes(record: ExportRecord) -> str:
    from glotune.words import millions, size

    before, after = record.before, record.after
    return (
        f"{size(before.bytes)} -> {size(after.bytes)},"
        f" {millions(before.parameters)} -> {millions(after.parameters)} parameters"
    )


def _parity_table(record: ExportRecord) -> Table:
    from rich.table import Table

    from glotune.stats.traits import trait
    from glotune.verbs.export.card import difference, value
    from glotune.words import count, named

    metric = trait(record.metric)

    table = Table(title="The same texts through both", title_justify="left", box=None, pad_edge=False)
    for name in ("split", "language"):
        table.add_column(name, no_wrap=True)
    numbers = ["texts", "largest change", "changed", "outside", f"{metric.display} run", "export", "difference [95 %]"]
    for name in numbers:
        if name != "outside" or record.vocabulary is not None:
            table.add_column(name, justify="right")
    for row in record.parity:
        outside = [] if record.vocabulary is None else [count(row.outside)]
        table.add_row(
            row.split,
            named(row.language),
            count(row.n),
            f"{row.largest_change:.2g}",
            count(row.changed),
            *outside,
            value(row.before, metric),
            value(row.after, metric),
            difference(row, metric),
        )
    return table


def _parts_table(record: ExportRecord) -> Table:
    from rich.table import Table

    from glotune.words import count, millions

    table = Table(title="In 8 bits, each part alone", title_justify="left", box=None, pad_edge=False)
    table.add_column("part")
    for name in ("parameters", "mean change", "changed"):
        table.add_column(name, justify="right")
    table.add_column("held in")
    for part in record.parts:
        held = "8 bits" if part.quantised else "32 bits"
        table.add_row(part.name, millions(part.parameters), f"{part.mean_change:.4f}", count(part.changed), held)
    return table
