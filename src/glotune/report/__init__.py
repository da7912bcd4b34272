"""Reports drawn from run directories: figures, ``report.md`` and ``report.html``. Never imports torch."""

from glotune.report.write import ReportFiles, write_report, write_study_report

__all__ = ["ReportFiles", "write_report", "write_study_report"]
