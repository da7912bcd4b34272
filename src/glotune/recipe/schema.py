"""The recipe: every key of a run, with its type, default and bounds. The keys are the interface."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from glotune.recipe.kinds import KINDS, TaskName
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
    """LoRA adapters in the last N layers only; null: in all layers."""
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


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Names = Annotated[list[str], BeforeValidator(_as_list)]


class Columns(Section):
    """Column names in the data files."""

    text: str = "text"
    """Column of the texts."""
    text_pair: str | None = None
    """Column of the second texts, for pairs (natural language inference, paraphrases); null: single texts."""
    label: str = "label"
    """Column of the labels."""
    labels: list[str] | None = Field(default=None, min_length=1)
    """``multi_label``: a column for each label, with 1, 0 or, where it is not annotated, nothing. ``score``: the
    columns of the scores, blank where there is none. null: ``label`` alone."""
    votes: dict[str, Names] | None = Field(default=None, min_length=2)
    """``single_label``: where annotators' votes for each class stand, {class: column} or {class: [columns]}, whose
    votes are then added up; shares of votes do too. Learned is their distribution (soft labels), and a text's label is
    the class with most votes. null: ``label`` alone."""
    delimiter: str | None = Field(default=None, min_length=1)
    """``multi_label``: what stands between the labels of a text in the one column ``label``, e.g. ``"|"``; null: that
    column holds lists (Parquet, JSON lines)."""
    language: str = "language"
    """Column of the language code, where the file has it; otherwise the recipe or the file's name says the language."""
    split: str = "split"
    """Column of the split, where the file has it: only the rows of the wanted split are read. Otherwise the name of a
    file in a folder may say its split."""
    weight: str | None = None
    """Column of the sample weights in the training loss, above 0: weight 2 counts as two such rows; null: all 1.
    Metrics use them with ``data.weighted_metrics``."""
    id: str | None = None
    """Column whose equal values mark rows that belong together: translations of one text in several languages,
    sentences of one document, posts of one author. Intervals then count them as one; null: parallel test files are
    found by their look (the same rows and labels)."""

    def unweighted(self) -> Columns:
        """The same for rows that are not trained on."""
        return self.model_copy(update={"weight": None})

    @model_validator(mode="after")
    def _each_label_once(self) -> Columns:
        names = self.labels or []
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"labels names the column '{twice}' twice")
        voted = self.columns_of_votes
        if len(set(voted)) < len(voted):
            twice = next(name for name in voted if voted.count(name) > 1)
            raise ValueError(f"votes names the column '{twice}' twice")
        return self

    @property
    def columns_of_votes(self) -> list[str]:
        """The columns of all classes, in their order; none without votes."""
        return [column for columns in (self.votes or {}).values() for column in columns]


class SplitNames(Section):
    """Names of the splits in the split column; a name given to one split is taken from the defaults of the others."""

    train: Names = ["train"]
    """Names of the training split."""
    validation: Names = ["validation", "valid", "val", "dev"]
    """Names of the validation split."""
    test: Names = ["test"]
    """Names of the test split."""

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
    """Splits made from the training rows where they are missing: stratified by label, duplicates in one split."""

    validation: Fraction = 0.1
    """Share of the training rows for validation, where the recipe names no validation texts."""
    test: Fraction = 0.0
    """Share of the training rows of a source language for test, where the recipe names no test texts of it."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of these splits. It is not the recipe's seed, so that runs with several seeds share their splits."""


