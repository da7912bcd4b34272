"""The card of an export: what it is, how large, and how its answers compare with those of the run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jinja2

from glotune.stats.traits import Trait, trait
from glotune.verbs.export.record import ExportRecord, Parity, Vocabulary
from glotune.words import count, escaped, millions, named, percent, size

TEMPLATE = Path(__file__).parent / "card.md.j2"
KINDS = {
    ("safetensors", "fp32"): "as an ordinary Hugging Face folder",
    ("safetensors", "fp16"): "as an ordinary Hugging Face folder, its weights in 16 bits (fp16)",
    ("safetensors", "bf16"): "as an ordinary Hugging Face folder, its weights in 16 bits (bf16)",
    ("onnx", "fp32"): "as an ONNX graph",
    ("onnx", "fp16"): "as an ONNX graph, its weights in 16 bits and its products in 32",
    ("onnx", "int8"): "as an ONNX graph in 8 bits",
}


def card(record: ExportRecord, folder: str = "FOLDER") -> str:
    """Markdown with the Hub's header.

    Args:
        folder: how commands name the export.
    """
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False, keep_trailing_newline=True)
    metric = trait(record.metric)
    environment.filters |= {
        "md": lambda value: escaped(str(value)),
        "count": count,
        "millions": millions,
        "size": size,
        "named": named,
        "value": lambda share: value(share, metric),
        "difference": lambda row: difference(row, metric),
    }
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        record=record,
        metric=metric,
        title=record.run,
        folder=folder,
        sentence=f"The classifier of a glotune run, {KINDS[record.target, record.precision]}.",
        vocabulary="" if record.vocabulary is None else about(record.vocabulary),
    )


def value(share: float | None, metric: Trait) -> str:
    """``0.6543`` -> ``65.43`` where the metric is told in percent, ``0.6543`` otherwise."""
    if share is None:
        return "–"
    return f"{100 * share:.2f}" if metric.is_percent else f"{share:.4f}"


def difference(row: Parity, metric: Trait) -> str:
    """``+0.12 [-0.30, +0.51]``, in the unit of `value`."""
    if row.difference is None or row.interval is None:
        return "–"
    scale, digits = (100, 2) if metric.is_percent else (1, 4)
    shown = [f"{scale * each:+.{digits}f}" for each in (row.difference, row.interval.low, row.interval.high)]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]"


def about(vocabulary: Vocabulary) -> str:
    """What was cut, and what it means for texts to come."""
    return (
        f"Cut for good to the pieces of {count(vocabulary.texts)} texts ({_origin(vocabulary)}):"
        f" {count(vocabulary.pieces)} of {count(vocabulary.full_pieces)} are left. Texts over these are read as"
        " before. Others are read in smaller pieces that are left, single characters at worst, and glotune counts them."
        f" {percent(vocabulary.own_piece_share)} of the texts it was cut to hold a piece that no other of them holds:"
        " about as many further texts of the kind will be read in smaller pieces. More texts (--texts) make it fewer."
    )


def _origin(vocabulary: Vocabulary) -> str:
    return ", ".join([*map(named, vocabulary.languages), *_quoted(vocabulary.files)])


def _quoted(names: Sequence[str]) -> list[str]:
    return [f"'{name}'" for name in names]
