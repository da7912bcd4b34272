"""The tables of the documentation, from the results file alone."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.documents import put_between
from benchmarks.tasks.parts import Told
from benchmarks.tasks.published import CROSS_LINGUAL, INTENSITY, MONOLINGUAL
from glotune.recipe.kinds import KINDS
from glotune.stats.traits import trait

Results = Mapping[str, Told]
Published = Mapping[str, tuple[float, float]]
MONOLINGUAL_HEAD = (
    "| language | test texts | frequencies | TF-IDF | glotune [95 % interval] | minus TF-IDF | XLM-R | LaBSE | |\n"
    "| --- | ---: | ---: | ---: | --- | --- | ---: | ---: | --- |"
)
NOTHING = "Not measured yet."
OWN = {kind.metric for kind in KINDS.values()}
"""Metrics of a task's own, by which the cheap models are told."""
INTENSITY_HEAD = (
    "| language | test texts | TF-IDF | glotune [95 % interval] | minus TF-IDF | XLM-R | LaBSE |\n"
    "| --- | ---: | ---: | --- | --- | ---: | ---: |"
)


def of_group(results: Results, group: str) -> dict[str, Told]:
    """Which -> what was told, of the parts of a group."""
    return {name.partition("/")[2]: found for name, found in results.items() if name.startswith(f"{group}/")}


def by_language(results: Results, group: str) -> dict[str, Told]:
    """Language -> what was told of it, in whichever part of a group it is tested."""
    return {
        language: told for found in of_group(results, group).values() for language, told in found["languages"].items()
    }


def settings_table(results: Results) -> str:
    """What was tried on validation texts."""
    lines = ["| trained | macro-F1 on validation | minutes of steps |", "| --- | ---: | ---: |"]
    for name, found in of_group(results, "settings").items():
        lines.append(f"| {name} | {100 * found['validation']:.1f} | {found['minutes_in_steps']:.1f} |")
    return "\n".join(lines)


def monolingual_table(results: Results) -> str:
    """Every language from its own rows, beside what is published."""
    found = by_language(results, "monolingual")
    lines = [MONOLINGUAL_HEAD]
    for language, (labse, xlmr) in MONOLINGUAL.items():
        if (told := found.get(language)) is None:
            lines.append(f"| {language} | | | | not measured | | {xlmr:.1f} | {labse:.1f} | |")
            continue
        lines.append(
            f"| {language} | {told['texts']:,} | {100 * told['majority']:.1f} | {100 * told['tfidf']:.1f} | "
            f"{shown(told['scores']['macro_f1'])} | {shown(told['gain'], signed=True)} | {xlmr:.1f} | {labse:.1f} | "
            f"{standing(told, xlmr)} |"
        )
    return "\n".join(lines)


def standing(told: Told, xlmr: float) -> str:
    """How a language stands to the published XLM-R, which may know no more than how frequent labels are."""
    value, low, _ = told["scores"]["macro_f1"]
    if xlmr <= 100 * told["majority"]:
        return "XLM-R without skill"
    if 100 * value <= xlmr:
        return "below XLM-R"
    return "above XLM-R" if 100 * low > xlmr else "above XLM-R, within chance"


def monolingual_summary(results: Results) -> str:
    """How many languages are above, and how many of those published figures say something."""
    found = by_language(results, "monolingual")
    above = [name for name, told in found.items() if 100 * told["scores"]["macro_f1"][0] > MONOLINGUAL[name][1]]
    barely = [name for name in above if MONOLINGUAL[name][1] <= 100 * found[name]["majority"]]
    surely = [name for name in above if 100 * found[name]["scores"]["macro_f1"][1] > MONOLINGUAL[name][1]]
    labse = [name for name, told in found.items() if 100 * told["scores"]["macro_f1"][0] > MONOLINGUAL[name][0]]
    return (
        f"Above the published XLM-R in {len(above)} of {len(found)} languages, with the whole interval in "
        f"{len(surely)}. In {len(barely)} of those above ({', '.join(sorted(barely)) or 'none'}) the published XLM-R "
        "scores no more than stating the labels' frequencies does: two epochs at 1e-5 left it barely trained, and "
        f"being above it is no win. Above the published LaBSE in {len(labse)} ({', '.join(sorted(labse)) or 'none'})."
    )


def cross_lingual_table(results: Results) -> str:
    """Every language from rows of others."""
    found = by_language(results, "cross-lingual")
    lines = [
        "| language | test texts | TF-IDF | glotune [95 % interval] | LaBSE | XLM-R |",
        "| --- | ---: | ---: | --- | ---: | ---: |",
    ]
    for language, told in sorted(found.items()):
        labse, xlmr = CROSS_LINGUAL[language]
        lines.append(
            f"| {language} | {told['texts']:,} | {100 * told['tfidf']:.1f} | {shown(told['scores']['macro_f1'])} | "
            f"{labse:.1f} | {xlmr:.1f} |"
        )
    if not found:
        return "\n".join(lines)
    ours = [100 * told["scores"]["macro_f1"][0] for told in found.values()]
    tfidf = [100 * told["tfidf"] for told in found.values()]
    theirs = [statistics.mean(CROSS_LINGUAL[language][place] for language in found) for place in (0, 1)]
    lines.append(
        f"| mean of {len(found)} | | {statistics.mean(tfidf):.1f} | {statistics.mean(ours):.1f} | {theirs[0]:.1f} | "
        f"{theirs[1]:.1f} |"
    )
    return "\n".join(lines)


