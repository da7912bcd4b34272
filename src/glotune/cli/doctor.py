"""`glotune doctor`: what this machine has, what a run would choose on it and why, and what is missing."""

from __future__ import annotations


def doctor() -> None:
    """Show hardware, the device, precision and attention that will be used and why, versions, and what is missing."""
    from rich.table import Table

    from glotune.cli.console import out
    from glotune.cli.machine import choices, hardware_rows, missing_parts, versions

    for title, rows in (
        ("Hardware", hardware_rows()),
        ("What a run will use here", choices()),
        ("Versions", versions()),
        ("Missing, and only needed for what it says", missing_parts()),
    ):
        table = Table(title=title, title_justify="left", box=None, show_header=False, pad_edge=False)
        table.add_column(no_wrap=True, min_width=18)
        table.add_column(overflow="fold")
        for name, value in rows or [("nothing", "")]:
            table.add_row(name, value)
        out.print(table)
        out.print()
