"""The recipe: every key that a run can be told, with its type, default and bounds. The keys are the interface."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from glotune.recipe.settings import TrainingSettings
from glotune.recipe.values import settled

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Share = Annotated[float, Field(gt=0.0, le=1.0)]
Rate = Annotated[float, Field(gt=0.0, le=1.0)]


class Section(BaseModel):
    """Base of all recipe sections: immutable, unknown keys refused, values not coerced from strings.

    Where a string is wanted, a scalar's own characters count: ``00``, ``1.10`` and ``True`` stay what they are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _settle(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        fields = cls.model_fields
        return {key: settled(value, fields[key].annotation) if key in fields else value for key, value in given.items()}


def _on_or_off(value: Any) -> Any:
    """YAML 1.1 habits: true and false mean on and off here."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


OnOff = Annotated[Literal["on", "off"], BeforeValidator(_on_or_off)]
AutoOrOff = Annotated[Literal["auto", "off"], BeforeValidator(_on_or_off)]


class Freeze(Section):
    """Which parts of the encoder keep their pretrained weights."""

    embeddings: bool = False
    """Keep the word embeddings (and what is added to them) as pretraining left them."""
    layers: int = Field(default=0, ge=0)
    """The first so many encoder layers; freezing layers freezes the embeddings below them too. 0 where layers share
    their weights (ALBERT)."""
    dropout: OnOff = "off"
    """Dropout inside the frozen part. ``off`` makes its output a function of the text, so it is computed once."""

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
    """Size of the update: rank * (in + out) weights per adapted matrix."""
    alpha: float = Field(default=16, gt=0)
    """The update is scaled by alpha / rank."""
    dropout: Fraction = 0.0
    """On the adapter's input, in training only."""
    target_modules: list[str] = Field(default=["query", "value"], min_length=1)
    """Any of query, key, value, dense; ``dense`` means attention output and feed-forward in every family."""
    layers: int | None = Field(default=None, ge=1)
    """Adapters in the upper so many layers only; null: in all."""
    rslora: bool = False
    """Scale by alpha / sqrt(rank) (Kalajdzievski 2023, arXiv:2312.03732)."""
    dora: bool = False
    """Weight-decomposed adapters (Liu et al. 2024, arXiv:2402.09353)."""


class Model(Section):
    """The encoder and what is done to it before training."""

    name: str = Field(min_length=1)
    """Hub name, folder, or ``glotune-nano`` (embedded)."""
    revision: str | None = None
    """Commit, branch or tag on the Hub; null: the newest."""
    layers: int | None = Field(default=None, ge=1)
    """Keep the first so many encoder layers; null keeps all, as encoder-decoders must."""
    freeze: Freeze = Freeze()
    lora: Lora | None = None
    dropout: Fraction | None = None
    """Overrides every dropout probability of the encoder and head; null keeps the encoder's own."""
    trust_remote_code: bool = False
    """Run Python code that comes with the encoder. Off: such an encoder is refused."""


class Columns(Section):
    """Column names in the data files."""

    text: str = "text"
    """The texts."""
    text_pair: str | None = None
    """The second texts (natural language inference, paraphrases); null: single texts."""
    label: str = "label"
    """The labels."""
    language: str = "language"
    """Used where the file has it; otherwise the language comes from the recipe or the file's name."""
    split: str = "split"
    """Used where the file has it: then only the rows of the wanted split are read. Else a file in a folder may say its
    split by its name."""
    weight: str | None = None
    """How much each training row counts in the loss, above 0: 2 counts as two such rows; null: all alike."""
    id: str | None = None
    """Rows with one value here belong together: translations of one text in several languages, sentences of one
    document, posts of one author. Intervals then count them as one; null: parallel test files are found by their look
    (the same rows and labels)."""

    def unweighted(self) -> Columns:
        """The same for rows that are not trained on."""
        return self.model_copy(update={"weight": None})


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Names = Annotated[list[str], BeforeValidator(_as_list)]


