"""What documentation/study_reports.py keeps of a study's report."""

from __future__ import annotations

from pathlib import Path

import pytest
from documentation.study_reports import EXAMPLES, without_runs

REPORT = r"""# A study

| Variant | Of `a\|b` |
| :--- | ---: |
| plain | 1.0 |

| Run | Score | Log | Report |
| :--- | ---: | :--- | :--- |
| plain | 49.7 | [log](<../runs/plain-seed0/log.txt>) | [report](<../runs/plain-seed0/report/report.html>) |
| other | 50.1 | – | [report](<../runs/other-seed0/report/report.html>) |

Interactive, with every run, language and mistake: [report.html](report.html).

Go on with it, or write this report again: `glotune study runs/mine`

![Losses.](figures/losses.png)
"""


def test_columns_and_sentences_that_lead_into_the_folder_are_left_out() -> None:
    kept = without_runs(REPORT)
    assert kept == (
        "# A study\n\n| Variant | Of `a\\|b` |\n| :--- | ---: |\n| plain | 1.0 |\n\n"
        "| Run | Score |\n| :--- | ---: |\n| plain | 49.7 |\n| other | 50.1 |\n\n![Losses.](figures/losses.png)\n"
    )


@pytest.mark.parametrize("report", sorted(EXAMPLES.glob("*/report.md")), ids=lambda path: path.parent.name)
def test_a_kept_report_leads_nowhere_that_is_not_kept(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    assert "../runs" not in text
    assert "report.html" not in text
    pictures = {f"figures/{path.name}" for path in (report.parent / "figures").iterdir()}
    assert {part.split(")")[0] for part in text.split("](")[1:]} == pictures
