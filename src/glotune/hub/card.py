"""The model card of a run: what it is, how good it is and by what evidence, what it is not, how to make it again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import jinja2
from huggingface_hub import ModelCard

from glotune.errors import RunError
from glotune.hub.metadata import base_model, metadata
from glotune.hub.paths import public_command, public_path
from glotune.recipe.kinds import TaskName
from glotune.recipe.schema import Data
from glotune.report.content import ReportContent, gather
from glotune.report.scores import in_a_sentence, with_interval
from glotune.report.specification import averaged_weights
from glotune.report.tables import Table, ece_floors
from glotune.run.data import RunData, load_run
from glotune.run.directory import RunDirectory
from glotune.run.records import Verdict
from glotune.stats.traits import trait
from glotune.words import escaped, named

TEMPLATES = Path(__file__).parent / "templates"
FIGURES = ("accuracy_f1_comparison", "transfer_gap", "losses", "confusion_matrix", "label_scores", "score_scatter")
"""The report's figures that a card shows, where the run has them."""

MERGED = """from transformers import pipeline

classify = pipeline("text-classification", model="{repository}"{code})
print(classify("{example}", truncation=True, max_length={max_length}{all_labels}))"""
ADAPTER = """from peft import AutoPeftModelForSequenceClassification
from transformers import AutoTokenizer

model = AutoPeftModelForSequenceClassification.from_pretrained("{repository}", id2label={id2label})
tokenizer = AutoTokenizer.from_pretrained("{repository}")
inputs = tokenizer("{example}", truncation=True, max_length={max_length}, return_tensors="pt")
print(model(**inputs).logits{read})"""
READS: dict[TaskName, str] = {"single_label": ".softmax(-1)", "multi_label": ".sigmoid()", "score": ""}
"""From logits to what they say."""


def model_card(
    run: RunDirectory | Path, repository: str | None = None, *, adapter: bool = False, license: str | None = None
) -> ModelCard:
    """The card of a judged run.

    Args:
        run: the run.
        repository: ``USER/NAME`` on the Hub; the run's name where it is not published.
        adapter: the card describes the adapter, not the whole model.
        license: the Hub's identifier of a licence.

    Raises:
        UserError: it is no run directory, or that of a pretraining run.
        RunError: the run has no verdict yet.
    """
    data = load_run(run)
    data.directory.require_trained()
    if data.manifest.verdict is None:
        raise RunError(
            f"{data.directory.path} has no verdict yet: its status is {data.manifest.status.value}. "
            f"Finish it with: glotune resume {data.directory.path}"
        )
    place = repository or f"USER/{data.name}"
    known = metadata(data, place, adapter=adapter, license=license)
    return ModelCard(f"---\n{known.to_yaml()}\n---\n\n{_text(data, data.manifest.verdict, place, adapter)}")


def _text(run: RunData, verdict: Verdict, repository: str, adapter: bool) -> str:
    content = gather(run)
    text = _template().render(
        title=repository.partition("/")[2],
        content=content,
        verdict=verdict,
        usage=_usage(run, repository, adapter),
        labels=run.manifest.labels,
        labels_are={"single_label": "Classes", "multi_label": "Labels", "score": "Scores"}[run.kind.name],
        main_split=run.main_split,
        figures=[name for name in FIGURES if (run.directory.report / "figures" / f"{name}.png").is_file()],
        limits=list(limits(run, content, verdict)),
        sources=_sources(run),
        command=public_command(run.manifest.command),
        model=[(name, public_path(value)) for name, value in content.model],
        machine=content.machine,
    )
    lines = [line.rstrip() for line in text.splitlines()]
    kept = [line for at, line in enumerate(lines) if line or at == 0 or lines[at - 1]]
    return "\n".join(kept).strip() + "\n"


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # Markdown: the filter `md` escapes what is not ours
    )
    environment.filters["md"] = lambda value: escaped(str(value))
    return environment.get_template("card.md.j2")


def _usage(run: RunData, repository: str, adapter: bool) -> str:
    pattern = ADAPTER if adapter else MERGED
    return pattern.format(
        repository=repository,
        example="a text to classify",
        max_length=run.recipe.data.max_length if run.recipe else 128,
        id2label=dict(enumerate(run.manifest.labels)),
        all_labels="" if run.kind.name == "single_label" else ", top_k=None",
        read=READS[run.kind.name],
        code=", trust_remote_code=True" if run.manifest.needs_code else "",
    )


