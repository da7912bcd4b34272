"""What the shipped studies answered, as the table of docs/methods.md."""

import argparse
import json
from pathlib import Path

import pytest
from benchmarks.documents import marks
from benchmarks.methods import RESULTS, STUDIES, answers_of, run, table
from benchmarks.tasks.parts import read_results

from glotune.errors import UserError
from glotune.recipe.study_loading import builtin_studies, load_study

REPOSITORY = Path(__file__).parents[3]
DOCUMENT = REPOSITORY / "docs" / "methods.md"


def finished(folder: Path, study: str, gain: float) -> Path:
    """A study's folder as its report leaves it: every claim supported by this gain, or this factor of time."""
    answers = [
        {
            "claim": claim.model_dump(mode="json"),
            "answer": {
                "answer": "supported",
                "improvement": gain,
                "interval": {"low": gain - 0.01, "high": gain + 0.02, "level": 0.99},
                "seeds": [2, 2],
                "scale": "difference",
            },
        }
        for claim in load_study(study).claims
    ]
    (folder / "report" / "tables").mkdir(parents=True)
    (folder / "report" / "claims.json").write_text(json.dumps({"study": study, "level": 0.95, "claims": answers}))
    variants = list(load_study(study).variants)
    rows = ['Variant,Seeds,"Macro-F1, %"', *(f"{name},2,0.5" for name in variants)]
    (folder / "report" / "tables" / "variants.csv").write_text("\n".join(rows) + "\n")
    lines = [
        {"run": f"{name}-seed{seed}", "train_seconds": 10.0 * (place + 1) + seed}
        for place, name in enumerate(variants)
        for seed in (0, 2)
    ]
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_a_finished_study_joins_the_table_and_replaces_its_earlier_answers(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text("before\n{}\n{}\nafter\n".format(*marks("methods")))
    results = tmp_path / "methods.json"

    def kept(folder: Path, on: str | None) -> str:
        return run(argparse.Namespace(study=folder, on=on, results=results, document=document))

    kept(finished(tmp_path / "first", "methods", 0.03), "UMSAB")
    kept(finished(tmp_path / "other", "methods", 0.04), "NusaX")
    shown = kept(finished(tmp_path / "again", "methods", 0.05), "UMSAB")
    assert "| claim | NusaX | UMSAB | time |" in shown
    assert "| `methods` | UMSAB | 2 | 50.0 (plain) |" in shown
    assert "| +4.0 [+3.0, +6.0] supported | +5.0 [+4.0, +7.0] supported | × 0.52, × 0.52 |" in shown
    assert shown in document.read_text()
    assert "- `self-training`: One round is better than no self-training" in shown


def test_times_are_shown_as_times_and_not_as_speeds(tmp_path: Path) -> None:
    kept = [answers_of(finished(tmp_path, "method-costs", 0.5), "UMSAB")]
    assert (
        "| A step with FGM takes at most 2.1 times as long (UMSAB) | × 2.1 | × 2.000 [1.923, 2.041] | supported |"
        in (table(kept))
    )


def test_what_is_no_finished_shipped_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no answers"):
        answers_of(tmp_path, "UMSAB")
    with pytest.raises(UserError, match="--study without --on"):
        run(argparse.Namespace(study=tmp_path, on=None, results=tmp_path / "none.json", document=None))
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "claims.json").write_text(json.dumps({"study": "mine", "claims": []}))
    with pytest.raises(UserError, match="is the study mine"):
        answers_of(tmp_path, "UMSAB")


def test_every_study_about_methods_is_in_the_table() -> None:
    of_documents = {"cross-lingual-xlmr", "cross-lingual-mbert", "bangla-lora", "humor-v2", "humor-v3"}
    assert set(STUDIES) == set(builtin_studies()) - of_documents


def test_the_page_shows_the_kept_answers() -> None:
    kept = list(read_results(RESULTS).values())
    begin, end = marks("methods")
    shown = DOCUMENT.read_text(encoding="utf-8").partition(begin)[2].partition(end)[0].strip()
    assert shown == table(kept)
    for each in kept:
        asked = [(claim.form, claim.variants, claim.metric, claim.margin) for claim in load_study(each["study"]).claims]
        for claim in each["claims"]:
            found = (claim["form"], claim["variants"], claim["metric"], claim["margin"])
            assert found in asked, "the questions are those that the study states"
