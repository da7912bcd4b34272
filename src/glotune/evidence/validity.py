"""Which runs may be compared: the same test texts, the same labels; and which are not sound."""

from __future__ import annotations

from collections.abc import Sequence

from glotune.errors import UserError
from glotune.run.data import RunData
from glotune.words import named

SAME = 1e-5
"""Scores nearer than this are one score: old records hold probabilities in single precision."""


def common_split(runs: Sequence[RunData]) -> str:
    """``test`` where every run was tested, otherwise ``validation``.

    Raises:
        UserError: a run has no scores yet.
    """
    for split in ("test", "validation"):
        if all(run.languages(split) for run in runs):
            return split
    missing = next(run for run in runs if not run.languages("test"))
    raise UserError(
        f"{missing.path} has no test scores (its status is {missing.manifest.status.value})",
        expected="finished runs",
        remedy=f"Finish it with: glotune resume {missing.path}",
    )


def common_languages(runs: Sequence[RunData], split: str, wanted: str | None) -> list[str]:
    """The languages that the comparison is about.

    Args:
        runs: the runs.
        split: the split.
        wanted: one language code; ``targets`` or None: languages that no run trained on, or all where there is none;
            ``all``.

    Raises:
        UserError: a run lacks a language that the others have, so that means would stand on different languages.
    """
    first = runs[0].languages(split)
    if wanted not in (None, "targets", "all"):
        lacking = [run for run in runs if wanted not in run.languages(split)]
        if lacking:
            raise UserError(
                f"{lacking[0].path} has no {split} scores in {wanted}",
                expected=f"one of {', '.join(sorted(lacking[0].languages(split)))}",
            )
        return [str(wanted)]
    for run in runs:
        if set(run.languages(split)) != set(first):
            shared = sorted(set(first) & set(run.languages(split)))
            raise UserError(
                f"{runs[0].path} was scored on {', '.join(sorted(first))}, "
                f"{run.path} on {', '.join(sorted(run.languages(split)))}",
                expected="runs that were scored on the same languages",
                remedy=f"Compare them in one that they share: --language {shared[0]}" if shared else None,
            )
    trained = {language for run in runs for language in run.manifest.source_languages}
    targets = [language for language in first if language not in trained]
    return first if wanted == "all" or not targets else targets


def refuse_different_tests(runs: Sequence[RunData], split: str, languages: list[str], *, by_records: bool) -> None:
    """Refuses runs whose scores stand on different texts: their difference would measure the texts.

    Args:
        by_records: compare the prediction records of every run. Otherwise those of runs with one data hash are taken
            to share their texts, for a list of many runs that shows no difference; others (another training set makes
            another hash) are compared by their records all the same.

    Raises:
        UserError: labels, numbers of texts, or texts differ, or records are not what the run wrote; names the runs
            and what differs.
    """
    first = runs[0]
    counts = {language: first.texts(split, [language]) for language in languages}
    for run in runs[1:]:
        if run.kind is not first.kind:
            raise _invalid(first, run, f"the tasks {first.kind.name} and {run.kind.name}", split)
        if run.manifest.labels != first.manifest.labels:
            raise _invalid(
                first, run, f"labels {', '.join(first.manifest.labels)} and {', '.join(run.manifest.labels)}", split
            )
        for language, count in counts.items():
            own = run.texts(split, [language])
            if own != count:
                raise _invalid(first, run, f"{count:,} and {own:,} texts in {named(language)}", split)
    if by_records and first.keeps_records(split, languages):
        others = [run for run in runs if run is not first and run.keeps_records(split, languages)]
    else:
        by_hash = {run.manifest.data_hash or str(run.path): run for run in reversed(runs)}
        others = [run for run in by_hash.values() if run.manifest.data_hash != first.manifest.data_hash]
    for run in others:
        if not run.stands_on_same_texts(first, split, languages):
            raise _invalid(first, run, "different texts, rows or labels", split)


def refuse_other_scores(runs: Sequence[RunData], split: str, metric: str, languages: list[str]) -> None:
    """Refuses runs whose ``metrics.json`` does not follow from their predictions, where no hash vouches for both.

    A mean would come from the one file and a difference from the other.

    Raises:
        UserError: names the run, the score, and what its predictions say.
    """
    for run in runs:
        if run.has_hashes or not run.keeps_records(split, languages):
            continue
        for language in languages:
            stated, found = run.score(split, metric, [language]), run.recomputed(split, language).get(metric)
            if stated is not None and found is not None and abs(stated - found) > SAME:
                raise UserError(
                    f"invalid comparison: {run.directory.metrics_path} says {metric} {stated:.4f} on "
                    f"{split}/{language}, the predictions of the run say {found:.4f}",
                    expected="scores that follow from the prediction records",
                    remedy=f"One of the two files was changed: leave {run.path} out, or train it again into another "
                    f"directory: glotune reproduce {run.path}",
                )


def refuse_mixed_training(name: str, runs: Sequence[RunData]) -> None:
    """Refuses seeds of one variant that were trained on different data: they differ in more than chance.

    Raises:
        UserError: names two runs and the files that differ.
    """
    first = runs[0]
    for run in runs[1:]:
        if run.training_data == first.training_data:
            continue
        known = {source.sha256 for source in first.manifest.data}
        changed = [
            f"{source.path} ({source.rows:,} rows)" for source in run.manifest.data if source.sha256 not in known
        ]
        raise UserError(
            f"{first.path} and {run.path} are seeds of '{name}', but their data differ "
            f"({', '.join(changed) or 'in the rows that were used'})",
            expected="seeds that differ in chance alone",
            remedy="Put the files back and train those seeds again, or give the changed data a variant of their own",
        )


def _invalid(first: RunData, second: RunData, difference: str, split: str) -> UserError:
    return UserError(
        f"invalid comparison: {first.path} and {second.path} were scored on different {split} data ({difference})",
        expected="runs that were scored on the same texts",
        remedy="Score one of them on the other's data with glotune evaluate, or leave it out",
    )