def limits(run: RunData, content: ReportContent, verdict: Verdict) -> Iterator[str]:
    """What a reader must not conclude, each line from the run's own numbers."""
    if not verdict.is_sound:
        yield f"The run {verdict.as_verb}: its scores mean nothing. {' '.join(verdict.remedy)}".strip()
    if run.altered:
        yield f"{', '.join(run.altered)} changed since the run ended: no figure here is proved."
    yield f"One run with seed {run.manifest.seed}: the intervals are over texts and say nothing about other seeds."
    tested = ", ".join(named(code) for code in run.main) or "no language"
    yield f"Trained on {', '.join(map(named, run.sources))}; tested on {tested}. Other languages are untested."
    recipe = run.recipe
    if recipe is not None:
        if recipe.evaluate.on == "target":
            yield "Its checkpoint was chosen with labels of the target languages: this is no zero-shot result."
        if recipe.data.translations:
            into = ", ".join(map(named, recipe.data.translations))
            yield f"Training saw translations of its source texts into {into}: this is translate-train, not zero-shot."
        if unlabelled := [code for code in recipe.data.unlabelled if not run.is_source(code)]:
            yield (
                f"Training saw unlabelled texts in {', '.join(map(named, unlabelled))}, labelled by the model itself "
                "(self-training): it uses target texts and is not zero-shot, though it used no label of theirs."
            )
        if words := ", ".join(map(named, recipe.data.switched_into)):
            yield (
                f"Words of its training texts were replaced by translations into {words}: this is code-switching with "
                "a dictionary, not zero-shot."
            )
        if recipe.data.few_shot:
            shots = ", ".join(f"{number} of {named(code)}" for code, number in recipe.data.few_shot.items())
            yield f"Training saw labelled texts of target languages: {shots}."
        if (mean := averaged_weights(run)) is not None and run.manifest.averaged and run.manifest.averaged.kept:
            yield f"Its weights are {mean}."
        if run.manifest.needs_code:
            yield (
                "Its head reads the mean of all tokens, for which transformers has no class of this family: "
                "mean_pooling.py in this folder is the class, and runs under trust_remote_code=True alone. Readers "
                "that know model types by name (text-embeddings-inference, vLLM) do not open it; glotune and its ONNX "
                "export do."
            )
        yield f"{_long_texts(recipe.data)}; truncation=True must be given to the pipeline."
        if recipe.data.weighted_metrics:
            yield f"Its scores weigh each text by the column '{recipe.data.columns.weight}'."
        if recipe.data.columns.votes is not None:
            yield "Its labels are the classes with most annotators' votes; its probabilities were learned from these."
    yield from _thresholds(run)
    yield from _weakest(run)
    errors = {code: scores.scores.get("ece") for code, scores in run.main.items()}
    worst = max(((value, code) for code, value in errors.items() if value is not None), default=None)
    if worst is not None:
        floor = ece_floors(run, str(run.main_split)).get(worst[1])
        chance = (
            "" if floor is None else f"; a perfectly calibrated model would show {100 * floor:.1f} on as many texts"
        )
        off = f"{100 * worst[0]:.1f} points on average"
        yield f"Its probabilities are off by up to {off} (ECE, {named(worst[1])}{chance})."
    base = base_model(run)
    yield f"Whatever limits {base or 'its encoder'} has, and the terms of its licence, hold for this model too."


def _long_texts(data: Data) -> str:
    """What happens to texts that are longer than the model reads at once."""
    if data.windows is None:
        return f"Texts over {data.max_length} tokens are cut"
    return (
        f"Scores above are of texts read in up to {data.windows.most} windows of {data.max_length} tokens "
        f"(windows in config.json, read by glotune predict); transformers reads the first {data.max_length} alone"
    )


def _thresholds(run: RunData) -> Iterator[str]:
    """From where on labels are answered: transformers' pipeline gives probabilities alone."""
    decision = run.manifest.decision
    if decision is not None and decision.thresholds:
        told = ", ".join(
            f"{name} {value:.3f}" for name, value in zip(run.manifest.labels, decision.thresholds, strict=True)
        )
        where = f", fitted on validation texts in {', '.join(decision.fitted_on)}" if decision.fitted_on else ""
        how = (
            "labels answered from these probabilities on"
            if run.kind.name == "multi_label"
            else f"the class whose probability is highest beside its threshold, tuned for {decision.tuned_for}"
        )
        yield f"Scores above are of {how}{where}: {told} (thresholds in config.json)."


def _weakest(run: RunData) -> Iterator[str]:
    """The language with the lowest score, with its interval."""
    metric = run.kind.metric
    scores = {code: each.scores.get(metric) for code, each in run.main.items()}
    known = [(value, code) for code, value in scores.items() if value is not None]
    if len(known) > 1:
        code = min(known)[1]
        share = " %" * trait(metric).is_percent
        yield f"Weakest on {named(code)}: {in_a_sentence(metric)} {with_interval(run.main[code], metric)}{share}."


def _sources(run: RunData) -> Table | None:
    rows = tuple((public_path(source.path), f"{source.rows:,}", source.sha256) for source in run.manifest.data)
    return Table(("File", "Rows", "SHA-256"), rows) if rows else None
