"""Runs side by side: what differs, by how much, and whether by more than chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from glotune.errors import UserError, did_you_mean
from glotune.evidence.cells import is_percent, shown, unit
from glotune.evidence.changes import explained_by_chance, half_widths
from glotune.evidence.leaks import without_leaks
from glotune.evidence.validity import common_languages, common_split, refuse_different_tests, refuse_other_scores
from glotune.evidence.variants import FEWEST_SEEDS, RESAMPLING_SEED, Difference, Variant, corrected, difference, group
from glotune.report.analysis import belonging
from glotune.report.conditions import Condition, conditions_of
from glotune.report.thin_classes import about_thin_classes, absent_classes
from glotune.run.data import RunData, load_run
from glotune.run.directory import RunDirectory
from glotune.run.records import Interval, Verdict
from glotune.stats.arrays import lacking_class
from glotune.stats.percentage import PercentageChange, percentage_change
from glotune.stats.seed_prior import seed_prior
from glotune.stats.seed_scores import text_pulls
from glotune.stats.selection import FEWEST_VARIANTS, shrunken_lead
from glotune.stats.traits import TRAITS, trait
from glotune.words import named

MOST_TESTED = 40
"""More variants than this are listed, not tested, unless asked for: predictions of all would have to be read."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Variants on the same texts."""

    metric: str
    split: str
    languages: list[str]
    runs: tuple[RunData, ...]
    variants: tuple[Variant, ...]
    reference: Variant
    best: Variant | None
    """The sound variant with the best mean; None without any."""
    best_is_beyond_chance: bool
    """Whether it leads every other sound variant by more than the interval, corrected for their number, and all of
    them have several seeds."""
    against_reference: dict[str, Difference]
    """Variant name -> variant minus reference."""
    against_best: dict[str, Difference]
    """Variant name -> best minus variant."""
    tested: bool
    notes: tuple[str, ...]
    conditions: Mapping[Path, tuple[Condition, ...]]
    """Run directory -> what it saw or was given that others may not have been."""
    without_leaks: Comparison | None = None
    """The same without test texts that any of the runs met in training; None where there are none, where nothing would
    be left, or without tests."""

    def conditions_of(self, variant: Variant) -> list[Condition]:
        """The conditions of a variant's runs, each once."""
        return list(dict.fromkeys(each for run in variant.runs for each in self.conditions[run.path]))

    @property
    def of_one_seed(self) -> tuple[str, ...]:
        """Sound variants of which one seed was run: their leads say nothing about other seeds."""
        return tuple(each.name for each in self.variants if each.unsound is None and len(each.runs) < FEWEST_SEEDS)

    def mean(self, variant: Variant) -> float | None:
        """The metric of a variant, over languages and seeds."""
        values = variant.values(self.split, self.metric, self.languages)
        return sum(values) / len(values) if values else None

    def percentage(self, variant: Variant) -> PercentageChange:
        """Change against the reference by the stated formula; none where either is not sound, or chance explains it."""
        found = self.against_reference.get(variant.name)
        chance = explained_by_chance(found, self.reference, self.split, self.languages)
        widths = None
        if found is not None and chance is None:
            widths = half_widths(found, variant, self.reference, self.metric, self.split, self.languages)
        return percentage_change(
            self.metric,
            self.mean(variant),
            self.mean(self.reference),
            value_verdict=_worst_verdict(variant),
            reference_verdict=_worst_verdict(self.reference),
            chance=chance,
            widths=widths,
        )


def _worst_verdict(variant: Variant) -> Verdict | None:
    """The verdict of the first run that is not sound, otherwise that of the first run."""
    return next((run.verdict for run in variant.every_run if not run.is_sound), variant.runs[0].verdict)


