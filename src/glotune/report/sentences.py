"""The sentences of a report: its headline, how its figures are to be read, what is to be noticed."""

from __future__ import annotations

from glotune.report.analysis import belonging, mean_of_run, ranked
from glotune.report.audit import LeakEffect
from glotune.report.scores import display, in_a_sentence, number, with_interval
from glotune.report.tables import classes, gap_text, short, unit_of
from glotune.report.thin_classes import about_thin_classes
from glotune.run.data import RunData
from glotune.run.metrics import averaged, mean_name
from glotune.stats.transfer import Transfer
from glotune.words import language_name, named, plain


def headline(run: RunData, found: Transfer | None) -> str:
    """One sentence with the result that the run is about."""
    if not run.main:
        return f"The run is {run.manifest.status.value}: nothing was evaluated on a kept checkpoint yet."
    told = averaged(run.main, run.sources)
    text = f"{display(run.kind.metric)} {_score(run, told)} ({run.main_split}){_lowest(run, told)}"
    if run.manifest.verdict and not run.manifest.verdict.is_sound:
        return (
            f"{text}, but the run {run.manifest.verdict.as_verb}: its scores, and differences from them, mean nothing."
        )
    sources = [code for code in run.sources if code in run.main and code not in told]
    if sources:
        text += f"; {_score(run, sources)}, the source{'s' if len(sources) > 1 else ''}"
    if found and found.average_points is not None and found.average_interval is not None:
        low, high = found.average_interval.low, found.average_interval.high
        text += f"; transfer gap {gap_text(found, found.average_points, low, high)}{unit_of(found)}"
    return text + "."


def _score(run: RunData, languages: list[str]) -> str:
    """``61.2 [58.0, 64.3] on Bangla (bn)``, or the mean of several: the metric of the task."""
    metric = run.kind.metric
    if len(languages) == 1:
        return f"{with_interval(run.main[languages[0]], metric)} on {named(languages[0])}"
    mean = mean_of_run(run, str(run.main_split), languages)
    return f"{with_interval(mean, metric)} on average over {mean_name(languages, run.sources)}"


def _lowest(run: RunData, languages: list[str]) -> str:
    """The language that a mean hides the most."""
    known = {code: value for code in languages if (value := run.main[code].scores.get(run.kind.metric)) is not None}
    if len(known) < 2:
        return ""
    worst = min(known, key=lambda code: known[code])
    return f", lowest on {named(worst)} with {with_interval(run.main[worst], run.kind.metric)}"


def _about_votes(run: RunData) -> str:
    """How what annotators said is told; empty where texts have labels alone."""
    if run.main_split is None:
        return ""
    found = [classes(run, str(run.main_split), language) for language in run.main]
    known = [each for each in found if each is not None and each.votes_BC is not None]
    if not known:
        return ""
    texts, tied = sum(each.num_texts for each in known), sum(each.tied for each in known)
    ties = (
        f"Of {texts:,} texts {tied:,} are tied: their label is the one of these that data.columns.votes names first. "
    )
    return (
        "The label of a text is the class that most of its annotators voted for; the loss is cross-entropy against the "
        "distribution of their votes. Agreement with votes is how many of a text's annotators voted for the answer. "
        "What it can be held against is the annotators' agreement: how many voted as most of the others of the same "
        f"text, each left out in turn. {ties * (tied > 0)}"
    )


def reading(run: RunData) -> str:
    """What the figures in parentheses are, and how texts were answered and counted."""
    said = ""
    if "ece" in run.kind.told:
        said = "In parentheses behind the ECE: what a perfectly calibrated model would show on so many texts. "
    return said + answering(run)


def answering(run: RunData) -> str:
    """How texts were labelled, answered and counted, where that is no matter of course; else nothing."""
    said = ""
    decision = run.manifest.decision
    if decision is not None and decision.fitted_on:
        thresholds = zip(run.manifest.labels, decision.thresholds, strict=True)
        told = ", ".join(f"{label} {threshold:.2f}" for label, threshold in thresholds)
        rule = (
            f"A label is answered from its own probability on ({told}), with the best F1"
            if decision.tuned_for is None
            else f"The class is answered whose probability is highest beside its threshold ({told}), with the best "
            f"{in_a_sentence(decision.tuned_for)}"
        )
        said += (
            f"{rule} on the validation texts in {', '.join(decision.fitted_on)}; these themselves are answered by what "
            "four other fifths of them fit. "
        )
    return said + _about_votes(run) + _about_weights(run)


def _about_weights(run: RunData) -> str:
    if run.recipe is None or not run.recipe.data.weighted_metrics:
        return ""
    return (
        f"Metrics, intervals and tuned thresholds weigh each text by the column '{run.recipe.data.columns.weight}' "
        "(data.weighted_metrics); confusion matrices, curves, pictures of calibration, what stands in parentheses "
        "behind the ECE, and the verdict count each text once. "
    )


def transfer_note(run: RunData, found: Transfer) -> str:
    """How gaps are counted, their average, and the widest."""
    names = ", ".join(map(language_name, found.source_languages))
    metric, share = in_a_sentence(found.metric), " %" * (found.unit == "points")
    text = (
        f"Gap = {metric} on {names} ({number(found.metric, found.source_score)}{share}) minus {metric} on the target."
    )
    verdict = run.manifest.verdict
    if verdict and not verdict.is_sound:
        return f"The run {verdict.as_verb}: these gaps mean nothing. {text}"
    if found.average_points is not None and found.average_interval is not None and len(found.gaps) > 1:
        low, high = found.average_interval.low, found.average_interval.high
        text += f" Average {gap_text(found, found.average_points, low, high)}{unit_of(found)}."
    if found.worst_language and found.worst_share is not None and len(found.gaps) > 1:
        text += (
            f" Widest for {named(found.worst_language)}, which stays the worst in {100 * found.worst_share:.0f} % of "
            "bootstrap resamples."
        )
    if found.undefined:
        text += f" Undefined for {', '.join(map(named, found.undefined))}."
    return text


def leaks_in_short(effects: list[LeakEffect]) -> list[str]:
    """A warning after the headline, where there are any."""
    if not effects:
        return []
    count_of, total = sum(each.leaked for each in effects), sum(each.n for each in effects)
    names = ", ".join(named(each.language) for each in effects[:3]) + (" and others" if len(effects) > 3 else "")
    return [
        f"Of the {total:,} test texts in {names}, {count_of:,} {'stands' if count_of == 1 else 'stand'} in an "
        "earlier split too: see the scores without them."
    ]


def notices(run: RunData) -> list[str]:
    """What went otherwise than expected, each once."""
    said = [f"{each.kind.capitalize()} at step {each.step:,}: {each.message}" for each in run.history.notices]
    said += [f"Deviation from the stored plan: {each}" for each in run.manifest.deviations]
    if run.main_split:
        said += about_thin_classes([run.main[code] for code in ranked(run)], run.manifest.labels)
        said += belonging(run, run.main_split, list(run.main))
    told = {each.message for each in run.history.notices}
    said += [*run.manifest.notes, *(each for each in run.data.warnings if each not in told), *run.problems]
    for source in run.manifest.data:
        said = [each.replace(source.path, short(source.path)) for each in said]
    return list(dict.fromkeys(plain(each) for each in said))
