"""Runs side by side, on the same texts or not at all. Never imports torch."""

from glotune.evidence.compare import Comparison, compare_runs
from glotune.evidence.export import EXPORTS, as_csv, as_latex, as_markdown, as_page_table
from glotune.evidence.tables import runs_table, variants_table

__all__ = [
    "EXPORTS",
    "Comparison",
    "as_csv",
    "as_latex",
    "as_markdown",
    "as_page_table",
    "compare_runs",
    "runs_table",
    "variants_table",
]
