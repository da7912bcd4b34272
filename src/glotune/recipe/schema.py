"""The recipe: every key of a run, with its type, default and bounds. The keys are the interface."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from glotune.recipe.data_keys import Augment, CodeSwitch, Columns, Data, MadeSplits, SplitNames, Windows
from glotune.recipe.kinds import KINDS, TaskName
from glotune.recipe.section import AutoAllOrOff, Fraction, Names, OnOff, Rate, Section, Share
from glotune.recipe.settings import TrainingSettings
from glotune.recipe.training_keys import (
    TEMPERATURE,
    Adversarial,
    Consistency,
    Distill,
    Loss,
    Optimizer,
    Schedule,
    SelfTraining,
    Speed,
    Train,
)

__all__ = [
    "Adversarial",
    "Augment",
    "AutoAllOrOff",
    "Average",
    "Checkpoints",
    "CodeSwitch",
    "Columns",
    "Consistency",
    "Data",
    "Distill",
    "Evaluate",
    "Fraction",
    "Freeze",
    "Lora",
    "Loss",
    "MadeSplits",
    "Model",
    "Names",
    "OnOff",
    "Optimizer",
    "Rate",
    "Recipe",
    "Records",
    "Schedule",
    "Section",
    "SelfTraining",
    "Share",
    "Speed",
    "SplitNames",
    "Train",
    "Windows",
    "refuse_rates_out_of_order",
]


class Freeze(Section):
    """Parts of the encoder that are not trained."""

    embeddings: bool = False
    """Freeze the embeddings: words, positions, token types."""
    layers: int = Field(default=0, ge=0)
    """Freeze the first N encoder layers, and with them the embeddings below. 0 where layers share their weights
    (ALBERT)."""
    dropout: OnOff = "off"
    """Dropout in the frozen layers. ``off`` makes their output a function of the text, which can be cached."""

    @model_validator(mode="after")
    def _layers_rest_on_embeddings(self) -> Freeze:
        if self.layers > 0 and not self.embeddings:
            raise ValueError(
                "freeze.layers above 0 needs freeze.embeddings: true (a frozen layer on trained "
                "embeddings is not supported)"
            )
        return self


class Lora(Section):
    """Low-rank adapters (Hu et al. 2021, arXiv:2106.09685) through PEFT; the head is trained in full."""

    rank: int = Field(default=8, ge=1)
    """Rank of the update, which has rank * (in + out) parameters per adapted matrix."""
    alpha: float = Field(default=16, gt=0)
    """The update is scaled by alpha / rank."""
    dropout: Fraction = 0.0
    """Dropout on the adapter's input, in training only."""
    target_modules: list[str] = Field(default=["query", "value"], min_length=1)
    """Any of query, key, value, dense; ``dense`` means attention output and feed-forward in every family."""
    layers: int | None = Field(default=None, ge=1)
    """LoRA adapters in the last N layers only; null: in all layers that ``freeze.layers`` leaves."""
    rslora: bool = False
    """Scale by alpha / sqrt(rank) (Kalajdzievski 2023, arXiv:2312.03732)."""
    dora: bool = False
    """Weight-decomposed adapters (Liu et al. 2024, arXiv:2402.09353)."""


class Model(Section):
    """The encoder, and what is changed in it before training."""

    name: str = Field(min_length=1)
    """Name on the Hugging Face Hub, folder, or ``glotune-nano`` (part of the package)."""
    revision: str | None = None
    """Commit, branch or tag on the Hub; null: the newest commit."""
    layers: int | None = Field(default=None, ge=1)
    """Keep the first N encoder layers; null: all (encoder-decoders always keep all)."""
    freeze: Freeze = Freeze()
    lora: Lora | None = None
    dropout: Fraction | None = None
    """Dropout probability everywhere in encoder and head; null: those of the encoder's configuration."""
    pooling: Literal["first", "mean"] | None = None
    """What the head reads of a text: its first token, or the mean of all its tokens, as encoders of sentences (e5) were
    trained. null: as the encoder's own head, the first token for XLM-R and BERT. ``mean`` computes the last layer in
    full, and transformers opens such a model of these families with ``trust_remote_code=True`` alone."""
    trust_remote_code: bool = False
    """Run Python code from the encoder's repository; without it an encoder that needs such code is refused."""


