"""What was trained and how, as rows of name and value, from recipe, manifest and events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from glotune.recipe import Recipe
from glotune.recipe.schema import Data
from glotune.report.scores import display, in_a_sentence
from glotune.run.data import RunData
from glotune.words import NOTHING, count, counted, duration, gib, millions, named, percent, plain, size

Rows = list[tuple[str, str]]
PREDICTED_IN_BF16 = (
    "computed in bf16 as training was; glotune predict, glotune evaluate and transformers compute in fp32: "
    "probabilities differ by up to about 0.01"
)


def model_rows(run: RunData) -> Rows:
    """The encoder, what was done to it, and what was left to train."""
    recipe, changes = run.recipe, run.manifest.changes
    rows: Rows = []
    if recipe:
        model = recipe.model
        rows.append(("Encoder", model.name + (f" at revision {model.revision}" if model.revision else "")))
        rows.append(("Layers kept", f"the first {model.layers}" if model.layers else "all"))
        rows.append(("Frozen", _frozen(recipe)))
        rows.append(("LoRA", _lora(recipe)))
        if model.dropout is not None:
            rows.append(("Dropout", plain(model.dropout)))
        if model.pooling is not None:
            read = {"first": "the first token", "mean": "the mean of all tokens"}[model.pooling]
            code = "; transformers opens the saved model with trust_remote_code=True"
            rows.append(("Pooling", read + code if run.manifest.needs_code else read))
    named = {"single_label": "Classes", "multi_label": "Labels", "score": "Scores"}[run.kind.name]
    rows.append((named, f"{len(run.manifest.labels)}: {', '.join(run.manifest.labels)}"))
    if changes:
        before, last = changes[0], changes[-1]
        kept, whole = millions(last.parameters_after), millions(before.parameters_before)
        rows.append(("Parameters", f"{kept} in training, of {whole} of the encoder"))
        share = last.trainable_after / last.parameters_after if last.parameters_after else 0.0
        rows.append(("Trainable", f"{millions(last.trainable_after)} ({percent(share, 2)} of those in training)"))
        rows.extend((f"Step {place}: {change.kind.replace('_', ' ')}", change.description)
                    for place, change in enumerate(changes, start=1))  # fmt: skip
    if run.manifest.trust_remote_code:
        rows.append(("Remote code", "allowed: the encoder's repository ran code of its own"))
    return rows


def _frozen(recipe: Recipe) -> str:
    freeze = recipe.model.freeze
    parts = (["embeddings"] if freeze.embeddings else []) + (
        [f"first {counted(freeze.layers, 'layer')}"] if freeze.layers else []
    )
    return f"{' and '.join(parts)}, dropout inside them {freeze.dropout}" if parts else "nothing"


def _lora(recipe: Recipe) -> str:
    lora = recipe.model.lora
    if lora is None:
        return "none"
    extra = [name for name, on in (("rsLoRA", lora.rslora), ("DoRA", lora.dora)) if on]
    whole = "all layers above the frozen ones" if recipe.model.freeze.layers else "all layers"
    where = f"the upper {counted(lora.layers, 'layer')}" if lora.layers else whole
    targets = ", ".join(lora.target_modules)
    text = f"rank {lora.rank}, alpha {lora.alpha:g}, dropout {lora.dropout:g}, on {targets} of {where}"
    return ", ".join([text, *extra])


def training_rows(run: RunData) -> Rows:
    """Data, loss, optimizer, schedule and loop; then what the machine decided and how long it took."""
    rows = _recipe_rows(run.recipe, run) if run.recipe else []
    plan = run.manifest.plan
    if plan:
        ranks = f", {plan.ranks} ranks" if plan.ranks > 1 else ""
        rows.append(("Machine", f"{plan.device}, {plan.precision}, {counted(plan.threads, 'thread')}{ranks}"))
        if plan.precision == "bf16":
            rows.append(("Predictions", PREDICTED_IN_BF16))
        rows.append(("Attention", plan.attention.replace("_", " ")))
        rows.append(("Micro-batch budget", f"{count(plan.token_budget)} tokens"))
    steps = run.history.steps
    if steps:
        rows.append(("Optimizer steps", f"{count(steps[-1].step)} ({steps[-1].epoch:.2f} epochs)"))
        rows.append(("Tokens trained on", count(sum(step.tokens for step in steps))))
        rows.append(("Time in steps", duration(run.history.train_seconds())))
    rows.append(("Seed", str(run.manifest.seed)))
    return rows


def _recipe_rows(recipe: Recipe, run: RunData) -> Rows:
    data, optimizer, schedule, train = recipe.data, recipe.optimizer, recipe.schedule, recipe.train
    patience = recipe.evaluate.patience
    rows: Rows = [
        ("Source languages", ", ".join(map(named, run.sources)) or NOTHING),
        ("Maximum length", f"{data.max_length} tokens, {_longer_texts(data)}, {data.normalization}"),
        ("Epochs", str(train.epochs)),
        ("Batch size", f"{train.batch_size} texts per step, {train.batching}"),
        ("Loss", _loss(recipe)),
        ("Optimizer", f"AdamW, betas {plain(optimizer.betas)}, weight decay {optimizer.weight_decay:g}, "
                      f"gradient norm clipped at {plain(optimizer.max_grad_norm)}"),
        ("Learning rate", _rate(recipe)),
        ("Schedule", _schedule(recipe)),
        ("Evaluation", f"every {recipe.evaluate.every}" + ("" if recipe.evaluate.every == "epoch" else " steps")),
        ("Checkpoint kept", selection(run)),
    ]  # fmt: skip
    extra: list[tuple[str, Any]] = [
        ("Translations", ", ".join(map(named, data.translations)) or None), ("Few-shot", data.few_shot),
        ("Sampling alpha", data.sampling_alpha),
        ("Training share", data.fraction if data.fraction != 1.0 else None),
        ("Training rows at most", data.train_rows),
        ("Early stopping", f"after {counted(patience, 'evaluation')}" if patience else None),
        ("Test while training", _TESTED[recipe.evaluate.test]),
    ]  # fmt: skip
    extra.append(("Augmentation", _augmentation(recipe, run.data.translated_words)))
    extra.append(("Consistency", _consistency(recipe)))
    extra.append(("Adversarial training", _adversarial(recipe)))
    extra.append(("Average", averaged_weights(run)))
    where = "in the loss and in metrics" if data.weighted_metrics else "in the loss alone"
    extra.append(("Row weights", f"column {data.columns.weight}, {where}" if data.columns.weight else None))
    rows.extend((name, plain(value)) for name, value in extra if value not in (None, {}))
    if schedule.minimum_learning_rate:
        rows.append(("Floor of the schedule", plain(schedule.minimum_learning_rate)))
    return rows


def _loss(recipe: Recipe) -> str:
    loss = recipe.loss
    if recipe.task == "score":
        return "squared error" if loss.huber is None else f"Huber's, linear beyond {loss.huber:g} standard deviations"
    smoothing = f"label smoothing {loss.label_smoothing:g}"
    focal = f"focal loss with gamma {loss.focal_gamma:g}, " if loss.focal_gamma else ""
    if recipe.task == "multi_label":
        return f"binary cross-entropy, {focal}weights of labels that apply {plain(loss.pos_weight)}, {smoothing}"
    against = " against the distribution of votes" if recipe.data.columns.votes is not None else ""
    return f"cross-entropy{against}, {focal}class weights {plain(loss.class_weights)}, {smoothing}"


def _augmentation(recipe: Recipe, translated_words: Mapping[str, float]) -> str | None:
    spec = recipe.data.augment
    if spec is None:
        return None
    parts = [
        *(["the text or one of its back-translations"] if spec.back_translations is not None else []),
        *([_switching(recipe, translated_words)] if spec.code_switch is not None else []),
        *([f"pieces of words drawn (alpha {spec.subword:g})"] if spec.subword is not None else []),
        *([f"{percent(spec.word_dropout)} of the words left out"] if spec.word_dropout else []),
        *([f"swaps of {percent(spec.word_swap)} of the words"] if spec.word_swap else []),
    ]
    return f"{', '.join(parts)}; training texts alone, otherwise in each epoch"


def _switching(recipe: Recipe, translated_words: Mapping[str, float]) -> str:
    """``30.0 % of the words replaced by translations into Javanese (jv); 41.2 % of those in English (en) have one``."""
    consistency = recipe.loss.consistency
    assert recipe.data.augment is not None
    assert recipe.data.augment.code_switch is not None
    into = ", ".join(map(named, recipe.data.switched_into))
    known = "".join(
        f"; {percent(share)} of those in {named(code)} have one" for code, share in translated_words.items()
    )
    where = " in the second view" if consistency is not None and "code_switch" in consistency.views else ""
    share = recipe.data.augment.code_switch.share
    return f"{percent(share)} of the words replaced{where} by translations into {into}{known}"


def _consistency(recipe: Recipe) -> str | None:
    spec = recipe.loss.consistency
    if spec is None:
        return None
    ways = [
        *(["once as one of its translations"] if "translation" in spec.views else []),
        *(["once with words replaced by translations"] if "code_switch" in spec.views else []),
        *([f"once in pieces drawn at random (alpha {spec.alpha:g})"] if "subword" in spec.views else []),
    ]
    more = "".join(f", {each}" for each in ways)
    return (
        f"each text passes twice, under other dropout{more}; the divergence of its two answers counts "
        f"{spec.weight:g} times beside the mean of their losses (R-Drop)"
    )


def _adversarial(recipe: Recipe) -> str | None:
    spec = recipe.adversarial
    if spec is None:
        return None
    names = {"fgm": "FGM", "pgd": "PGD", "freelb": "FreeLB"}
    return (
        f"{names[spec.method]}, {counted(spec.moves, 'move')} of a text's word embeddings within a length of "
        f"{spec.epsilon:g}: {spec.moves + 1} passes over each text instead of one; losses are those of the first"
    )


_TESTED = {
    "never": None,
    "last": "at the last evaluation; nothing was chosen by it",
    "each": "at each evaluation; nothing was chosen by it",
}


def _longer_texts(data: Data) -> str:
    """``head kept``, or ``longer texts in up to 8 windows that share 64, mean of their logits``."""
    if data.windows is None:
        return f"{data.truncation.replace('_', ' + ')} kept"
    how = {"mean": "mean of their logits", "max": "largest logit of each label", "first": "the first alone answers"}
    windows = data.windows
    return f"longer texts in up to {windows.most} windows that share {windows.stride}, {how[windows.pool]}"


def _rate(recipe: Recipe) -> str:
    optimizer = recipe.optimizer
    parts = [f"{optimizer.learning_rate:g}"]
    if optimizer.head_learning_rate is not None:
        parts.append(f"head {optimizer.head_learning_rate:g}")
    if optimizer.layer_decay is not None:
        parts.append(f"times {optimizer.layer_decay:g} per layer below the head")
    return ", ".join(parts)


def _schedule(recipe: Recipe) -> str:
    schedule = recipe.schedule
    steps = schedule.warmup_steps
    warmup = counted(steps, "step") if steps is not None else percent(schedule.warmup_ratio, 0)
    has_none = steps == 0 or (steps is None and schedule.warmup_ratio == 0)
    return f"{schedule.name} per {schedule.per}, {'no warmup' if has_none else 'warmup ' + warmup}"


def averaged_weights(run: RunData) -> str | None:
    """Which weights were averaged, how good the mean was, and whether the run ends with it."""
    found = run.manifest.averaged
    if found is None:
        return None
    names = [encoder_name(each) if "/" in each else each for each in found.members]
    name = in_a_sentence(found.metric)
    left = f", {counted(len(found.left_out), 'run')} left out" if found.left_out else ""
    ends = "the run ends with it" if found.kept else "the run ends with the best checkpoint instead"
    return (
        f"the mean of {', '.join(names)}{left}: {name} {found.value:.4f} on {found.on} validation, the best single "
        f"weights {found.best_value:.4f}; {ends}"
    )


def selection(run: RunData) -> str:
    """Which checkpoint was kept, by what, and whether the target languages had a say in it."""
    if run.recipe is None:
        return NOTHING
    evaluate = run.recipe.evaluate
    chosen = [code for code in run.history.languages("validation") if run.is_source(code) == (evaluate.on == "source")]
    names = f" in {', '.join(map(named, chosen))}" if chosen else ""
    shots = ", ".join(f"{number:,} of {named(code)}" for code, number in run.recipe.data.few_shot.items())
    into = ", ".join(map(named, run.recipe.data.translations))
    unlabelled = ", ".join(named(code) for code in run.recipe.data.unlabelled if not run.is_source(code))
    words = ", ".join(map(named, run.recipe.data.switched_into))
    ways = [
        *([f"translate-train into {into}"] if into else []),
        *([f"words switched into {words}"] if words else []),
        *([f"self-training on unlabelled texts in {unlabelled}"] if unlabelled else []),
    ]
    regime = f"{' and '.join(ways) or 'zero-shot'}: no target label was used"
    seen = f"training saw labelled target texts, {shots}: this is no zero-shot result" if shots else regime
    tested = {code for evaluations in run.evaluations.values() for code in evaluations}
    beside = "" if tested and not shots and not into and all(map(run.is_source, tested)) else f" ({seen})"
    how = (
        f"source validation{names}{beside}"
        if evaluate.on == "source"
        else f"target validation{names} (an oracle: it saw target labels, so this is no zero-shot result)"
    )
    step = run.manifest.best_step or run.history.best_step
    where = f"step {step:,}, " if step is not None else ""
    if run.recipe.is_soup:
        where = "of each averaged run the one with the "
    return f"{where}best {display(evaluate.metric)} on {how}"


def cost_rows(run: RunData) -> Rows:
    """What the exact savings left out; one row each, only where the run recorded it."""
    cost = known_costs(run)
    rows: Rows = []
    packed, fixed, dynamic = (cost.get(f"tokens_{name}") for name in ("packed", "fixed", "dynamic"))
    if packed and fixed:
        against = (
            f", {count(dynamic)} padded to the longest in each batch ({dynamic / packed:.2f} ×)" if dynamic else ""
        )
        share = f"({fixed / packed:.2f} ×)"
        rows.append(
            (
                "Tokens computed",
                f"{count(packed)} instead of {count(fixed)} padded to the maximum length {share}{against}",
            )
        )
    used, known = cost.get("embedding_rows_used"), cost.get("embedding_rows")
    if used and known:
        rows.append(("Vocabulary rows in memory", f"{count(used)} of {count(known)} ({percent(used / known)})"))
    cached, layers = cost.get("layers_cached"), cost.get("layers")
    if cached:
        of_all = f" of {layers}" if layers else ""
        rows.append(("Layers computed once, not every epoch", f"{cached}{of_all}"))
    if cost.get("pooled_last_layer"):
        rows.append(("Last layer", "queries, output and feed-forward computed for the pooled token alone"))
    if cost.get("peak_memory_bytes"):
        rows.append(("Peak memory", size(cost["peak_memory_bytes"])))
    if cost.get("peak_device_memory_bytes"):
        rows.append(("Peak memory of the GPU", size(cost["peak_device_memory_bytes"])))
    if cost.get("wait_share") is not None:
        rows.append(("Waiting for data", f"{percent(cost['wait_share'])} of the time of the steps"))
    return rows


def known_costs(run: RunData) -> dict[str, Any]:
    """The run's cost event; what it lacks is counted from its steps and changes."""
    details = {change.kind: change.details for change in run.manifest.changes}
    found: dict[str, Any] = {}
    packed = run.recipe is not None and run.recipe.train.batching == "packed"
    if run.recipe and packed and run.history.steps:
        found["tokens_packed"] = sum(step.tokens for step in run.history.steps)
        found["tokens_fixed"] = sum(step.texts for step in run.history.steps) * run.recipe.data.max_length
    trimmed = details.get("trim_vocabulary", {})
    found |= {"embedding_rows_used": trimmed.get("rows"), "embedding_rows": trimmed.get("full_rows")}
    cache = details.get("prefix_cache", {})
    if isinstance(cache.get("splits"), dict) and cache["splits"].get("train"):
        found["layers_cached"] = cache.get("depth")
    found["pooled_last_layer"] = details.get("pooled_last_layer", {}).get("pooled")
    cost = dict(run.history.cost)
    return {**found, **cost.pop("wall", {}), **cost}


