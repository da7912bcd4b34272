"""report.html: one page that needs nothing but itself, drawn in the browser from one JSON object."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from glotune.languages import direction
from glotune.report.analysis import main_tables, ranked, transfer
from glotune.report.baselines import gains
from glotune.report.content import ReportContent
from glotune.report.figures.curves import best_epoch, curves, learning_rate
from glotune.report.figures.model import Curves
from glotune.report.figures.panels import calibration_panel, precision_recall_lines, roc_lines
from glotune.report.markdown import TEMPLATES, environment
from glotune.report.scores import display, in_a_sentence
from glotune.report.sentences import answering
from glotune.report.tables import ece_floors, tuned_for, without_thresholds
from glotune.run.data import RunData
from glotune.run.predictions import Predictions
from glotune.run.records import Evaluation
from glotune.stats.traits import TRAITS
from glotune.words import language_name

SCRIPTS = ("elements.js", "charts.js", "tables.js", "page.js")
MISTAKE_BUDGET = 5000
"""Mistakes on one page, shared by its runs and languages: about 2 MB."""
MOST_MISTAKES = 300
LEAST_MISTAKES = 5
MAX_CHARACTERS = 600


def render_page(contents: Sequence[ReportContent], title: str, tables: Sequence[dict[str, Any]] = ()) -> str:
    """The page of one run or of several.

    The content security policy allows this page's own script and style by their hashes and nothing else: no request
    can leave it, whatever the texts hold.
    """
    script = "\n".join(_read(name) for name in SCRIPTS)
    style = _read("page.css")
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src 'sha256-{_hash(script)}'",
            f"style-src 'sha256-{_hash(style)}'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    template = environment().get_template("page.html.j2")
    return template.render(
        title=Markup.escape(title),
        policy=policy,
        style=style,
        script=script,
        data=as_script(page_payload(contents, title, tables)),
        headline=Markup.escape(contents[0].headline if len(contents) == 1 else f"{len(contents)} runs"),
    )


def _read(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8").strip()


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def page_payload(
    contents: Sequence[ReportContent], title: str, tables: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    """The whole page: its runs, the traits of the metrics and, for a study, its tables."""
    places = sum(max(1, len(content.run.main)) for content in contents)
    quota = max(LEAST_MISTAKES, min(MOST_MISTAKES, MISTAKE_BUDGET // max(1, places) // 2))
    runs = [run_payload(content, place, quota) for place, content in enumerate(contents)]
    metrics = {
        name: {"name": known.display, "percent": known.is_percent, "higher": known.higher_is_better}
        for name, known in TRAITS.items()
    }
    return {"title": title, "metrics": metrics, "runs": runs, "tables": list(tables)}


def run_payload(content: ReportContent, place: int, quota: int) -> dict[str, Any]:
    """One run; `quota` mistakes of each of the two kinds per language."""
    run = content.run
    tables = main_tables(run)
    floors = {split: ece_floors(run, split) for split in run.evaluations}
    metric, verdict = tuned_for(run), run.manifest.verdict
    plain = {split: {} if metric is None else without_thresholds(run, split, metric) for split in run.evaluations}
    return {
        "id": place,
        "name": run.name,
        "seed": run.manifest.seed,
        "status": run.manifest.status.value,
        "verdict": verdict.model_dump() if verdict else None,
        "isSound": verdict.is_sound if verdict else None,
        "headline": content.headline,
        "split": run.main_split,
        "selection": content.selection,
        "labels": run.manifest.labels,
        "metric": run.kind.metric,
        "scored": run.kind.name == "score",
        "told": run.kind.told,
        "tunedFor": metric,
        "answering": answering(run),
        "followed": run.kind.followed,
        "unit": "points" if run.kind.metric in TRAITS and TRAITS[run.kind.metric].is_percent else "",
        "languages": [
            {"code": code, "name": language_name(code), "source": run.is_source(code)} for code in _languages(run)
        ],
        "evaluations": {
            split: {
                language: {
                    **_evaluation(each),
                    "eceFloor": floors[split].get(language),
                    "mostProbable": plain[split].get(language),
                }
                for language, each in evaluations.items()
            }
            for split, evaluations in run.evaluations.items()
        },
        "means": {split: {"name": name, **_evaluation(mean)} for split, (name, mean) in content.means.items()},
        "transfer": _transfer(run),
        "overBaseline": gains(run),
        "transferNote": content.transfer_note,
        "history": _history(run),
        "roc": {
            language: [
                {"label": line.label, "x": line.false_positive_rate, "y": line.true_positive_rate, "auc": line.auc}
                for line in roc_lines(table, run.manifest.labels)
            ]
            for language, table in tables.items()
        },
        "precisionRecall": {
            language: [
                {
                    "label": line.label,
                    "x": line.recall,
                    "y": line.precision,
                    "ap": line.average_precision,
                    "prevalence": line.prevalence,
                }
                for line in precision_recall_lines(table, run.manifest.labels)
            ]
            for language, table in tables.items()
        },
        "calibration": {
            language: found
            for language, table in tables.items()
            if (found := _calibration(language, table)) is not None
        },
        "profile": _profile(run),
        "mistakes": [
            row for language, table in tables.items() for row in mistakes(language, table, quota, run.manifest.labels)
        ],
        "mistakeCounts": {language: int(table.is_wrong_B.sum()) for language, table in tables.items()},
        "sections": _sections(content),
    }


def _languages(run: RunData) -> list[str]:
    known = dict.fromkeys(ranked(run))
    for evaluations in run.evaluations.values():
        known.update(dict.fromkeys(evaluations))
    trained = (language for _, language in run.history.evaluations)
    known.update(dict.fromkeys(sorted(trained, key=lambda code: (not run.is_source(code), code))))
    return list(known)


def _evaluation(each: Evaluation) -> dict[str, Any]:
    return {
        "n": each.n,
        "scores": each.scores,
        "intervals": {name: [interval.low, interval.high] for name, interval in each.intervals.items()},
        "confusion": each.confusion,
        "perClass": each.per_class,
    }


def _transfer(run: RunData) -> dict[str, Any] | None:
    found = transfer(run)
    if found is None:
        return None
    average = None
    if found.average_points is not None and found.average_interval is not None:
        average = [found.average_points, found.average_interval.low, found.average_interval.high]
    return {
        "metric": display(found.metric),
        "source": list(found.source_languages),
        "gaps": {gap.language: [gap.points, gap.interval.low, gap.interval.high] for gap in found.gaps},
        "average": average,
    }


def _history(run: RunData) -> dict[str, Any]:
    rate = learning_rate(run)
    return {
        "curves": {metric: [_curves(panel) for panel in curves(run, metric)] for metric in run.kind.followed},
        "rate": {"x": rate.steps, "y": rate.rate} if rate else {"x": [], "y": []},
        "bestEpoch": best_epoch(run),
    }


def _curves(panel: Curves) -> dict[str, Any]:
    return {
        "split": panel.split,
        "title": panel.title,
        "references": [{"name": each.name, "value": each.value} for each in panel.references],
        "lines": [
            {"role": line.role, "language": line.language, "x": line.x, "y": line.y}
            for line in panel.series
            if not line.is_faint
        ],
    }


def _calibration(language: str, table: Predictions) -> dict[str, Any] | None:
    panel = calibration_panel(language, table)
    if panel is None:
        return None
    bins = [
        [each.confidence, each.accuracy.value, each.accuracy.low, each.accuracy.high, each.accuracy.n]
        for each in panel.bins
    ]
    return {"ece": panel.ece, "floor": panel.floor, "bins": bins}


def _profile(run: RunData) -> dict[str, Any]:
    split = str(run.main_split)
    return {
        language: {
            "fertility": each.fertility,
            "unknown": each.unknown_token_rate,
            "truncation": each.truncation_rate,
            "tokens": each.mean_tokens,
            "leaked": len(run.data.leaked.get(split, {}).get(language, ())),
        }
        for language, each in run.data.splits.get(split, {}).items()
    }


def mistakes(language: str, table: Predictions, quota: int, labels: Sequence[str] = ()) -> list[list[Any]]:
    """The worst errors (highest loss) and the most confident mistakes, each once.

    A row is language, source row, true label, predicted label, confidence, loss, text, text pair, direction. Labels are
    class ids; of several labels or scores they are words (in the names `labels`), and the confidence is that in the
    worst of the wrong labels, None of scores.
    """
    wrong = np.flatnonzero(table.is_wrong_B)
    confidence_B = _confidences(table)
    worst = wrong[np.argsort(-table.loss_B[wrong], kind="stable")[:quota]]
    stated = wrong[np.isfinite(confidence_B[wrong])]
    surest = stated[np.argsort(-confidence_B[stated], kind="stable")[:quota]]
    chosen = np.unique(np.concatenate([worst, surest]))
    texts = table.texts(chosen) if len(chosen) else []
    return [
        [
            language,
            int(table.row_B[place]),
            *_answers(table, int(place), list(labels)),
            None if np.isnan(confidence_B[place]) else round(float(confidence_B[place]), 4),
            round(float(table.loss_B[place]), 4),
            _cut(text),
            _cut(pair),
            direction(f"{text or ''} {pair or ''}"),
        ]
        for place, (text, pair) in zip(chosen, texts, strict=True)
    ]


def _confidences(table: Predictions) -> NDArray[np.float64]:
    """[B] in the answer, or in the worst of several; NaN where none is stated."""
    if table.label_B.ndim == 1:
        if table.by_thresholds:
            return np.asarray(table.probabilities_BC[np.arange(len(table)), table.predicted_B])
        return np.asarray(table.probabilities_BC.max(axis=1))
    if table.label_B.dtype.kind == "f":
        return np.full(len(table), np.nan)
    stated_BL = np.where(table.predicted_B == 1, table.probabilities_BC, 1.0 - table.probabilities_BC)
    is_wrong_BL = (table.label_B >= 0) & (table.label_B != table.predicted_B)
    return np.asarray(np.where(is_wrong_BL, stated_BL, 0.0).max(axis=1))


def _answers(table: Predictions, place: int, labels: list[str]) -> tuple[int | str, int | str]:
    if table.label_B.ndim == 1:
        return int(table.label_B[place]), int(table.predicted_B[place])
    return table.said(place, labels)


def _cut(text: str | None) -> str | None:
    if text is None or len(text) <= MAX_CHARACTERS:
        return text
    return text[:MAX_CHARACTERS] + " …"


def _sections(content: ReportContent) -> list[dict[str, Any]]:
    """The parts that are tables of words, as in report.md."""
    pairs = [
        ("Model specification", content.model),
        ("Training configuration", content.training),
        ("Student against teacher: size and speed", content.against_teacher_costs),
        ("What was saved", content.cost),
        ("How to reproduce", [("Command", content.command), *content.machine]),
    ]
    sections: list[dict[str, Any]] = [{"title": title, "pairs": rows} for title, rows in pairs if rows]
    tables = [
        ("Why this recipe", content.choices),
        ("Beside cheap models", content.baselines),
        (f"Student against teacher, {in_a_sentence(content.run.kind.metric)}", content.against_teacher),
        ("Rounds of self-training", content.rounds),
        ("Pseudo-labelled texts of each round", content.pseudo_labels),
        ("Leaked texts", content.leaks),
        ("Transfer gap of each label", content.transfer_by_label),
        (content.per_class_title, content.per_class),
        ("Data", content.data),
        ("Files and their hashes", content.sources),
    ]
    sections += [{"title": title, "columns": each.columns, "rows": each.rows} for title, each in tables if each]
    if content.baselines_note:
        sections.append({"title": "What the cheap models are", "list": [content.baselines_note]})
    if content.rounds_note:
        sections.append({"title": "How self-training went", "list": [content.rounds_note]})
    checks = [*content.notices, *content.audit.differences]
    if checks:
        sections.append({"title": "Notices", "list": checks})
    audited = [text for text in (content.audit.agreement, content.audit.left_out) if text]
    if audited:
        sections.append({"title": "Scores recomputed from the predictions", "list": audited})
    return sections


def as_script(payload: dict[str, Any]) -> str:
    """JSON that is inert inside a script element: no ``<``, ``>``, ``&`` or line separator is left in it."""
    text = json.dumps(finite(payload), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode("utf-8", "replace").decode()


def finite(value: Any) -> Any:
    """The same with null for what JSON has no number for, and floats of six significant digits."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