def intensity_table(results: Results) -> str:
    """Pearson's r, times 100 as it is published."""
    found = by_language(results, "intensity")
    lines = [INTENSITY_HEAD]
    for language, (labse, xlmr) in INTENSITY.items():
        if (told := found.get(language)) is None:
            lines.append(f"| {language} | | | not measured | | {xlmr:.1f} | {labse:.1f} |")
            continue
        tfidf = "" if told["tfidf"] is None else f"{100 * told['tfidf']:.1f}"
        lines.append(
            f"| {language} | {told['texts']:,} | {tfidf} | {shown(told['scores']['pearson'])} | "
            f"{shown(told.get('gain'), signed=True)} | {xlmr:.1f} | {labse:.1f} |"
        )
    return "\n".join(lines)


def trainer_table(results: Results) -> str:
    """Both sides' means over the seeds, and their difference over seeds and texts."""
    lines = [
        "| task | metric | test texts | glotune | Trainer | difference [95 % interval] |",
        "| --- | --- | ---: | --- | --- | --- |",
    ]
    for name, found in of_group(results, "trainer").items():
        percent = trait(found["metric"]).is_percent
        sides = " | ".join(_spread(found[side], percent) for side in ("glotune", "trainer"))
        lines.append(
            f"| {name} | {trait(found['metric']).display} | {found['texts']:,} | {sides} | "
            f"{shown(found['difference'], percent=percent, signed=True)} |"
        )
    return "\n".join(lines)


def proofs_table(results: Results) -> str:
    """What holds for every task."""
    lines = [
        "| task | killed after | resumed, same | transformers differs by | Classifier as its run | claim of a study |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, found in of_group(results, "proofs").items():
        pipeline, learned, resumed = found["pipeline"], found["classifier"], found["resumed"]
        lines.append(
            f"| {name} | step {resumed['after_step']} | {'; '.join(resumed['differences']) or 'bit for bit'} | "
            f"{pipeline['largest_difference']:.0e} on {pipeline['texts']} texts ({pipeline['problem_type']}) | "
            f"{'yes' if learned['answers_as_its_run'] else '**no**'}, {learned['texts']} texts | "
            f"{found['claim']['answer']}, {found['claim']['runs']} runs |"
        )
    return "\n".join(lines)


def speed_line(results: Results) -> str:
    """How many times as fast several labels are as one."""
    found = of_group(results, "speed").get("labels")
    if found is None:
        return NOTHING
    middle, low, high = found["ratio"]
    rounds = len(found["seconds"]["multi_label"])
    return f"Six labels train {middle:.3f} times as fast as one ({low:.3f} to {high:.3f} over {rounds} rounds A B)."


def _spread(values: list[float], percent: bool) -> str:
    """Mean and standard deviation over seeds."""
    return f"{_number(statistics.mean(values), percent)} ± {_number(statistics.stdev(values), percent)}"


def metrics_table(results: Results, group: str) -> str:
    """Every metric of every part of a group, beside TF-IDF by the task's own metric."""
    lines = [
        "| run | test texts | metric | value [95 % interval] | TF-IDF | minus TF-IDF |",
        "| --- | ---: | --- | --- | ---: | --- |",
    ]
    for name, found in of_group(results, group).items():
        for told in found["languages"].values():
            lines += [
                f"| {name} | {told['texts']:,} | {metric} | {value} | {tfidf} | {gain} |"
                for metric, value, tfidf, gain in _metrics_of(told)
            ]
    return "\n".join(lines)


def _metrics_of(told: Told) -> Iterator[tuple[str, str, str, str]]:
    for metric, found in told["scores"].items():
        percent = trait(metric).is_percent
        beside = metric in OWN and told["tfidf"] is not None
        yield (
            trait(metric).display,
            shown(found, percent=percent),
            _number(told["tfidf"], percent) if beside else "",
            shown(told.get("gain"), percent=percent, signed=True) if beside else "",
        )


def shown(found: list[float | None] | None, *, percent: bool = True, signed: bool = False) -> str:
    """``42.8 [40.1, 45.0]``."""
    value, low, high = found or (None, None, None)
    if value is None:
        return ""
    if low is None or high is None:
        return _number(value, percent, signed)
    return f"{_number(value, percent, signed)} [{_number(low, percent, signed)}, {_number(high, percent, signed)}]"


def gain(answer: Mapping[str, Any]) -> str:
    """``+1.2 [-0.5, +2.9]`` of a study's answer to a claim about scores, in points; empty without an interval."""
    interval = answer["interval"]
    return "" if interval is None else shown([answer["improvement"], interval["low"], interval["high"]], signed=True)


def _number(value: float, percent: bool, signed: bool = False) -> str:
    sign = "+" if signed else ""
    return f"{100 * value:{sign}.1f}" if percent else f"{value:{sign}.3f}"


TABLES: dict[str, Callable[[Results], str]] = {
    "settings": settings_table,
    "monolingual": monolingual_table,
    "monolingual summary": monolingual_summary,
    "cross-lingual": cross_lingual_table,
    "intensity": intensity_table,
    "humor": lambda results: metrics_table(results, "humor"),
    "trainer": trainer_table,
    "proofs": proofs_table,
    "speed": speed_line,
    "long texts": lambda results: metrics_table(results, "long-texts"),
}


def all_shown(results: Results) -> str:
    """Every table under its name."""
    return "\n\n".join(f"{name}\n\n{table(results)}" for name, table in TABLES.items())


def put_into(document: Path, results: Results) -> None:
    """Renders each table between its marks in a document.

    Raises:
        ValueError: the document has no marks for one of them.
    """
    for name, table in TABLES.items():
        put_between(document, f"tasks, {name}", _or_nothing(table(results)))


def _or_nothing(table: str) -> str:
    """A table that is no more than its head says so."""
    return NOTHING if table.startswith("|") and table.count("\n") < 2 else table