def machine_rows(run: RunData) -> Rows:
    """Versions, hardware, hashes: what a repetition needs to know."""
    manifest = run.manifest
    hardware = [_hardware(name, value) for name, value in manifest.hardware.items()]
    return [
        ("Created", manifest.created),
        ("Status", manifest.status.value + (f": {manifest.reason}" if manifest.reason else "")),
        ("Attempts", str(manifest.attempt)),
        ("Recipe hash", manifest.recipe_hash),
        ("Data hash", manifest.data_hash or NOTHING),
        *[(f"Version of {name}", version) for name, version in sorted(manifest.versions.items())],
        *hardware,
    ]


def _hardware(name: str, value: object) -> tuple[str, str]:
    shown = plain(value)
    if name.endswith("_bytes") and isinstance(value, int | float):
        name, shown = name.removesuffix("_bytes"), size(value)
    elif name.endswith("_gib") and isinstance(value, int | float):
        name, shown = name.removesuffix("_gib"), gib(value)
    return name.replace("_", " ").capitalize(), shown


def encoder_name(name: str) -> str:
    """The last part of a Hub name; the last two of a folder, whose last is often a version or a step."""
    parts = [part for part in name.split("/") if part]
    return "/".join(parts[-2:]) if name.startswith(("/", ".")) else parts[-1]
