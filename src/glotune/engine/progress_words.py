"""How progress and events read to people, on a terminal as in a notebook."""

from __future__ import annotations

from collections.abc import Mapping

from glotune.run.records import Event

STAGE_NAMES = {"tokenize": "Tokenize", "cache": "Cache frozen layers", "train": "Train", "evaluate": "Evaluate"}


def stage_name(stage: str) -> str:
    """The stage for people."""
    return STAGE_NAMES[stage] if stage in STAGE_NAMES else stage.capitalize()


def describe(figures: Mapping[str, float]) -> str:
    """``loss 0.412, 12,345 tokens/s``, of the figures there are."""
    shown = []
    if "loss" in figures:
        shown.append(f"loss {figures['loss']:.4f}")
    if "tokens_per_second" in figures:
        shown.append(f"{figures['tokens_per_second']:,.0f} tokens/s")
    return ", ".join(shown)


def event_line(event: Event) -> str | None:
    """The line for an event that people wait for; None for the others, which are logged or not for them."""
    data = event.data
    match event.kind:
        case "epoch":
            return f"epoch {event.epoch:g}: training{_scores(data)}"
        case "alert":
            return f"Alert: {data['message']}"
    return None


def _scores(data: Mapping[str, object]) -> str:
    parts = [
        f"{name.replace('_', '-')} {value:.4f}"
        for name in ("loss", "accuracy", "macro_f1")
        if name in data and isinstance(value := data[name], int | float)
    ]
    return " " + ", ".join(parts) if parts else ""
