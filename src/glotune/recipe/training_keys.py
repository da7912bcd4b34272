"""The sections of a recipe that training follows: losses, teachers, optimizer, schedule, speed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from glotune.recipe.data_keys import Sources
from glotune.recipe.section import AutoAllOrOff, Fraction, Names, Rate, Section, Share


class Consistency(Section):
    """Two views of each text are to be answered alike: half the sum of both Kullback-Leibler divergences between their
    answers is added to the mean of both losses (R-Drop, Liang et al. 2021, arXiv:2106.14448)."""

    weight: float = Field(default=1.0, gt=0.0)
    """Weight of the divergence; R-Drop's alpha is twice as much, as it adds the two losses up."""
    views: list[Literal["dropout", "subword", "translation", "code_switch"]] = Field(default=["dropout"], min_length=1)
    """How the second view differs. dropout: other units are dropped, which holds in any case; subword: its words are
    cut into pieces drawn at random, too; translation: it is one of the text's ``data.translations`` (of a translation
    its text), drawn in each epoch; code_switch: its words are replaced as ``data.augment.code_switch`` says, and those
    of the first view are not (all of xTune's first stage, Zheng et al. 2021, arXiv:2106.08226)."""
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
    makes one, of epsilon; freelb of two passes is the same."""

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


TEMPERATURE = 2.0
"""Of soft targets, where a recipe names none."""


class Distill(Section):
    """A teacher whose answers are learned beside the labels (Hinton et al. 2015, arXiv:1503.02531)."""

    teacher: Names = Field(min_length=1)
    """A run, a folder with a saved text classifier, a study's folder, or a list of these; of several teachers the mean
    of their probabilities, or scores, is learned. Their task and labels are those of the run; their tokenizers may be
    others."""
    temperature: float = Field(default=TEMPERATURE, gt=0.0)
    """Temperature T of teacher and student in the soft loss, T^2 times their Kullback-Leibler divergence (of several
    labels the mean over them; of scores it is a squared difference, which has no temperature)."""
    weight: float = Field(default=0.5, ge=0.0, le=1.0)
    """Weight of the soft loss; the rest is that of the labels. Both are means over the effective batch."""
    texts: Sources | None = None
    """Unlabelled texts for the soft loss alone: a file (``.txt``: a text a line), a list, a folder, a Hub data set, or
    {language: any of these}, with the columns and split names of ``data``."""


class SelfTraining(Section):
    """Rounds of learning from the model's own answers to the texts of ``data.unlabelled`` (across languages: Xu et al.
    2021, EMNLP, arXiv:2109.00194). Round 0 is the ordinary run. In each further round the best model so far on the
    validation texts of the source languages labels the unlabelled texts, a part of them joins the labelled ones, and a
    model is trained on both from the encoder on. The run ends with its best round."""

    rounds: int = Field(default=3, ge=1)
    """Rounds after the ordinary run, at most; fewer where pseudo-labels collapse to one class or change no more."""
    select: Literal["confidence", "uncertainty", "balanced"] = "balanced"
    """Which texts of each language join: those with the most probable answers (confidence), with answers of the least
    entropy (uncertainty; of two classes the same texts), or the same number of each class, the most probable first
    (balanced; a class with fewer answers gives all of them)."""
    share: Share = 0.2
    """Share of the unlabelled texts of each language that each round adds: round 2 takes twice that of round 1. All are
    labelled and chosen anew each time, so that an early mistake need not stay."""
    soft: bool = True
    """Learn the model's probabilities; false: its answer alone."""
    align: bool = False
    """Shift the model's answers in each language until classes are as frequent among them as among the labelled texts
    (distribution alignment: Berthelot et al. 2020, arXiv:1911.09785). For targets where that is so."""
    keep: Literal["best", "last"] = "best"
    """Which round labels the texts of the next one, and which one the run is: the best on the source languages'
    validation texts, which see nothing of what is gained in the targets, or the last."""


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
    prefix_cache: AutoAllOrOff = "auto"
    """Cache the output of frozen layers on disk: where that saves this run time, or (``all``) also that of texts which
    it reads once, for other runs over the same texts, as in a study or a search."""
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
