"""What each method was worth: the answers of the shipped studies, as one table of claims by data sets.

The studies run by `glotune study`; this reads the finished ones, keeps figures alone, and draws the table of
docs/methods.md. Claims that no study has answered are listed below it.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.documents import put_between
from benchmarks.tasks.parts import add_result, read_results
from benchmarks.tasks.tables import gain
from glotune.errors import UserError
from glotune.recipe.study import StudyClaim, StudyRecipe
from glotune.recipe.study_loading import load_study
from glotune.stats.traits import trait
from glotune.study.directory import StudyDirectory

RESULTS = Path(__file__).with_name("methods.json")
STUDIES = ("zero-shot", "methods", "adversarial", "translations", "self-training", "method-costs")
SECONDS = "train_seconds"
"""In steps: what a method costs where it acts; tests and intervals cost the same with any."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `python -m benchmarks methods` takes."""
    parser.add_argument("--study", type=Path, help="folder of a finished study to be kept")
    parser.add_argument("--on", help="what it ran on, DATA SET: HOW MUCH OF IT")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--document", type=Path, help="Markdown with marks named methods, drawn anew")


def run(arguments: argparse.Namespace) -> str:
    """Keeps a study where one is given, and returns the table of all that are kept.

    Raises:
        UserError: as `answers_of`, or nothing says what the study ran on.
    """
    if arguments.study is not None and not arguments.on:
        raise UserError("--study without --on", expected='what it ran on, --on "UMSAB: 600 English texts"')
    if arguments.study is not None:
        found = answers_of(arguments.study, arguments.on)
        add_result(arguments.results, f"{found['study']}, {found['data']}", found)
    kept = list(read_results(arguments.results).values())
    shown = table(kept)
    if arguments.document is not None:
        put_between(arguments.document, "methods", shown)
    return shown


def answers_of(folder: Path, data: str) -> dict[str, Any]:
    """The claims of a finished study with their answers, and each variant's score and seconds in steps.

    Raises:
        UserError: the study has no report yet, or is none of those shipped.
    """
    directory = StudyDirectory(folder)
    path = directory.report / "claims.json"
    if not path.exists():
        raise UserError(f"{folder} holds no answers", expected=str(path), remedy=f"Run: glotune study {folder}")
    written = json.loads(path.read_text(encoding="utf-8"))
    if written["study"] not in STUDIES:
        raise UserError(f"{folder} is the study {written['study']}", expected=f"one of {', '.join(STUDIES)}")
    with (directory.report / "tables" / "variants.csv").open(encoding="utf-8", newline="") as lines:
        scores = {row["Variant"]: float(row["Macro-F1, %"]) for row in csv.DictReader(lines)}
    results = directory.read_results()
    return {
        "study": written["study"],
        "data": data,
        "scores": scores,
        "seconds": {
            name: statistics.median(found[SECONDS] for run, found in results.items() if variant_of(run) == name)
            for name in scores
        },
        "claims": [_kept(each["claim"], each["answer"]) for each in written["claims"]],
    }


def variant_of(run: str) -> str:
    """``plain`` of ``plain-seed0``."""
    return run.rpartition("-seed")[0]


def _kept(claim: Mapping[str, Any], answer: Mapping[str, Any]) -> dict[str, Any]:
    asked, found = ("name", "form", "variants", "metric", "margin"), ("answer", "improvement", "interval", "seeds")
    return {name: claim[name] for name in asked} | {name: answer[name] for name in found}


def table(kept: Iterable[Mapping[str, Any]]) -> str:
    """Markdown: the studies that ran, their claims about scores and about time, and what is still open."""
    kept = list(kept)
    data = list(dict.fromkeys(_name(each) for each in kept))
    ran = ["| study | on | seeds | macro-F1 of its reference |", "| --- | --- | ---: | ---: |"]
    scores = [f"| claim | {' | '.join(data)} | time |", f"| --- |{' --- |' * (len(data) + 1)}"]
    times = ["| claim about time | held against | measured | answer |", "| --- | ---: | ---: | --- |"]
    left = []
    for name in STUDIES:
        study, found = load_study(name), [each for each in kept if each["study"] == name]
        ran += [_ran(study, each) for each in found]
        for claim in study.claims:
            answers = {_name(each): answer for each in found if (answer := _answer(each, claim)) is not None}
            if not answers:
                left.append(f"- `{name}`: {claim.name}")
            elif trait(claim.metric).is_percent:
                cells = [_cell(answers[each]) if each in answers else "" for each in data]
                scores.append(f"| {claim.name} | {' | '.join(cells)} | {_ratios(found, *claim.variants)} |")
            else:
                times += [_timed(claim, each, answer) for each, answer in answers.items()]
    parts = [part for part in (ran, scores, times) if len(part) > 2]
    parts += [["Stated, and not answered yet:", "", *left]] if left else []
    return "\n\n".join("\n".join(part) for part in parts)


def _ran(study: StudyRecipe, kept: Mapping[str, Any]) -> str:
    score = 100 * kept["scores"][str(study.reference)]
    return f"| `{study.name}` | {kept['data']} | {max(kept['claims'][0]['seeds'])} | {score:.1f} ({study.reference}) |"


def _name(kept: Mapping[str, Any]) -> str:
    """Of a data set, without how much of it was used."""
    return str(kept["data"]).partition(":")[0]


def _answer(kept: Mapping[str, Any], claim: StudyClaim) -> Mapping[str, Any] | None:
    """The kept answer to a claim of a shipped study: the same question, whatever words it had when it ran."""
    asked = (claim.form, list(claim.variants), claim.metric, claim.margin)
    found: Iterable[Mapping[str, Any]] = kept["claims"]
    return next(
        (each for each in found if (each["form"], each["variants"], each["metric"], each["margin"]) == asked), None
    )


def _cell(answer: Mapping[str, Any]) -> str:
    """``+1.2 [-0.5, +2.9] inconclusive``: points, the interval corrected for all claims of the study."""
    return f"{gain(answer)} {answer['answer']}".lstrip()


def _ratios(ran: Iterable[Mapping[str, Any]], first: str, second: str) -> str:
    """How many times as long as the variant it is held against, on each data set."""
    return ", ".join(f"× {each['seconds'][first] / each['seconds'][second]:.2f}" for each in ran)


def _held(claim: StudyClaim) -> str:
    """The factor of time that a claim allows: a margin of `superior` says how many times as fast."""
    margin = claim.margin or 1.0
    return f"× {margin if claim.form == 'non_inferior' else 1 / margin:.3g}"


def _timed(claim: StudyClaim, data: str, answer: Mapping[str, Any]) -> str:
    """Answers hold how many times as fast; here stands how many times as long."""
    if answer["interval"] is None:
        return f"| {claim.name} ({data}) | {_held(claim)} | | {answer['answer']} |"
    low, high = 1 / answer["interval"]["high"], 1 / answer["interval"]["low"]
    measured = f"× {1 / answer['improvement']:.3f} [{low:.3f}, {high:.3f}]"
    return f"| {claim.name} ({data}) | {_held(claim)} | {measured} | {answer['answer']} |"
