"""One report for a folder of runs."""

from __future__ import annotations

from pathlib import Path

from glotune.errors import UserError
from glotune.evidence.compare import compare_runs
from glotune.evidence.export import as_markdown, as_page_table
from glotune.evidence.tables import runs_table, variants_table
from glotune.report import ReportFiles, write_study_report
from glotune.run.data import load_run
from glotune.run.state import readable_runs
from glotune.words import escaped


def write_folder_report(
    folder: Path, metric: str | None = None, language: str | None = None
) -> tuple[ReportFiles, list[str]]:
    """Writes ``FOLDER/report/``: the tables of `compare_runs`, and one page with a pick of runs.

    Args:
        folder: of the runs.
        metric, language: as for `compare_runs`.

    Returns:
        the files, and sentences about what could not be compared.

    Raises:
        UserError: the folder can't be read, or holds no run that can.
    """
    readable, problems = readable_runs(folder, trials=False)
    directories = [run for run, manifest in readable if manifest.kind == "train"]
    if not directories:
        found = f"{folder} holds no run" + (f" that can be read: {problems[0].rstrip('.')}" if problems else "")
        raise UserError(found, expected="a run directory or a folder of them")
    runs = [load_run(directory) for directory in directories]
    target, tables = folder / "report", []
    notes = [f"Not shown: {problem}" for problem in problems]
    if len(directories) > 1:
        try:
            comparison = compare_runs(directories, metric, language=language)
            tables = [variants_table(comparison), runs_table(comparison, relative_to=target)]
        except UserError as error:
            notes.append(f"Not compared: {error}")
    title = folder.resolve().name
    parts = [f"# {escaped(title)}\n", *map(as_markdown, tables), *(escaped(note) + "\n" for note in notes)]
    parts.append(f"Interactive, with every run, language and mistake: [report.html](report.html). {len(runs)} runs.\n")
    files = write_study_report(target, runs, title, "\n".join(parts), [*map(as_page_table, tables)])
    return files, notes
