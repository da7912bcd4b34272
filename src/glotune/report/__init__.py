"""Reports drawn from run directories: figures, ``report.md`` and ``report.html``. Never imports torch.

Names are imported when first used: the monitor shares `figures` and `terminal` without paying for the drawing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glotune.report.write import ReportFiles, write_report, write_study_report

__all__ = ["ReportFiles", "write_report", "write_study_report"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("glotune.report.write"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
