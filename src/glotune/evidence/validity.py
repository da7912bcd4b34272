"""Which runs may be compared: the same test texts, the same labels; and which are not sound."""

from __future__ import annotations

from collections.abc import Sequence

from glotune.errors import UserError
from glotune.run.data import RunData
from glotune.words import named


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


def refuse_different_tests(runs: Sequence[RunData], split: str, languages: list[str]) -> None:
    """Refuses runs whose scores stand on different texts: their difference would measure the texts.

    Runs with one data hash share their texts. Others (another training set makes another hash) are compared by the
    rows, labels and texts of their predictions.

    Raises:
        UserError: labels, numbers of texts, or texts differ; names the two runs and what differs.
    """
    first = runs[0]
    for run in runs[1:]:
        if run.manifest.labels != first.manifest.labels:
            raise _invalid(
                first, run, f"labels {', '.join(first.manifest.labels)} and {', '.join(run.manifest.labels)}", split
            )
        for language in languages:
            counts = [each.texts(split, [language]) for each in (first, run)]
            if counts[0] != counts[1]:
                raise _invalid(first, run, f"{counts[0]:,} and {counts[1]:,} texts in {named(language)}", split)
    representatives = {run.manifest.data_hash or str(run.path): run for run in reversed(runs)}
    for run in representatives.values():
        if run.manifest.data_hash == first.manifest.data_hash:
            continue
        if not run.stands_on_same_texts(first, split, languages):
            raise _invalid(first, run, "different texts, rows or labels", split)


def _invalid(first: RunData, second: RunData, difference: str, split: str) -> UserError:
    return UserError(
        f"invalid comparison: {first.path} and {second.path} were scored on different {split} data ({difference})",
        expected="runs that were scored on the same texts",
        remedy="Score one of them on the other's data with glotune evaluate, or leave it out",
    )