class Augment(Section):
    """The training texts changed at random, otherwise in each epoch: a function of (seed, epoch, row). Validation and
    test texts stay as they are. What it gains differs from task to task, and with a pretrained encoder it is often
    nothing (Longpre et al. 2020, arXiv:2010.01764): compare with a run without."""

    subword: float | None = Field(default=None, gt=0.0)
    """Subword regularisation (Kudo 2018, arXiv:1804.10959) with Unigram tokenizers: the pieces of a word are drawn with
    the model's probability to this power; 0.2 is bold, 1 follows the model, null: off."""
    word_dropout: Fraction = 0.0
    """Chance of each word (between spaces) to be left out; one stays."""
    word_swap: Fraction = 0.0
    """Swaps of two words, as a share of the number of words (EDA, Wei & Zou 2019, arXiv:1901.11196)."""

    @model_validator(mode="after")
    def _does_something(self) -> Augment:
        if self.subword is None and not self.word_dropout and not self.word_swap:
            raise ValueError("data.augment changes nothing: give subword, word_dropout or word_swap")
        return self


Quoting = Literal["standard", "none"]
Pool = Literal["mean", "max", "first"]


class Windows(Section):
    """Texts longer than ``max_length`` in windows of so many tokens that overlap; their logits are pooled."""

    stride: int = Field(default=64, ge=0)
    """Tokens that a window shares with the one before it (``stride`` of transformers' tokenizers)."""
    most: int = Field(default=8, ge=1)
    """Maximum number of windows of a text, counted from its beginning; the rest of it is truncated."""
    pool: Pool = "mean"
    """Logits of a text: the mean over its windows, the largest (``max``) of each label, or those of its first window
    alone (``first``), which reads no other: truncation, to compare with."""


Source = str | list[str]
Sources = Source | dict[str, Source]


class Data(Section):
    """The labelled texts."""

    train: Sources
    """A file, a list, a folder, a Hub data set, or {language: any of these}. The files of a folder may say their split
    and language by their names (``en_test.csv``, ``bn/train-00000-of-00002.parquet``)."""
    validation: Sources | None = None
    """As ``train``; chooses the checkpoint. null: the validation rows of ``train``, else a share of its training rows
    (``made_splits``)."""
    test: Sources | None = None
    """As ``train``; scored at the end. A source language that is missing here: the test rows of ``train``."""
    columns: Columns = Columns()
    quoting: Quoting = "standard"
    """In CSV and TSV files. standard: a quoted field may hold delimiters and line breaks (RFC 4180); none: quotes are
    characters like others, as in many TSV files."""
    split_names: SplitNames = SplitNames()
    made_splits: MadeSplits = MadeSplits()
    weighted_metrics: bool = False
    """``single_label``: weigh each text by ``data.columns.weight`` in metrics and intervals too; the texts that are
    validated and tested on then need that column. false: every text counts once there."""
    labels: dict[str, str] | list[str] | None = None
    """Labels in the order of their class ids, or a mapping from the labels in the files: {0: negative, 1: positive}."""
    levels: list[float] | None = Field(default=None, min_length=2)
    """``score``: the only values that a score takes, in order, e.g. [0, 1, 2, 3]; agreement (quadratic kappa) is then
    told too, predictions rounded to them. null: scores are any numbers."""
    source_languages: list[str] | None = None
    """Languages to train on; all others are targets. null: every language of ``train``."""
    sampling_alpha: float | None = Field(default=None, ge=0.0, le=1.0)
    """Sample source languages with p ~ n^alpha (Conneau & Lample 2019); null: every text once per epoch."""
    translations: dict[str, Source] = Field(default_factory=dict)
    """Translate-train: {language: file or files} with translations of training rows, which are trained on too, with the
    label of the row that has the same id (``data.columns.id``). They need no labels; translations of validation and
    test rows are not used."""
    few_shot: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """Few-shot: {language: number of its training rows that are added to training}."""
    fraction: Share = 1.0
    """Share of the training rows to use, stratified by label."""
    train_rows: int | None = Field(default=None, ge=2)
    """Maximum number of training rows, stratified by label; null: all."""
    max_length: int = Field(default=128, ge=4)
    """Maximum length of a text in tokens, special tokens included; longer texts are truncated."""
    augment: Augment | None = None
    truncation: Literal["head", "head_tail"] = "head"
    """What is kept of longer texts: the beginning (head), or the beginning and the end (head_tail)."""
    windows: Windows | None = None
    """Read longer texts in windows of ``max_length`` tokens, in training and prediction alike; null: truncate them."""
    normalization: Literal["NFC", "NFKC", "none"] = "NFC"
    """Unicode normalization of the texts; saved with the tokenizer."""

    @model_validator(mode="after")
    def _windows_of_single_texts(self) -> Data:
        if self.windows is not None and self.columns.text_pair is not None:
            raise ValueError("windows are of single texts, and columns.text_pair is set: leave one of the two out")
        if self.windows is not None and self.truncation == "head_tail":
            raise ValueError("windows go from the beginning of a text to its end: truncation: head_tail has no place")
        return self

    @model_validator(mode="after")
    def _translations_have_ids(self) -> Data:
        if self.translations and self.columns.id is None:
            raise ValueError("data.translations needs data.columns.id: the column that says which row each one is of")
        if both := sorted(set(self.translations) & set(self.few_shot)):
            raise ValueError(f"'{both[0]}' stands in data.translations and in data.few_shot: take one of them")
        return self