def compare_runs(
    runs: Sequence[RunDirectory | RunData | str | Path],
    metric: str | None = None,
    *,
    language: str | None = None,
    reference: str | None = None,
    tests: bool | None = None,
) -> Comparison:
    """Compares finished runs.

    Args:
        runs: two or more; those that differ in their seed alone count as one variant.
        metric: by which the variants are ranked and tested; None: macro-F1, of scores Pearson's correlation.
        language: one code; ``targets`` (default: languages that no run trained on) or ``all``.
        reference: name of the variant, or folder of a run, that the others are measured against; the first otherwise.
        tests: whether to test; None tests up to `MOST_TESTED` variants.

    Raises:
        UserError: fewer than two runs, no such metric, one that is no score of these runs, a run without scores or
            whose files are not what it wrote, or runs scored on different texts.
    """
    summaries = [run if isinstance(run, RunData) else load_run(run) for run in _distinct(runs)]
    for run in summaries:
        if run.manifest.kind == "train":
            run.require_scores()
    if len(summaries) < 2:
        raise UserError(f"{len(summaries)} run", expected="two runs or more to compare")
    metric = summaries[0].kind.metric if metric is None else metric
    trait(metric)
    kept, diverged, notes = _with_scores(summaries)
    split = common_split(kept)
    languages = common_languages(kept, split, language)
    variants = group(kept, diverged)
    tested = len(variants) <= MOST_TESTED if tests is None else tests
    refuse_different_tests(kept, split, languages, by_records=tested)
    _require_metric(kept, metric, split, languages)
    _refuse_absent_class(kept[0], metric, split, languages)
    notes += _vouched_for(kept)
    if tested:
        refuse_other_scores(kept, split, metric, languages)
    else:
        notes.append(f"{len(variants)} variants are listed without tests; test them with: glotune compare --tests.")
    found = _compared(kept, variants, _find(variants, reference), metric, split, languages, tested, notes)
    clean = without_leaks(kept, split, languages) if tested else None
    if clean is None or (trait(metric).average == "macro" and lacking_class(clean[0].answered(split, languages))):
        return found
    again = group(clean, diverged)
    base = next(each for each in again if each.name == found.reference.name)
    return replace(found, without_leaks=_compared(clean, again, base, metric, split, languages, True, []))


def _compared(
    kept: Sequence[RunData],
    variants: Sequence[Variant],
    base: Variant,
    metric: str,
    split: str,
    languages: list[str],
    tested: bool,
    notes: Sequence[str],
) -> Comparison:
    """The comparison of runs that may be compared."""
    best = _best(variants, metric, split, languages)
    to_reference, to_best = _differences(variants, base, best, metric, split, languages) if tested else ({}, {})
    rivals = [each for each in variants if each is not best and each.unsound is None]
    seeded = best is not None and all(len(each.runs) >= FEWEST_SEEDS for each in (best, *rivals))
    leads = tested and seeded and bool(rivals) and all(to_best[each.name].is_beyond_chance for each in rivals)
    choice, together = [], []
    if tested:  # a list without intervals has no use for what they rest on, and opens no predictions
        choice = _about_the_choice(variants, best, metric, split, languages)
        together = belonging(kept[0], split, languages)
    thin = about_thin_classes([kept[0].evaluations[split][code] for code in languages], kept[0].manifest.labels)
    said = [*notes, *choice, *thin, *together]
    return Comparison(
        metric, split, languages, tuple(kept), tuple(variants), base, best, leads, to_reference, to_best, tested,
        tuple(said), dict(zip([run.path for run in kept], conditions_of(kept, split, languages), strict=True)),
    )  # fmt: skip


def _vouched_for(runs: Sequence[RunData]) -> list[str]:
    """Whether hashes vouch for what the runs wrote; a note where they don't."""
    without = [run for run in runs if not run.has_hashes]
    if not without:
        return []
    named = str(without[0].path) if len(without) == 1 else f"{len(without)} of {len(runs)} runs"
    were = "was" if len(without) == 1 else "were"
    return [f"{named} {were} made before hashes were kept: no one can tell whether the files are what the run wrote."]


def _distinct(runs: Sequence[RunDirectory | RunData | str | Path]) -> list[RunDirectory | RunData | str | Path]:
    """Each run once: a run given twice is no further seed."""
    seen: set[Path] = set()
    kept = []
    for run in runs:
        path = (run.path if isinstance(run, RunDirectory | RunData) else Path(run)).resolve()
        if path not in seen:
            seen.add(path)
            kept.append(run)
    return kept


def _with_scores(runs: Sequence[RunData]) -> tuple[list[RunData], list[RunData], list[str]]:
    """Runs that were evaluated, runs that ended without scores, and notes that name these and the unfinished ones."""
    trained = [run for run in runs if run.manifest.kind == "train"]
    kept = [run for run in trained if run.languages("test") or run.languages("validation")]
    notes = [f"{run.path} is left out: it is a pretraining run." for run in runs if run not in trained]
    for run in trained:
        if run not in kept:
            verdict = run.verdict.status if run.verdict else run.manifest.status.value
            notes.append(f"{run.path} has no scores and is left out: it is {verdict}.")
    if not kept:
        raise UserError("none of the runs has scores", expected="finished runs")
    diverged = [run for run in trained if run not in kept and run.verdict is not None and not run.is_sound]
    return kept, diverged, notes


def _require_metric(runs: Sequence[RunData], metric: str, split: str, languages: list[str]) -> None:
    """What a run costs is no score of its texts: there is nothing to pair or to test."""
    if any(run.score(split, metric, languages) is not None for run in runs):
        return
    known = [name for name in TRAITS if any(run.score(split, name, languages) is not None for run in runs)]
    raise UserError(
        f"no run has the score '{metric}' on {split} ({', '.join(languages)})",
        expected=f"one of {', '.join(known)}",
        remedy="Costs (times, sizes, numbers of parameters) are compared by the claims of a study",
    )


