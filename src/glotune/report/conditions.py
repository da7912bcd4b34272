"""Under which conditions a run's scores came about: what it saw or was given that others may not have been.

Each is said beside every row and claim that the run enters; none of them makes a comparison invalid.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from glotune.recipe.keys import Value
from glotune.run.data import RunData
from glotune.run.records import RESTARTED
from glotune.words import named

READING_KEYS = ("data.max_length", "data.truncation", "data.windows", "data.normalization")
"""How much of a text a run reads, and in which form: said where runs side by side differ in it."""


@dataclass(frozen=True)
class Condition:
    """One condition of a run."""

    word: str
    """For a cell of a table."""
    sentence: str
    """What it means, without its subject's name: ``its checkpoint was chosen by ...``."""
    is_leak: bool = False


def conditions_of(runs: Sequence[RunData], split: str, languages: Sequence[str]) -> list[tuple[Condition, ...]]:
    """The conditions of each run, beside the others.

    Args:
        runs: what stands side by side; a single run has no others to differ from.
        split: what the scores are on.
        languages: that they are about.
    """
    trained = [code for code in languages if 0 < sum(run.is_source(code) for run in runs) < len(runs)]
    differing = [key for key in READING_KEYS if len({_reading(run.section("data"), key) for run in runs}) > 1]
    return [tuple(_conditions(run, split, languages, trained, differing)) for run in runs]


def _reading(data: Mapping[str, Value], key: str) -> str:
    """What one of `READING_KEYS` says: a value, or, of a section, those of its keys."""
    parts = {name.removeprefix(f"{key}."): value for name, value in data.items() if name.startswith(f"{key}.")}
    return ", ".join(f"{name} {value}" for name, value in parts.items()) if parts else str(data.get(key))


def _conditions(
    run: RunData, split: str, languages: Sequence[str], trained: Sequence[str], differing: Sequence[str]
) -> Iterator[Condition]:
    data, selection = run.section("data"), run.section("evaluate").get("evaluate.on")
    if selection == "target":
        yield Condition(
            "oracle selection",
            "its checkpoint was chosen by labelled texts of the target languages, which a zero-shot run does not see.",
        )
    shots = few_shot(data)
    if shots:
        said = ", ".join(f"{number} of {named(code)}" for code, number in shots.items())
        yield Condition(
            f"few-shot: {', '.join(f'{number} {code}' for code, number in shots.items())}",
            f"it was trained on labelled texts of target languages too ({said}): no zero-shot run.",
        )
    into = languages_under(data, "data.translations")
    if into:
        yield Condition(
            f"translate-train: {', '.join(into)}",
            f"it was trained on translations of its source texts into {', '.join(map(named, into))}: no zero-shot run, "
            "though no label of a text in these languages was used.",
        )
    unlabelled = [code for code in languages_under(data, "data.unlabelled") if not run.is_source(code)]
    if unlabelled:
        yield Condition(
            f"uses target texts: {', '.join(unlabelled)}",
            f"it learned from unlabelled texts in {', '.join(map(named, unlabelled))}, labelled by itself: no "
            "zero-shot run, though no label of a text in these languages was used.",
        )
    words = switched_into(data)
    if words:
        yield Condition(
            f"code-switching: {', '.join(words)}",
            f"words of its training texts were replaced by translations into {', '.join(map(named, words))}: it had a "
            "dictionary of these languages, which a zero-shot run has not, though no label of a text in them was used.",
        )
    own = [code for code in trained if run.is_source(code)]
    if own:
        yield Condition(
            f"trained on {', '.join(own)}",
            f"it was trained on texts in {', '.join(map(named, own))} (labelled ones or translations), unlike others "
            "here.",
        )
    if any(line.startswith(RESTARTED) for line in run.manifest.deviations):
        yield Condition(
            "restarted", "it collapsed and was trained again with a gentler rate and warmup than its recipe first said."
        )
    if split == "validation":
        chosen = [code for code in languages if run.is_source(code) == (selection != "target")]
        if chosen:
            yield Condition(
                "chosen by these texts",
                f"the texts in {', '.join(map(named, chosen))} chose its checkpoint, so that its scores there are too "
                "high.",
            )
    leaks = {code: len(rows) for code in languages if (rows := run.leaked.get(split, {}).get(code))}
    if leaks:
        said = ", ".join(f"{count:,} of {run.texts(split, [code]):,} in {named(code)}" for code, count in leaks.items())
        yield Condition(
            f"{sum(leaks.values()):,} leaked",
            f"texts that it is scored on stand in an earlier split too ({said}).",
            is_leak=True,
        )
    for key in differing:
        name, value = key.removeprefix("data."), _reading(data, key)
        yield Condition(f"{name} {value}", f"it read its texts with {key} {value}, unlike others here.")


def reservations(run: RunData) -> list[str]:
    """What a reader must know beside a single run's scores, as sentences; leaks are told by their scores."""
    found = (
        [f"{', '.join(run.altered)}: not what the run wrote, so that nothing here is proved."] if run.altered else []
    )
    if run.main_split is None:
        return found
    conditions = conditions_of([run], run.main_split, list(run.main))[0]
    return found + [f"Mind: {each.sentence}" for each in conditions if not each.is_leak]


def languages_under(data: Mapping[str, Value], key: str) -> list[str]:
    """Languages of further texts: those that ``data.translations`` or ``data.unlabelled`` names."""
    keys = [name.split(".") for name, value in data.items() if name.startswith(f"{key}.") and value is not None]
    return list(dict.fromkeys(parts[2] for parts in keys))


def switched_into(data: Mapping[str, Value]) -> list[str]:
    """Languages that words of training texts were replaced by (``data.augment.code_switch``)."""
    begin = "data.augment.code_switch."
    keys = [key.removeprefix(begin).split(".") for key, value in data.items() if key.startswith(begin) and value]
    found = [key[1] for key in keys if key[0] in ("lexicons", "pairs") and len(key) > 1]
    return list(
        dict.fromkeys([*found, *(languages_under(data, "data.translations") if ["from_translations"] in keys else [])])
    )


def few_shot(data: Mapping[str, Value]) -> dict[str, int]:
    """Language -> labelled texts of it that joined the training texts (``data.few_shot``)."""
    found = {key.removeprefix("data.few_shot."): value for key, value in data.items()}
    return {code: value for code, value in found.items() if f"data.few_shot.{code}" in data and isinstance(value, int)}