class Evaluate(Section):
    """Evaluation during training."""

    every: Literal["epoch"] | Annotated[int, Field(ge=1)] = "epoch"
    """``epoch``, or a number of steps."""
    metric: Literal[
        "macro_f1", "weighted_f1", "accuracy", "mcc", "loss", "micro_f1", "samples_f1", "average_precision",
        "subset_accuracy", "pearson", "spearman", "kappa", "rmse", "mae",
    ] = "macro_f1"  # fmt: skip
    """Metric that chooses the best checkpoint and decides on early stopping; where a recipe of the task ``score`` names
    none, ``pearson``."""
    threshold: Literal["fitted"] | Annotated[float, Field(gt=0.0, lt=1.0)] = "fitted"
    """``multi_label``: from which probability on a label is answered. ``fitted``: for each label the one with the best
    F1 on the validation texts that choose the checkpoint; validation scores are then cross-fitted."""
    tune_thresholds: Literal["macro_f1", "weighted_f1", "accuracy", "mcc"] | None = None
    """``single_label``: answer the class whose probability is highest beside its threshold, with thresholds that
    maximise this metric on the validation texts that choose the checkpoint; validation scores are then cross-fitted.
    null: the most probable class is answered."""
    on: Literal["source", "target"] = "source"
    """Validation texts that choose the checkpoint: of the source languages (zero-shot), or of the target languages (an
    oracle, marked as such in the report)."""
    patience: int | None = Field(default=None, ge=1)
    """Early stopping: evaluations without improvement before training stops; null: none."""
    test: Literal["never", "last", "each"] = "never"
    """Score the test texts during training, at the last evaluation or at each; never used to choose a checkpoint."""
    baselines: bool = True
    """Beside the run: the majority class, and TF-IDF with logistic regression, on the same training texts. Takes
    seconds; left out where the texts have more than 5 million characters."""


class Checkpoints(Section):
    """Checkpoints to resume from; the best one is always kept."""

    every: Literal["epoch", "evaluation"] | Annotated[int, Field(ge=1)] = "epoch"
    """``epoch``, ``evaluation``, or a number of steps."""
    keep: int = Field(default=2, ge=1)
    """Number of newest checkpoints to keep."""


class Average(Section):
    """The mean of several weights in place of the best checkpoint's; for zero-shot transfer a gain across tasks and
    languages (Schmidt et al. 2023, ACL, arXiv:2305.16834). Either over one run, or over finished runs."""

    last: int | None = Field(default=None, ge=2)
    """The mean over the last N evaluations of this run; of an adapter its two matrices each."""
    keep: Literal["better", "always"] = "better"
    """better: keep the mean where it is at least as good as the best checkpoint on the validation texts that choose
    it; always: keep it in any case. The run says which weights it ends with."""
    runs: Names | None = Field(default=None, min_length=2)
    """The mean over these finished runs of the recipe instead of any training: what ``glotune average`` sets."""
    soup: Literal["uniform", "greedy"] = "uniform"
    """uniform: all runs; greedy: from the best on, each that does not lower the validation score of the mean (Wortsman
    et al. 2022, arXiv:2203.05482)."""

    @model_validator(mode="after")
    def _one_of_two(self) -> Average:
        if (self.last is None) == (self.runs is None):
            raise ValueError("average takes one of last (the mean over one run) and runs (the mean over finished runs)")
        return self


class Records(Section):
    """Prediction records."""

    text: bool = True
    """Store the texts in the prediction records."""


def refuse_rates_out_of_order(optimizer: Optimizer, schedule: Schedule) -> None:
    """Raises ValueError where the rate would fall to a floor above where it starts."""
    floor, rate = schedule.minimum_learning_rate, optimizer.learning_rate
    if floor > rate:
        raise ValueError(f"schedule.minimum_learning_rate ({floor:g}) is above optimizer.learning_rate ({rate:g})")


