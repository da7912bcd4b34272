"""Reports drawn from run directories: figures, ``report.md`` and ``report.html``. Never imports torch."""

__all__ = ["ReportFiles", "write_report", "write_study_report"]