class SplitNames(Section):
    """Which names in the split column count as which split; a name given for one leaves the others' defaults."""

    train: Names = ["train"]
    """What the split column calls training rows."""
    validation: Names = ["validation", "valid", "val", "dev"]
    """What it calls validation rows."""
    test: Names = ["test"]
    """What it calls test rows."""

    @model_validator(mode="before")
    @classmethod
    def _claimed_names_leave_defaults(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        claimed = (
            {name for names in given.values() for name in _as_list(names) if isinstance(name, str)}
            if all(isinstance(names, str | list) for names in given.values())
            else set()
        )
        defaults = {
            key: [name for name in field.default if name not in claimed] for key, field in cls.model_fields.items()
        }
        return {**defaults, **given}

    @model_validator(mode="after")
    def _disjoint(self) -> SplitNames:
        names = [*self.train, *self.validation, *self.test]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"the split name '{twice[0]}' stands for two splits")
        return self


class MadeSplits(Section):
    """Shares cut from the training rows where a split is absent: stratified by label, duplicates on one side."""

    validation: Fraction = 0.1
    """Share cut off where the recipe names no validation texts."""
    test: Fraction = 0.0
    """Share cut off where no test texts of a source language are named."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Draws these rows, apart from the recipe's seed: runs of several seeds are scored on the same texts."""


Quoting = Literal["standard", "none"]

Source = str | list[str]
Sources = Source | dict[str, Source]


class Data(Section):
    """The labelled texts."""

    train: Sources
    """A file, a list, a folder, a Hub data set, or {language: any of these}. The files of a folder may say their split
    and language by their names (``en_test.csv``, ``bn/train-00000-of-00002.parquet``)."""
    validation: Sources | None = None
    """As ``train``; chooses the checkpoint. null: the validation rows that ``train`` names, else some of its training
    rows, see ``made_splits``."""
    test: Sources | None = None
    """As ``train``; scored at the end. A source language without texts here: its test rows that ``train`` names."""
    columns: Columns = Columns()
    quoting: Quoting = "standard"
    """In CSV and TSV files. standard: a quoted field may hold delimiters and line breaks (RFC 4180); none: quotes are
    characters like others, as in many TSV files."""
    split_names: SplitNames = SplitNames()
    made_splits: MadeSplits = MadeSplits()
    labels: dict[str, str] | list[str] | None = None
    """Order of the classes, and a mapping from what the files say: {0: negative, 1: positive}."""
    source_languages: list[str] | None = None
    """Train on these; every other language is a target. null: every language that `train` names."""
    sampling_alpha: float | None = Field(default=None, ge=0.0, le=1.0)
    """p ~ n^alpha over source languages (Conneau & Lample 2019); null: every text once per epoch."""
    few_shot: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """{language: so many texts of its training rows added to training}."""
    fraction: Share = 1.0
    """Stratified share of the training rows."""
    train_rows: int | None = Field(default=None, ge=2)
    """At most so many training rows, stratified; null: all."""
    max_length: int = Field(default=128, ge=4)
    """Tokens kept of a text, special tokens included."""
    truncation: Literal["head", "head_tail"] = "head"
    """Keep the beginning, or the beginning and the end."""
    normalization: Literal["NFC", "NFKC", "none"] = "NFC"
    """Unicode form that texts are brought to; saved with the tokenizer."""


class Loss(Section):
    """Cross-entropy as torch defines it: sum of weighted losses over sum of weights, over the effective batch."""

    class_weights: Literal["none", "balanced"] | dict[str, Annotated[float, Field(gt=0)]] = "none"
    """``balanced``: n / (classes * count), as scikit-learn; or {label: weight}."""
    label_smoothing: Fraction = 0.0
    """This share of the target is spread evenly over all classes."""