def _keys_of_some_tasks(recipe: Recipe) -> list[tuple[str, tuple[TaskName, ...], bool]]:
    """Keys that mean something for some tasks alone: name, tasks, whether the recipe sets it."""
    loss, columns, taught = recipe.loss, recipe.data.columns, recipe.distill
    return [
        ("loss.class_weights", ("single_label",), loss.class_weights != "none"),
        ("loss.label_smoothing", ("single_label", "multi_label"), loss.label_smoothing > 0),
        ("loss.pos_weight", ("multi_label",), loss.pos_weight != "none"),
        ("loss.focal_gamma", ("single_label", "multi_label"), loss.focal_gamma > 0),
        ("loss.huber", ("score",), loss.huber is not None),
        ("loss.consistency", ("single_label",), loss.consistency is not None),
        ("data.columns.labels", ("multi_label", "score"), columns.labels is not None),
        ("data.columns.votes", ("single_label",), columns.votes is not None),
        ("data.columns.delimiter", ("multi_label",), columns.delimiter is not None),
        ("data.labels", ("single_label", "multi_label"), recipe.data.labels is not None),
        ("data.levels", ("score",), recipe.data.levels is not None),
        ("evaluate.threshold", ("multi_label",), recipe.evaluate.threshold != "fitted"),
        ("data.weighted_metrics", ("single_label",), recipe.data.weighted_metrics),
        ("evaluate.tune_thresholds", ("single_label",), recipe.evaluate.tune_thresholds is not None),
        (
            "distill.temperature",
            ("single_label", "multi_label"),
            taught is not None and taught.temperature != TEMPERATURE,
        ),
        ("self_training", ("single_label",), recipe.self_training is not None),
    ]