class Consistency(Section):
    """Two views of each text are to be answered alike: half the sum of both Kullback-Leibler divergences between their
    answers is added to the mean of both losses (R-Drop, Liang et al. 2021, arXiv:2106.14448)."""

    weight: float = Field(default=1.0, gt=0.0)
    """Weight of the divergence; R-Drop's alpha is twice as much, as it adds the two losses up."""
    views: list[Literal["dropout", "subword"]] = Field(default=["dropout"], min_length=1)
    """How the second view differs. dropout: other units are dropped, which holds in any case; subword: its words are
    cut into pieces drawn at random, too (xTune's first stage, Zheng et al. 2021, arXiv:2106.08226)."""
    alpha: float = Field(default=0.2, gt=0.0)
    """For ``subword``: as ``data.augment.subword``."""


class Loss(Section):
    """The sum of weighted losses over the sum of weights, over the effective batch.

    ``single_label``: cross-entropy, with ``data.columns.votes`` against their distribution; ``multi_label``: binary
    cross-entropy of each annotated label; ``score``: squared error (or Huber's) of each score there is, in units of its
    standard deviation over the training texts."""

    class_weights: Literal["none", "balanced"] | dict[str, Annotated[float, Field(gt=0)]] = "none"
    """``balanced``: n / (num_labels * count), as in scikit-learn; or {label: weight}."""
    label_smoothing: Fraction = 0.0
    """Label smoothing: this share of the target is spread evenly over all classes; with ``multi_label`` over yes and
    no."""
    pos_weight: Literal["none", "balanced"] | dict[str, Annotated[float, Field(gt=0)]] = "none"
    """``multi_label``: how much a label that applies counts beside one that doesn't. ``balanced``: as often as it does
    not apply for each time that it does; or {label: weight}."""
    focal_gamma: float = Field(default=0.0, ge=0.0)
    """``single_label``, ``multi_label``: focal loss (Lin et al. 2017, arXiv:1708.02002): what is answered well counts
    (1 - p)^gamma; 0: plain cross-entropy."""
    huber: float | None = Field(default=None, gt=0.0)
    """``score``: beyond so many standard deviations an error counts linearly (Huber 1964); null: squared throughout."""
    consistency: Consistency | None = None


