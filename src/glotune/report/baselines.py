"""Cheap models beside the run, as a table and as sentences."""

from __future__ import annotations

from collections.abc import Sequence

from glotune.report.analysis import mean_of, mean_of_run
from glotune.report.scores import in_a_sentence, signed, with_interval
from glotune.run.baselines import Baselines, Gain
from glotune.run.data import RunData
from glotune.run.metrics import averaged, mean_name
from glotune.run.predictions import answers_in
from glotune.stats.traits import trait
from glotune.words import NOTHING, count, named


def columns_of(run: RunData) -> tuple[str, ...]:
    """``Majority class, macro-F1 %`` and so on."""
    assert run.baselines is not None  # asked before
    named = f"{in_a_sentence(run.kind.metric)}{' %' * trait(run.kind.metric).is_percent}"
    unit = ", points" * trait(run.kind.metric).is_percent
    told = [f"{name}, {named}" for name in run.baselines.names().values()]
    return ("Language", "n", *told, f"This run, {named}", f"This run minus TF-IDF{unit}")


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
    known = [[found.score(baseline, split, language) for language in languages] for baseline in found.names()]
    whole = [[each for each in scores if each is not None] for scores in known]
    answered = {"tfidf": answers_in(run.directory.baselines / "tfidf", split, sorted(languages))}
    cells = [
        with_interval(mean_of(scores, answered.get(baseline, {})) if len(scores) > 1 else scores[0], run.kind.metric)
        if len(scores) == len(languages)
        else NOTHING
        for baseline, scores in zip(found.names(), whole, strict=True)
    ]
    ours = run.main[languages[0]] if len(languages) == 1 else mean_of_run(run, split, languages)
    gain = found.gain(split, languages)
    return (
        name,
        count(ours.n),
        *cells,
        with_interval(ours, run.kind.metric),
        NOTHING if gain is None else signed(run.kind.metric, gain.value, gain.interval),
    )


def gains(run: RunData) -> dict[str, list[float]]:
    """Language of the main split, or ``mean`` -> the run minus TF-IDF in points, and the ends of its interval."""
    found, split = run.baselines, str(run.main_split)
    if found is None:
        return {}
    told = averaged(run.main, run.sources)
    groups = {language: [language] for language in run.main} | ({"mean": told} if len(told) > 1 else {})
    factor = 100 if trait(run.kind.metric).is_percent else 1
    known = {name: found.gain(split, languages) for name, languages in groups.items()}
    return {
        name: [factor * each.value, factor * each.interval.low, factor * each.interval.high]
        for name, each in known.items()
        if each is not None
    }


def _with_unit(found: Baselines, gain: Gain) -> str:
    shown = signed(found.kind.metric, gain.value, gain.interval)
    return shown + " points" * trait(found.kind.metric).is_percent


def note(run: RunData, found: Baselines) -> str:
    """What the rows are."""
    if found.left_out is not None:
        return f"Left out: {found.left_out}."
    return (
        f"Fitted on the same {found.texts:,} training texts: the {run.kind.no_skill.lower()}, and {found.description}, "
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
        f"{where}: {found_to_be} TF-IDF with {model_of(found)} on the same training texts, by "
        f"{in_a_sentence(found.kind.metric)} {_with_unit(found, gain)}."
    )


def in_short(found: Baselines, split: str, sources: Sequence[str], languages: Sequence[str]) -> str | None:
    """One line for a terminal; None without scores."""
    told = averaged(languages, sources)
    gain = found.gain(split, told)
    scores = [each for language in told if (each := found.score("tfidf", split, language)) is not None]
    if gain is None or len(scores) < len(told):
        return None
    value = sum(float(each.scores[found.kind.metric] or 0.0) for each in scores) / len(scores)
    where = told[0] if len(told) == 1 else f"mean of {mean_name(told, sources)}"
    metric = in_a_sentence(found.kind.metric).replace("-F1", " F1")
    return f"TF-IDF with {model_of(found)}: {value:.4f} {metric} ({where}); the run {_with_unit(found, gain)}"


def model_of(found: Baselines) -> str:
    """What stands on the features."""
    return "ridge regression" if found.task == "score" else "logistic regression"