class Recipe(Section):
    """One experiment, resolved and validated. Frozen: a changed recipe is another recipe."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    """Name of the run and of its directory."""
    description: str = ""
    """One line, shown in lists and reports."""
    task: TaskName = "single_label"
    """``single_label``: one label per text; ``multi_label``: any number of them; ``score``: one or several numbers."""
    model: Model
    data: Data
    loss: Loss = Loss()
    distill: Distill | None = None
    self_training: SelfTraining | None = None
    adversarial: Adversarial | None = None
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    train: Train = Train()
    speed: Speed = Speed()
    evaluate: Evaluate = Evaluate()
    checkpoints: Checkpoints = Checkpoints()
    average: Average | None = None
    records: Records = Records()
    track: list[Literal["tensorboard", "wandb", "trackio", "mlflow"]] = Field(default_factory=list)
    """Experiment trackers that follow the run, each in its own process."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Random seed of initialisation, data order and dropout."""

    @model_validator(mode="before")
    @classmethod
    def _metric_of_the_task(cls, given: Any) -> Any:
        """The task's own metric where another than macro-F1 is usual and the recipe names none."""
        if not isinstance(given, dict) or given.get("task") != "score":
            return given
        section = given.get("evaluate", {})
        if not isinstance(section, dict) or "metric" in section:
            return given
        return {**given, "evaluate": {**section, "metric": KINDS["score"].metric}}

    @model_validator(mode="after")
    def _rates_in_order(self) -> Recipe:
        refuse_rates_out_of_order(self.optimizer, self.schedule)
        return self

    @model_validator(mode="after")
    def _keys_fit_the_task(self) -> Recipe:
        for key, tasks, is_set in _keys_of_some_tasks(self):
            if is_set and self.task not in tasks:
                raise ValueError(f"{key} is for the task {' or '.join(tasks)}, and this recipe's task is {self.task}")
        kind = KINDS[self.task]
        if self.evaluate.metric not in kind.choosable:
            raise ValueError(
                f"evaluate.metric {self.evaluate.metric} is none of the task {self.task}: {', '.join(kind.choosable)}"
            )
        if self.evaluate.metric == "kappa" and self.data.levels is None:
            raise ValueError(
                "evaluate.metric is kappa, which is agreement on levels, but there are no data.levels: name them, "
                "e.g. data.levels=[0, 1, 2, 3]"
            )
        if self.data.weighted_metrics and self.data.columns.weight is None:
            raise ValueError("data.weighted_metrics needs data.columns.weight, the column of the weights")
        if self.data.columns.votes is not None and self.data.labels is not None:
            raise ValueError("data.labels is set beside data.columns.votes, whose keys are the labels: leave it out")
        if self.data.columns.labels is not None and self.data.labels is not None:
            raise ValueError("data.labels is set beside data.columns.labels, whose names are the labels: leave it out")
        if self.data.columns.labels is not None and self.data.columns.delimiter is not None:
            raise ValueError(
                "data.columns.delimiter cuts the one column data.columns.label, and data.columns.labels names a column "
                "for each label: leave one of them out"
            )
        if self.data.levels is not None and self.data.levels != sorted(set(self.data.levels)):
            raise ValueError("data.levels holds each level once, from the lowest to the highest")
        return self

    @model_validator(mode="after")
    def _a_teacher_reads_the_texts_as_they_are(self) -> Recipe:
        if self.data.augment is not None and self.distill is not None:
            raise ValueError("data.augment changes the texts that a teacher was asked about: leave it or distill out")
        return self

    @model_validator(mode="after")
    def _two_views_have_labels(self) -> Recipe:
        if self.loss.consistency is not None and self.distill is not None:
            raise ValueError("loss.consistency and distill are two losses beside that of the labels: take one of them")
        return self

    @model_validator(mode="after")
    def _self_training_has_texts(self) -> Recipe:
        if self.self_training is None:
            if self.data.unlabelled:
                raise ValueError(
                    "data.unlabelled is for self_training, which is not set: add self_training: {rounds: 3}, or leave"
                    " the texts out"
                )
            return self
        if not self.data.unlabelled:
            raise ValueError("self_training needs data.unlabelled: texts without labels, {language: file}")
        if self.distill is not None:
            raise ValueError("self_training and distill each bring a teacher: take one of them")
        if self.evaluate.on == "target":
            raise ValueError(
                "self_training chooses its rounds by validation texts of the source languages: leave evaluate.on:"
                " target out"
            )
        return self

    @model_validator(mode="after")
    def _views_have_their_texts(self) -> Recipe:
        views = [] if self.loss.consistency is None else self.loss.consistency.views
        if "translation" in views and not self.data.translations:
            raise ValueError("loss.consistency.views: translation needs data.translations: {language: file}")
        if "code_switch" in views and (self.data.augment is None or self.data.augment.code_switch is None):
            raise ValueError(
                "loss.consistency.views: code_switch needs data.augment.code_switch, which says where the words come "
                "from: {lexicons: {language: file}}"
            )
        return self

    @model_validator(mode="after")
    def _a_soup_is_of_whole_models(self) -> Recipe:
        if self.is_soup and (self.model.lora is not None or self.distill is not None or self.speed.trim_vocabulary):
            raise ValueError(
                "average.runs takes the mean over whole models: no model.lora, no distill, speed.trim_vocabulary false."
                " glotune average RUN RUN sets all that"
            )
        return self

    @property
    def is_soup(self) -> bool:
        """Whether it takes the mean over finished runs instead of training."""
        return self.average is not None and self.average.runs is not None

    @property
    def trains_in_rounds(self) -> bool:
        """Whether it labels texts by itself; a soup of such runs does no more."""
        return self.self_training is not None and not self.is_soup

    @property
    def settings(self) -> TrainingSettings:
        """What the engine reads."""
        return TrainingSettings(
            seed=self.seed,
            max_length=self.data.max_length,
            sampling_alpha=self.data.sampling_alpha,
            optimizer=self.optimizer,
            schedule=self.schedule,
            train=self.train,
            speed=self.speed,
            checkpoints=self.checkpoints,
            evaluate_every=self.evaluate.every,
            patience=self.evaluate.patience,
            test=self.evaluate.test,
            average=self.average,
            adversarial=self.adversarial,
        )