class Adversarial(Section):
    """Training on texts whose word embeddings are moved to where the loss is larger (Miyato et al. 2017,
    arXiv:1605.07725). A text's own gradient moves it, by a length of its own: how a batch is cut changes nothing. Every
    pass is a forward and a backward pass more; their dropout is the same."""

    method: Literal["fgm", "pgd", "freelb"] = "fgm"
    """fgm: one move along the gradient; pgd: several, each projected back (Madry et al. 2018, arXiv:1706.06083); in
    both half of the gradient is that of the texts as they are, half that of the moved ones. freelb: the mean of the
    gradients met on the way, the texts as they are first (Zhu et al. 2020, arXiv:1909.11764)."""
    epsilon: float = Field(default=1.0, gt=0.0)
    """Euclidean length of a text's move over all its tokens, at most."""
    steps: int | None = Field(default=None, ge=2)
    """pgd: moves; freelb: passes, each but the first after a move; null: 3. A move is 2.5 epsilon / steps long. fgm
    makes one, of epsilon."""

    @model_validator(mode="after")
    def _fgm_moves_once(self) -> Adversarial:
        if self.method == "fgm" and self.steps is not None:
            raise ValueError("adversarial.steps is for pgd and freelb: fgm moves once")
        return self

    @property
    def moves(self) -> int:
        """Moves of each text in a step."""
        steps = self.steps or 3
        return {"fgm": 1, "pgd": steps, "freelb": steps - 1}[self.method]

    @property
    def stride(self) -> float:
        """Length of one move."""
        return self.epsilon if self.method == "fgm" else 2.5 * self.epsilon / (self.steps or 3)


class Distill(Section):
    """A teacher whose answers are learned beside the labels (Hinton et al. 2015, arXiv:1503.02531)."""

    teacher: Names = Field(min_length=1)
    """A run, a folder with a saved text classifier, a study's folder, or a list of these; of several teachers the mean
    of their probabilities is learned. Their labels are those of the texts; their tokenizers may be others."""
    temperature: float = Field(default=2.0, gt=0.0)
    """Temperature T of teacher and student in the soft loss, T^2 times their Kullback-Leibler divergence."""
    weight: float = Field(default=0.5, ge=0.0, le=1.0)
    """Weight of the soft loss; the rest is that of the labels. Both are means over the effective batch."""
    texts: Sources | None = None
    """Unlabelled texts for the soft loss alone: a file (``.txt``: a text a line), a list, a folder, a Hub data set, or
    {language: any of these}, with the columns and split names of ``data``."""


