"""Cheap models beside the run, as a table and as sentences."""

from __future__ import annotations

from collections.abc import Sequence

from glotune.report.analysis import averaged, mean_name, mean_of, mean_of_run
from glotune.report.scores import with_interval
from glotune.run.baselines import METRIC, NAMES, Baselines, Gain
from glotune.run.data import RunData
from glotune.words import NOTHING, count, named

COLUMNS = (
    "Language",
    "n",
    *(f"{name}, macro-F1 %" for name in NAMES.values()),
    "This run, macro-F1 %",
    "This run minus TF-IDF, points",
)


def baseline_rows(run: RunData, found: Baselines, languages: Sequence[str]) -> list[tuple[str, ...]]:
    """One row for each of these languages of the main split, and one for their mean."""
    split = str(run.main_split)
    rows = [_row(run, found, split, [language]) for language in languages]
    told = averaged(languages, run.sources)
    if len(told) > 1:
        rows.append(_row(run, found, split, told))
    return rows


def _row(run: RunData, found: Baselines, split: str, languages: list[str]) -> tuple[str, ...]:
    source = ", source" if len(languages) == 1 and run.is_source(languages[0]) else ""
    name = named(languages[0]) + source if len(languages) == 1 else f"Mean of the {mean_name(languages, run.sources)}"
    known = [[found.score(baseline, split, language) for language in languages] for baseline in NAMES]
    whole = [[each for each in scores if each is not None] for scores in known]
    cells = [
        with_interval(mean_of(scores, {}) if len(scores) > 1 else scores[0], METRIC)
        if len(scores) == len(languages)
        else NOTHING
        for scores in whole
    ]
    ours = [run.main[language] for language in languages]
    gain = found.gain(split, languages)
    return (
        name,
        count(sum(each.n for each in ours)),
        *cells,
        with_interval(mean_of_run(run, split, languages) if len(ours) > 1 else ours[0], METRIC),
        NOTHING if gain is None else points(gain),
    )


def gains(run: RunData) -> dict[str, list[float]]:
    """Language of the main split, or ``mean`` -> the run minus TF-IDF in points, and the ends of its interval."""
    found, split = run.baselines, str(run.main_split)
    if found is None:
        return {}
    told = averaged(run.main, run.sources)
    groups = {language: [language] for language in run.main} | ({"mean": told} if len(told) > 1 else {})
    known = {name: found.gain(split, languages) for name, languages in groups.items()}
    return {
        name: [100 * each.value, 100 * each.interval.low, 100 * each.interval.high]
        for name, each in known.items()
        if each is not None
    }


def points(gain: Gain) -> str:
    """``+8.1 [+3.0, +13.2]``."""
    low, high = gain.interval.low, gain.interval.high
    return f"{100 * gain.value:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def note(found: Baselines) -> str:
    """What the rows are."""
    if found.left_out is not None:
        return f"Left out: {found.left_out}."
    return (
        f"Fitted on the same {found.texts:,} training texts: the majority class, and {found.description}, "
        f"{found.features:,} features. The difference is paired on the same texts; its 95 % interval is over texts and "
        "says nothing about other seeds."
    )


def not_shown_better(found: Baselines, split: str, languages: list[str]) -> str | None:
    """The sentence that these languages don't show the run to be better than TF-IDF; None where they do."""
    gain = found.gain(split, languages)
    if gain is None or gain.interval.low > 0:
        return None
    where = ", ".join(languages) if len(languages) < 4 else f"{len(languages)} languages"
    found_to_be = "worse than" if gain.interval.high < 0 else "not shown to be better than"
    return (
        f"{where}: {found_to_be} TF-IDF with logistic regression on the same training texts, by macro-F1 "
        f"{points(gain)} points."
    )


def in_short(found: Baselines, split: str, sources: Sequence[str], languages: Sequence[str]) -> str | None:
    """One line for a terminal; None without scores."""
    told = averaged(languages, sources)
    gain = found.gain(split, told)
    scores = [each for language in told if (each := found.score("tfidf", split, language)) is not None]
    if gain is None or len(scores) < len(told):
        return None
    value = sum(float(each.scores[METRIC] or 0.0) for each in scores) / len(scores)
    where = told[0] if len(told) == 1 else f"mean of {mean_name(told, sources)}"
    return f"TF-IDF with logistic regression: {value:.4f} macro F1 ({where}); the run {points(gain)} points"
