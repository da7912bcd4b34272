"""`glotune doctor`: what this machine has, what a run would choose on it and why, and what is missing."""

from __future__ import annotations


def doctor() -> None:
    """Show hardware, the device, precision and attention that will be used and why, versions, and what is missing."""
    from glotune.cli.console import show_table
    from glotune.cli.machine import choices, hardware_rows, missing_parts, versions

    show_table("Hardware", hardware_rows())
    show_table("What a run will use here", choices())
    show_table("Versions", versions())
    show_table("Missing, and only needed for what it says", missing_parts())