class Optimizer(Section):
    """AdamW with decoupled decay (Loshchilov & Hutter 2019); none on biases, norms and untouched rows."""

    name: Literal["adamw"] = "adamw"
    """The only one."""
    learning_rate: Rate = 2e-5
    """The highest rate that the schedule reaches."""
    head_learning_rate: Rate | None = None
    """Of the classification head; null: as the rest."""
    weight_decay: float = Field(default=0.01, ge=0.0)
    """Decoupled from the gradient."""
    layer_decay: float | None = Field(default=None, gt=0.0, le=1.0)
    """Learning rate times layer_decay for each layer further from the head; null: none."""
    max_grad_norm: float | None = Field(default=1.0, gt=0.0)
    """Longer gradients are scaled down to this norm; null: never."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    """Decay of the two running means."""
    epsilon: float = Field(default=1e-8, gt=0.0)
    """Added to the denominator of the update."""


class Schedule(Section):
    """How the learning rate moves; warmup is linear and per step."""

    name: Literal["constant", "linear", "cosine"] = "linear"
    """Shape after warmup."""
    minimum_learning_rate: float = Field(default=0.0, ge=0.0)
    """Where linear and cosine end."""
    warmup_ratio: Fraction = 0.0
    """Share of all steps in which the rate rises from 0."""
    warmup_steps: int | None = Field(default=None, ge=0)
    """Overrides warmup_ratio."""
    per: Literal["step", "epoch"] = "step"
    """The rate moves with every step, or once per epoch."""


class Train(Section):
    """The loop."""

    epochs: int = Field(default=3, ge=1)
    """Passes over the training texts."""
    batch_size: int = Field(default=32, ge=1)
    """The effective batch: the texts in one optimizer step. How it is cut is the engine's business."""
    batching: Literal["packed", "dynamic", "fixed"] = "packed"
    """Texts end to end without padding; padded to the longest of a micro-batch; padded to max_length."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """bf16: autocast over float32 weights. auto: bf16 where the hardware has it. ``glotune predict`` has its own."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """auto: the best one present."""
    on_collapse: Literal["warn", "stop", "retry"] = "warn"
    """A run that stays at one class and learns nothing: say so, stop, or start once more with a gentler rate and
    warmup."""
    on_nonfinite: Literal["stop", "skip"] = "stop"
    """A loss that is not finite: stop, or leave out that update; recorded either way."""


class Speed(Section):
    """The exact savings, on by default; switched off to measure them."""

    pooled_last_layer: bool = True
    """Compute the last layer's queries and feed-forward for the pooled token alone."""
    trim_vocabulary: bool = True
    """Load only the embedding rows that the texts use; all are saved."""
    prefix_cache: AutoOrOff = "auto"
    """Keep the output of frozen layers on disk, where that saves work."""
    prefix_precision: Literal["fp32", "bf16"] = "fp32"
    """Number format of what is kept; bf16 halves it and is no longer exact."""


class Evaluate(Section):
    """When and on what the run is judged while it trains."""

    every: Literal["epoch"] | Annotated[int, Field(ge=1)] = "epoch"
    """``epoch``, or so many steps."""
    metric: Literal["macro_f1", "weighted_f1", "accuracy", "mcc", "loss"] = "macro_f1"
    """What chooses the checkpoint and what patience waits for."""
    on: Literal["source", "target"] = "source"
    """Which validation chooses the checkpoint: source (zero-shot), or target (an oracle, labelled so)."""
    patience: int | None = Field(default=None, ge=1)
    """Evaluations without a better metric before training stops early; null: never."""
    test: Literal["never", "last", "each"] = "never"
    """Score the test texts while training, at its last evaluation or at each: recorded, never used to choose."""


class Checkpoints(Section):
    """What is kept to resume from; the best one is always kept."""

    every: Literal["epoch", "evaluation"] | Annotated[int, Field(ge=1)] = "epoch"
    """At the end of each epoch, at each evaluation, or every so many steps."""
    keep: int = Field(default=2, ge=1)
    """So many of the newest."""


class Records(Section):
    """What the prediction records hold."""

    text: bool = True
    """Whether prediction records hold the texts themselves."""


def refuse_rates_out_of_order(optimizer: Optimizer, schedule: Schedule) -> None:
    """Raises ValueError where the rate would fall to a floor above where it starts."""
    floor, rate = schedule.minimum_learning_rate, optimizer.learning_rate
    if floor > rate:
        raise ValueError(f"schedule.minimum_learning_rate ({floor:g}) is above optimizer.learning_rate ({rate:g})")


class Recipe(Section):
    """One experiment, resolved and validated. Frozen: a changed recipe is another recipe."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    """Names the run and its directory."""
    description: str = ""
    """One line for lists and reports."""
    task: Literal["single_label"] = "single_label"
    """One label per text."""
    model: Model
    data: Data
    loss: Loss = Loss()
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    train: Train = Train()
    speed: Speed = Speed()
    evaluate: Evaluate = Evaluate()
    checkpoints: Checkpoints = Checkpoints()
    records: Records = Records()
    track: list[Literal["tensorboard", "wandb", "trackio", "mlflow"]] = Field(default_factory=list)
    """Trackers that follow the run, each in a process of its own."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Of everything random."""

    @model_validator(mode="after")
    def _rates_in_order(self) -> Recipe:
        refuse_rates_out_of_order(self.optimizer, self.schedule)
        return self

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
        )
