"""Which runs differ in their seed alone, and what to call each such variant."""

from __future__ import annotations

from collections.abc import Sequence

from glotune.run.data import RunData


def by_variant(runs: Sequence[RunData]) -> dict[str, list[RunData]]:
    """Name -> the runs of one variant, in the order of their first runs.

    Two runs of one recipe and one seed are two variants: a repetition is no further seed. Two runs of one recipe on
    different data are two variants as well. Variants that share a name are told apart by their folders, since what is
    kept by name must never be that of another variant.
    """
    groups: dict[tuple[tuple[str, str], int], list[RunData]] = {}
    for run in runs:
        repetition, key = 0, _key(run)
        while any(run.manifest.seed == known.manifest.seed for known in groups.get((key, repetition), [])):
            repetition += 1
        groups.setdefault((key, repetition), []).append(run)
    return dict(zip(_told_apart(list(groups.values())), groups.values(), strict=True))


def is_seed_of(run: RunData, other: RunData) -> bool:
    """Whether both are runs of one variant."""
    return _key(run) == _key(other)


def _key(run: RunData) -> tuple[str, str]:
    return run.variant, "" if run.variant_name else run.training_data


def _told_apart(groups: Sequence[list[RunData]]) -> list[str]:
    """A name for each group; where several share one, the shortest ends of their paths that differ stand beside it."""
    names = [_name(members) for members in groups]
    found = list(names)
    for name in {each for each in names if names.count(each) > 1}:
        places = [place for place, each in enumerate(names) if each == name]
        paths = [groups[place][0].path.absolute().parts for place in places]
        size = 1
        while len({path[-size:] for path in paths}) < len(paths):
            size += 1
        for place, path in zip(places, paths, strict=True):
            found[place] = f"{name} ({'/'.join(path[-size:])})"
    return found


def _name(members: list[RunData]) -> str:
    names = {run.name for run in members}
    if len(names) == 1:
        return next(iter(names))
    prefix = _shared_start(sorted(names)).rstrip("-_. ")
    return prefix.removesuffix("-seed").removesuffix("seed").rstrip("-_. ") or members[0].name


def _shared_start(names: list[str]) -> str:
    first, last = names[0], names[-1]
    same = next((place for place, letter in enumerate(first) if last[place : place + 1] != letter), len(first))
    return first[:same]
