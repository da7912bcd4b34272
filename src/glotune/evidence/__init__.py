"""Runs side by side, on the same texts or not at all. Never imports torch."""

from glotune.evidence.compare import Comparison, compare_runs
from glotune.evidence.export import EXPORTS, as_csv, as_latex, as_markdown, as_page_table
from glotune.evidence.summary import RunSummary, find_runs, read_summary
from glotune.evidence.tables import runs_table, variants_table

__all__ = [
    "EXPORTS",
    "Comparison",
    "RunSummary",
    "as_csv",
    "as_latex",
    "as_markdown",
    "as_page_table",
    "compare_runs",
    "find_runs",
    "read_summary",
    "runs_table",
    "variants_table",
]
