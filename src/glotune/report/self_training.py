"""Self-training in a report: what each round learned from, what came of it, and which one the run is."""

from __future__ import annotations

from glotune.report.scores import display, in_a_sentence
from glotune.report.tables import Table
from glotune.run.data import RunData
from glotune.run.teaching import Round
from glotune.stats.traits import trait
from glotune.words import NOTHING, count, counted, duration, language_name, named, percent

HOW = {
    "confidence": "the most probable answers",
    "uncertainty": "the answers of least entropy",
    "balanced": "as many of each class, the most probable first",
}


def training_rows(run: RunData) -> list[tuple[str, str]]:
    """The unlabelled texts and how they are chosen, for the table of the training configuration."""
    spec = None if run.recipe is None else run.recipe.self_training
    if spec is None or run.recipe is None:
        return []
    found = run.manifest.self_training
    texts = found.texts if found else dict.fromkeys(run.recipe.data.unlabelled)
    shown = ", ".join(named(code) + (f" {number:,}" if number else "") for code, number in texts.items())
    aim = "its probabilities" if spec.soft else "its answers"
    return [
        ("Unlabelled texts", shown),
        (
            "Self-training",
            f"at most {counted(spec.rounds, 'round')}; each adds {percent(spec.share)} of the texts of a language, "
            f"{HOW[spec.select]}; learned from the {spec.keep} model before: {aim}"
            + (", shifted in each language to the class shares of the labelled texts" if spec.align else ""),
        ),
    ]


def note(run: RunData) -> str:
    """How the rounds went, as sentences; empty for a run without."""
    found = run.manifest.self_training
    if found is None or not found.rounds:
        return ""
    metric, languages = in_a_sentence(found.rounds[0].metric), ", ".join(map(named, run.sources))
    parts = [
        "Round 0 is the ordinary run on the labelled texts. In each round after it, the model kept so far labelled "
        f"{count(sum(found.texts.values()))} unlabelled texts in {', '.join(map(language_name, found.texts))}, and a "
        "new model learned from some of them beside the labelled ones. No label of these texts was used, and none of "
        "them is validated or tested on."
    ]
    if found.kept is None:
        parts.append("The rounds have not ended.")
    else:
        spec = None if run.recipe is None else run.recipe.self_training
        best = f"the best by {metric} on the validation texts of the source languages ({languages})"
        chosen = "the last" if spec is not None and spec.keep == "last" else best
        parts.append(f"The run is round {found.kept}, {chosen}. There were no more rounds: {found.ended}.")
    labelling = sum(each.wall.get("label_seconds", 0.0) for each in found.rounds)
    kept = next((each for each in found.rounds if each.number == found.kept), None)
    alone = "" if kept is None else f", {_seconds(kept)} of it in the round that was kept"
    parts.append(
        f"All rounds took {duration(found.train_seconds)} in steps{alone}, and {duration(labelling)} to label texts."
    )
    return " ".join(parts + [f"Mind: {warning}." for warning in found.warnings])


def _seconds(each: Round) -> str:
    return duration(each.wall.get("train_seconds"))


def rounds(run: RunData) -> Table | None:
    """A row for each round; None for a run without."""
    found = run.manifest.self_training
    if found is None or not found.rounds:
        return None
    value = trait(found.rounds[0].metric)
    columns = (
        "Round", "Labelled by", "Texts added", "Largest class among them", "Labels as in the round before",
        f"{display(found.rounds[0].metric)} on source validation{', %' if value.is_percent else ''}", "Verdict",
        "Time in steps",
    )  # fmt: skip
    rows = []
    for each in found.rounds:
        scored = f"{100 * each.value:.1f}" if value.is_percent else f"{each.value:.4f}"
        rows.append(
            (
                f"{each.number}{', kept' if each.number == found.kept else ''}",
                NOTHING if each.teacher is None else f"round {each.teacher}",
                count(each.num_texts),
                _largest(each),
                NOTHING if each.agreement is None else percent(each.agreement),
                scored,
                each.verdict or NOTHING,
                _seconds(each),
            )
        )
    return Table(columns, tuple(rows))


def _largest(each: Round) -> str:
    if not each.num_texts:
        return NOTHING
    label, number = max(each.by_label.items(), key=lambda item: item[1])
    return f"{percent(number / each.num_texts)} {label}"


def selected(run: RunData) -> Table | None:
    """Pseudo-labelled texts of each round, by language and label; None where none was learned from."""
    found = run.manifest.self_training
    if found is None or not any(each.num_texts for each in found.rounds):
        return None
    labels = run.manifest.labels
    rows = [
        (str(each.number), named(language), count(sum(counts.values())), *(count(counts[name]) for name in labels))
        for each in found.rounds
        for language, counts in each.selected.items()
    ]
    return Table(("Round", "Language", "Texts", *labels), tuple(rows))