def _refuse_absent_class(run: RunData, metric: str, split: str, languages: list[str]) -> None:
    """A class that no text has counts as F1 0: a macro score there compares a convention."""
    if trait(metric).average != "macro":
        return
    absent = absent_classes(run.evaluations[split].values(), run.manifest.labels)
    for language in (code for code in languages if code in absent):
        present = [code for code in run.languages(split) if code not in absent]
        raise UserError(
            f"no {split} text in {named(language)} has the label '{absent[language][0]}', so that {metric} there "
            "averages over a class that nobody could find",
            expected="texts of every class, for a macro score",
            remedy=f"Compare by --metric {'accuracy' if run.kind.name == 'single_label' else 'micro_f1'} or weighted_f1"
            + (f", or one language that has all: --language {present[0]}" if present else ""),
        )


def _find(variants: Sequence[Variant], reference: str | None) -> Variant:
    if reference is None:
        return variants[0]
    names = [variant.name for variant in variants]
    if reference in names:
        return variants[names.index(reference)]
    for is_meant in (lambda path: Path(reference) == path, lambda path: reference == path.name):
        found = [variant for variant in variants if any(is_meant(run.path) for run in variant.runs)]
        if len(found) == 1:
            return found[0]
        if found:
            raise UserError(
                f"several variants have a run '{reference}'",
                expected=f"one of {', '.join(each.name for each in found)}",
            )
    raise UserError(
        f"there is no variant '{reference}'",
        expected=f"one of {', '.join(names)}",
        remedy=did_you_mean(reference, names),
    )


def _best(variants: Sequence[Variant], metric: str, split: str, languages: list[str]) -> Variant | None:
    sign = 1.0 if trait(metric).higher_is_better else -1.0
    scored = []
    for variant in variants:
        values = variant.values(split, metric, languages)
        if variant.unsound is None and values:
            scored.append((sign * sum(values) / len(values), variant))
    return max(scored, key=lambda each: each[0])[1] if scored else None


def _differences(
    variants: Sequence[Variant], base: Variant, best: Variant | None, metric: str, split: str, languages: list[str]
) -> tuple[dict[str, Difference], dict[str, Difference]]:
    """Against the reference and against the best; all corrected together, the one that is in both counted once."""
    pairs = [(each, base) for each in variants if each is not base]
    if best is not None:
        # Where the best is the reference, or is measured against it, the pair stands there already.
        pairs += [(best, each) for each in variants if each is not best and each is not base and best is not base]
    prior = seed_prior([each.values(split, metric, languages) for each in variants if each.unsound is None])
    tested = corrected([difference(first, second, metric, split, languages, prior) for first, second in pairs])
    against_reference = {each.candidate: each for each in tested[: len(variants) - 1]}
    against_best = {each.reference: each for each in tested[len(variants) - 1 :]}
    if best is base and best is not None:
        against_best = {name: _turned(each) for name, each in against_reference.items()}
    elif best is not None:
        against_best[base.name] = against_reference[best.name]
    return against_reference, against_best


def _about_the_choice(
    variants: Sequence[Variant], best: Variant | None, metric: str, split: str, languages: list[str]
) -> list[str]:
    """What the lead of the best shrinks to: of many equal variants, the best one leads."""
    sound = [each for each in variants if each.unsound is None and each.values(split, metric, languages)]
    if best is None or len(sound) < FEWEST_VARIANTS:
        return []
    sign = 1.0 if trait(metric).higher_is_better else -1.0
    values = [[sign * value for value in each.values(split, metric, languages)] for each in sound]
    try:
        pulls = text_pulls([[run.answered(split, languages) for run in each.runs] for each in sound], metric)
    except UserError:
        return []
    found = shrunken_lead(values, sign * pulls, seed=RESAMPLING_SEED)
    if found is None:
        return []
    measured, left = (shown(metric, value) for value in found)
    named = "points" if is_percent(metric) else unit(metric)
    over = "seeds and texts" if all(len(each.runs) >= FEWEST_SEEDS for each in sound) else "texts alone"
    return [
        f"{best.name} is the best of {len(sound)}: its lead over the mean of the others, {measured} {named}, "
        f"shrinks to {left} without what choosing the best adds (bootstrap over the choice and {over}, "
        "Tsamardinos et al. 2018)."
    ]


def _turned(each: Difference) -> Difference:
    """The same difference seen from the other side."""
    interval = each.interval and Interval(low=-each.interval.high, high=-each.interval.low, level=each.interval.level)
    value = None if each.value is None else -each.value
    return replace(each, candidate=each.reference, reference=each.candidate, value=value, interval=interval)
