"""What to do about a verdict, given the recipe: nothing that it says already, and nothing that would have no effect."""

from __future__ import annotations

from glotune.evidence.trend import TrainingHistory
from glotune.recipe.schema import Data, Model, Recipe

DEFAULTS = Recipe(name="defaults", model=Model(name="unknown"), data=Data(train="unknown"))
"""Advice where the recipe is not known."""
NO_COMPARISON = "Don't compare other runs with this one."
LANGUAGES = (
    "Read nothing into the languages answered with one class: check their script and unknown tokens in the data "
    "profile, or add a few of their texts with data.few_shot."
)
ENOUGH_WARMUP = 0.1


def stopped_early(history: TrainingHistory, recipe: Recipe) -> str | None:
    """The sentence that says that patience ended the training, None where it went on to its last epoch."""
    patience, metric = recipe.evaluate.patience, recipe.evaluate.metric
    last = history.epochs[-1].epoch if history.epochs else None
    if patience is None or last is None or last >= recipe.train.epochs:
        return None
    waited = f"{patience} evaluations" if patience > 1 else "one evaluation"
    return (
        f"Training stopped early, at epoch {last:g} of {recipe.train.epochs}: {waited} without a better {metric} "
        "(evaluate.patience)."
    )


def on_divergence(recipe: Recipe) -> list[str]:
    """A number is not finite."""
    calmer = []
    if recipe.optimizer.max_grad_norm is None:
        calmer.append("set optimizer.max_grad_norm: 1.0")
    elif recipe.optimizer.max_grad_norm > 1.0:
        calmer.append(f"lower optimizer.max_grad_norm from {recipe.optimizer.max_grad_norm:g} to 1.0")
    if recipe.train.precision != "fp32":
        calmer.append("try train.precision: fp32")
    rate = f"Lower optimizer.learning_rate (now {recipe.optimizer.learning_rate:g}), e.g. to a third"
    return [
        f"{rate}, and {_warmup(recipe)}.",
        *([_sentence("; ".join(calmer))] if calmer else []),
        NO_COMPARISON,
    ]


def on_collapse(recipe: Recipe, num_labels: int | None, *, still_ranks: bool, hardly_begun: bool) -> list[str]:
    """One class is answered, or every label alike (`num_labels` None); `still_ranks`: the probabilities order the texts
    all the same.
    """
    if hardly_begun:
        return [*on_few_steps(recipe), NO_COMPARISON]
    if still_ranks:
        ways = _to_balance(recipe, num_labels)
        reason = "the probabilities still order the texts, only the decision is always the same"
        return [
            _sentence(f"{', or '.join(ways)}: {reason}" if ways else reason),
            "Train longer, or with a higher optimizer.learning_rate, if the loss was still falling.",
        ]
    retries = recipe.train.on_collapse == "retry"
    return [
        _sentence(f"{_warmup(recipe)}, so that the first steps are small"),
        f"Lower optimizer.learning_rate (now {recipe.optimizer.learning_rate:g}), e.g. to a third.",
        *([] if retries else ["Or set train.on_collapse: retry, which does both once and records it."]),
        NO_COMPARISON,
    ]


def on_overfitting(recipe: Recipe) -> list[str]:
    """It went past its best."""
    patience = recipe.evaluate.patience
    stop = (
        "or set evaluate.patience"
        if patience is None
        else f"or lower evaluate.patience from {patience}" if patience > 1 else ""
    )  # fmt: skip
    shorter = (
        f"Train for fewer epochs{', ' if stop else ''}{stop}: the best checkpoint is kept and evaluated either way."
    )
    if recipe.model.lora is not None:
        smaller = "lower model.lora.rank"
    else:
        smaller = "freeze more layers" if recipe.model.freeze.layers else "freeze layers"
    return [shorter, f"Raise optimizer.weight_decay or loss.label_smoothing, lower the rate, {smaller}, or add texts."]


def on_improvement(recipe: Recipe) -> list[str]:
    """It was still getting better when it ended."""
    return [
        f"Raise train.epochs (now {recipe.train.epochs}): what it reached is a lower bound of what this recipe can do."
    ]


def on_few_steps(recipe: Recipe) -> list[str]:
    """It has hardly begun."""
    texts = (
        "raise data.fraction" if recipe.data.fraction < 1 else "raise data.train_rows"
        if recipe.data.train_rows is not None else "give more training texts"
    )  # fmt: skip
    return [
        f"{_longer(recipe)}, lower train.batch_size (more steps per epoch), or {texts}: these scores say nothing of "
        "what the recipe can do."
    ]


def on_few_judged(recipe: Recipe) -> list[str]:
    """So few texts judge it that nothing can be shown."""
    share = recipe.data.made_splits.validation
    return [
        f"Give more validation or test texts, or hold more of the training texts out: data.made_splits.test, or "
        f"data.made_splits.validation (now {share:g})."
    ]


def on_nothing_learned(recipe: Recipe) -> list[str]:
    """The loss stayed that of guessing."""
    return [
        f"{_longer(recipe)} or optimizer.learning_rate; if the loss stays there, lower the rate and {_warmup(recipe)}, "
        "and check that labels and texts belong together."
    ]


def on_unanswered_labels(recipe: Recipe) -> str:
    """Labels that are never answered, in a run that is good for something."""
    ways = _to_balance(recipe, None)
    more = f"{', or '.join(ways)}, or " if ways else ""
    return _sentence(f"{more}give more training texts with the labels that are never predicted: their F1 is 0 here")


def _to_balance(recipe: Recipe, num_labels: int | None) -> list[str]:
    """What makes rare answers more frequent; `num_labels` None: of several labels for each text."""
    if num_labels is None:
        ways = ["set loss.pos_weight: balanced"] if recipe.loss.pos_weight == "none" else []
        return [*ways, *([] if recipe.evaluate.threshold == "fitted" else ["set evaluate.threshold: fitted"])]
    ways = ["set loss.class_weights: balanced"] if recipe.loss.class_weights == "none" else []
    if num_labels == 2:
        ways.append("fit a threshold on validation texts (glotune calibrate RUN --threshold macro_f1)")
    return ways


def on_no_skill(recipe: Recipe, num_labels: int | None, *, still_ranks: bool) -> list[str]:
    """The training loss fell, and the answers to other texts are those of chance."""
    ways = _to_balance(recipe, num_labels) if still_ranks else []
    return [
        *([_sentence(", or ".join(ways))] if ways else []),
        "Check that labels and texts belong together (glotune data check FILE), and that training and test texts are "
        "labelled alike.",
        "Give more training texts, or more test texts: with few of them a small skill can't be shown.",
    ]


def _longer(recipe: Recipe) -> str:
    """More epochs; with patience they alone may change nothing."""
    return "Raise train.epochs" + ("" if recipe.evaluate.patience is None else " (and evaluate.patience)")


def _warmup(recipe: Recipe) -> str:
    schedule = recipe.schedule
    if schedule.warmup_steps is not None:
        return f"raise schedule.warmup_steps (now {schedule.warmup_steps})"
    if schedule.warmup_ratio >= ENOUGH_WARMUP:
        return f"raise schedule.warmup_ratio (now {schedule.warmup_ratio:g})"
    return f"set schedule.warmup_ratio: {ENOUGH_WARMUP:g}"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