class Optimizer(Section):
    """AdamW (Loshchilov & Hutter 2019); no weight decay on biases, norms and embedding rows that no text uses."""

    name: Literal["adamw"] = "adamw"
    """The optimizer; AdamW is the only one."""
    learning_rate: Rate = 2e-5
    """Peak learning rate, after warmup."""
    head_learning_rate: Rate | None = None
    """Peak learning rate of the classification head; null: learning_rate."""
    weight_decay: float = Field(default=0.01, ge=0.0)
    """Weight decay, decoupled from the gradient."""
    layer_decay: float | None = Field(default=None, gt=0.0, le=1.0)
    """Layer-wise learning rate decay: the factor from each layer to the one below it; null: none."""
    max_grad_norm: float | None = Field(default=1.0, gt=0.0)
    """Gradient clipping: maximum norm of the gradient; null: no clipping."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    """Decay rates of the running means of the gradient and of its square."""
    epsilon: float = Field(default=1e-8, gt=0.0)
    """Added to the denominator of the update."""


class Schedule(Section):
    """Learning rate schedule; warmup is linear, step by step."""

    name: Literal["constant", "linear", "cosine"] = "linear"
    """Shape of the schedule after warmup."""
    minimum_learning_rate: float = Field(default=0.0, ge=0.0)
    """Learning rate at the end of linear and cosine schedules."""
    warmup_ratio: Fraction = 0.0
    """Share of all steps for warmup from 0 to the peak."""
    warmup_steps: int | None = Field(default=None, ge=0)
    """Number of warmup steps; overrides warmup_ratio."""
    per: Literal["step", "epoch"] = "step"
    """Update the learning rate at every step, or once per epoch."""


class Train(Section):
    """Training loop."""

    epochs: int = Field(default=3, ge=1)
    """Number of passes over the training texts."""
    batch_size: int = Field(default=32, ge=1)
    """Effective batch size: texts per optimizer step. How it is cut into micro-batches is planned by the engine."""
    batching: Literal["packed", "dynamic", "fixed"] = "packed"
    """packed: texts end to end, without padding; dynamic: padded to the longest of a micro-batch; fixed: padded to
    max_length."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """bf16, fp16: autocast over float32 weights, fp16 with a scaled loss; auto: bf16 where the hardware supports it,
    fp16 on GPUs that have nothing better. ``glotune predict`` has a precision of its own."""
    device: Literal["auto", "cpu", "cuda", "mps", "tpu"] = "auto"
    """auto: CUDA where there is a GPU, else a TPU (with ``glotune[tpu]``), else MPS, else the CPU."""
    deterministic: bool = False
    """On a GPU: only kernels that give the same bits every time, more slowly. A CPU always does."""
    checkpoint_activations: bool = False
    """Compute the activations of each layer again on the way back instead of keeping them: a third more time, and the
    memory of one layer (Chen et al. 2016, arXiv:1604.06174)."""
    on_collapse: Literal["warn", "stop", "retry"] = "warn"
    """What to do when the model predicts one class only and learns nothing: warn, stop, or retry once with a lower
    learning rate and warmup."""
    on_nonfinite: Literal["stop", "skip"] = "stop"
    """What to do when the loss or the gradient is not finite: stop, or skip the update; recorded either way."""


class Speed(Section):
    """Optimizations that do not change the result, on by default; switch them off to measure them."""

    pooled_last_layer: bool = True
    """Compute queries and feed-forward of the last layer for the pooled token only."""
    trim_vocabulary: bool = True
    """Train with only the embedding rows that the texts use; the saved model has all of them."""
    prefix_cache: AutoOrOff = "auto"
    """Cache the output of frozen layers on disk, where that saves time."""
    prefix_precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of the cache; bf16 halves its size and is no longer exact."""
    frozen_weights: Literal["auto", "fp32"] = "auto"
    """auto: on a GPU that computes in half precision, linear maps that are not trained are held in it, as every product
    takes them: half the memory, the same numbers. The saved model has the source's weights."""
    cuda_graphs: bool = False
    """On a GPU, record the passes of micro-batches of up to 2,048 tokens once for each of a few shapes and replay them:
    for steps so small that they wait for kernel launches. Texts are filled up to the shapes, so dropout draws other
    masks. For XLM-R, RoBERTa and BERT."""
    compile: Literal["off", "regional"] = "off"
    """regional: ``torch.compile`` over what follows attention in each layer, on a GPU. Fused kernels round otherwise,
    and not the same in every process."""


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
    loss, columns = recipe.loss, recipe.data.columns
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
        ("distill", ("single_label",), recipe.distill is not None),
        ("average.runs", ("single_label", "multi_label"), recipe.is_soup),
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
        if self.data.weighted_metrics and self.data.columns.weight is None:
            raise ValueError("data.weighted_metrics needs data.columns.weight, the column of the weights")
        if self.data.columns.votes is not None and self.data.labels is not None:
            raise ValueError("data.labels is set beside data.columns.votes, whose keys are the labels: leave it out")
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
    def _a_soup_is_of_whole_models(self) -> Recipe:
        if self.is_soup and (self.model.lora is not None or self.distill is not None or self.speed.trim_vocabulary):
            raise ValueError(
                "average.runs takes the mean over whole models: no model.lora, no distill, speed.trim_vocabulary false."
                " glotune average RUN RUN sets all that"
            )
        return self

    @property
    def second_view(self) -> Augment | None:
        """How the second view of a training text is cut anew; None: it is not, or there is no second view."""
        spec = self.loss.consistency
        return Augment(subword=spec.alpha) if spec is not None and "subword" in spec.views else None

    @property
    def is_soup(self) -> bool:
        """Whether it takes the mean over finished runs instead of training."""
        return self.average is not None and self.average.runs is not None

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
