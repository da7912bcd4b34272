"""The recipe of `glotune pretrain`: an encoder from scratch, or an existing one adapted, by itself or by a teacher."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from glotune.errors import UserError, did_you_mean
from glotune.recipe import data_keys, schema
from glotune.recipe.data_keys import Sources
from glotune.recipe.loading import BUILTIN_FOLDER, Overrides, builtin_recipes, load_as, load_recipe, read_extended
from glotune.recipe.schema import Fraction, Recipe, Section
from glotune.recipe.settings import TrainingSettings

Weight = Annotated[float, Field(ge=0.0)]


class Scratch(Section):
    """The shape of a new encoder (XLM-R's architecture)."""

    layers: int = Field(default=4, ge=1)
    """Encoder layers."""
    hidden_size: int = Field(default=192, ge=8)
    """Hidden size."""
    heads: int = Field(default=6, ge=1)
    """Attention heads; must divide hidden_size."""
    intermediate_size: int = Field(default=768, ge=8)
    """Hidden size of the feed-forward layer."""
    max_length: int = Field(default=128, ge=16)
    """Maximum length in tokens: the number of position embeddings."""
    vocabulary: int = Field(default=14_000, ge=16)
    """Vocabulary size of its Unigram tokenizer (Kudo 2018, arXiv:1804.10959), special tokens included."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Scratch:
        if self.hidden_size % self.heads:
            raise ValueError(f"{self.heads} heads do not divide hidden_size {self.hidden_size}")
        return self


class Encoder(Section):
    """What is trained: an encoder that exists (`name`), or a new one (`scratch`)."""

    name: str | None = Field(default=None, min_length=1)
    """Name on the Hugging Face Hub, folder, or ``glotune-nano``; null: from scratch."""
    revision: str | None = None
    """Commit, branch or tag on the Hub; null: the newest commit."""
    trust_remote_code: bool = False
    """Run Python code from the encoder's repository; without it an encoder that needs such code is refused."""
    scratch: Scratch | None = None
    layers: int | None = Field(default=None, ge=1)
    """Keep the first N layers of an existing encoder; null: all."""
    new_pieces: int = Field(default=0, ge=0)
    """Number of new pieces, learned from the texts, that are added to the vocabulary of an existing encoder. The
    embedding of each starts as the mean of the pieces that it was tokenized into before."""
    interpolate: Fraction = 0.0
    """Share of the existing encoder's own weights in those that are saved, what was trained being the rest (Wortsman et
    al. 2022, arXiv:2109.01903): less of what it could do before is forgotten. New pieces and the output layer are saved
    as they were trained."""
    dropout: Fraction | None = None
    """Dropout probability in training; null: the encoder's own. The saved configuration keeps the encoder's own."""
    saved_as: Literal["float32", "float16"] = "float32"
    """Data type of the saved weights; float16 halves the file."""

    @model_validator(mode="after")
    def _one_of_two(self) -> Encoder:
        if (self.name is None) == (self.scratch is None):
            raise ValueError("give either model.name (an encoder to adapt) or model.scratch (a new one)")
        if self.scratch is not None and self.new_pieces:
            raise ValueError("new_pieces is for an existing encoder; from scratch, set scratch.vocabulary")
        if self.scratch is not None and self.interpolate:
            raise ValueError("interpolate is for an existing encoder: a new one has no weights of before")
        if self.scratch is not None and self.layers is not None:
            raise ValueError("layers is for an existing encoder; from scratch, set scratch.layers")
        return self

    @property
    def source(self) -> schema.Model:
        """Where an existing encoder comes from.

        Raises:
            ValueError: it is a new one.
        """
        if self.name is None:
            raise ValueError("a new encoder comes from nowhere")
        return schema.Model(
            name=self.name,
            revision=self.revision,
            trust_remote_code=self.trust_remote_code,
            layers=self.layers,
            dropout=self.dropout,
        )


class Teacher(Section):
    """An encoder whose sentence vectors are learned (Reimers & Gurevych 2020, arXiv:2004.09813).

    The target of a text is the teacher's vector, less the mean over the training texts; both sides of a pair have one
    target. Where the encoder is narrower than the teacher, the targets keep their first principal
    components. Loss: weight * 2 (1 - cosine with the target) + contrast * the cross-entropy of finding the target among
    those of the batch, beside what `objective` says.
    """

    name: str = Field(min_length=1)
    """Name on the Hugging Face Hub, or a folder: an encoder, or a run's model. Its tokenizer may be another one: it is
    asked for a vector of each text, not of each token."""
    revision: str | None = None
    """Commit, branch or tag on the Hub; null: the newest commit."""
    trust_remote_code: bool = False
    """Run Python code from the encoder's repository; without it an encoder that needs such code is refused."""
    pooling: Literal["mean", "first"] = "mean"
    """Its sentence vector: the mean over all tokens (E5, most sentence encoders), or the first token (BGE, LaBSE)."""
    prefix: str = ""
    """Put before each text that it reads, where it was trained so: ``"query: "`` for E5."""
    max_length: int = Field(default=128, ge=4)
    """Maximum length of a text in its tokens; longer texts are truncated."""
    centre: Literal["language", "all", "none"] = "language"
    """The mean that is taken off its vectors: over the training texts of the text's language, over all training texts,
    or none. What all texts of a language have in common does not tell them apart, and stands between languages."""
    target: Literal["both", "translation"] = "both"
    """Of a pair: the sum of the vectors of both sides, or the vector of the translation alone, where that is in the
    language which the teacher reads best. Then the other sides are not asked about: half the time, or less."""
    weight: Weight = 1.0
    """Weight of twice the cosine distance from the target, the mean over the texts of the batch."""
    contrast: Weight = 0.5
    """Weight of the cross-entropy of each text's own target among all targets of the batch, at
    ``objective.temperature``."""

    @model_validator(mode="after")
    def _something_to_learn(self) -> Teacher:
        if self.weight == 0.0 and self.contrast == 0.0:
            raise ValueError("weight and contrast are both 0: nothing is learned from the teacher")
        return self

    @property
    def source(self) -> schema.Model:
        """Where it comes from."""
        return schema.Model(name=self.name, revision=self.revision, trust_remote_code=self.trust_remote_code)

    @property
    def truncation(self) -> Literal["head"]:
        """Of a longer text the beginning is read."""
        return "head"

    @property
    def windows(self) -> None:
        """It is not read in several pieces."""

    @property
    def normalization(self) -> Literal["NFC"]:
        """Of all texts, as the student reads them."""
        return "NFC"


class PretrainColumns(Section):
    """Column names in the files."""

    text: str = "text"
    """Column of the texts."""
    text_pair: str = "english"
    """Column of the translations, in files of pairs."""
    language: str = "language"
    """Column of the language code, where the file has it; otherwise the recipe or the file's name says the language."""
    split: str = "split"
    """Column of the split, where the file has it: only rows of the training split are read."""


class HeldOut(Section):
    """Texts held out for evaluation; training texts equal to one of them are dropped."""

    pairs: int = Field(default=100, ge=2)
    """Held-out pairs per language: the candidates of translation retrieval."""
    languages: list[str] | None = None
    """Languages with held-out pairs; null: each with at least ten times as many pairs."""
    texts: Fraction = 0.02
    """Held-out share of the plain texts of each language (at least one), for the masked-language-model loss."""


class PretrainData(Section):
    """Plain texts, translation pairs, or both."""

    text: Sources | None = None
    """Files, folders or Hub data sets, or {language: any of these}; a .txt file or a pipe holds one text per line."""
    pairs: Sources | None = None
    """Files with a text and its translation in two columns."""
    columns: PretrainColumns = PretrainColumns()
    quoting: data_keys.Quoting = "standard"
    """In CSV and TSV files; none: quotes are characters like others."""
    pair_language: str = "en"
    """The language of the translations."""
    sampling_alpha: float | None = Field(default=None, ge=0.0, le=1.0)
    """Sample languages with p ~ n^alpha (Conneau & Lample 2019, arXiv:1901.07291); null: every text once per epoch."""
    max_length: int = Field(default=128, ge=4)
    """Maximum length of a text in tokens, special tokens included; longer texts are truncated."""
    held_out: HeldOut = HeldOut()

    @model_validator(mode="after")
    def _something_to_read(self) -> PretrainData:
        if self.text is None and self.pairs is None:
            raise ValueError("give data.text (plain texts), data.pairs (translation pairs), or both")
        return self

    @property
    def truncation(self) -> Literal["head"]:
        """Of a longer text the beginning is kept."""
        return "head"

    @property
    def windows(self) -> None:
        """It is not read in several pieces."""

    @property
    def normalization(self) -> Literal["NFC"]:
        """Of all texts."""
        return "NFC"


class Objective(Section):
    """Loss = masked_lm * masked-language-model loss + contrastive * InfoNCE over the pairs of the batch; `teacher` adds
    its own."""

    masked_lm: Weight = 1.0
    """Weight of the masked-language-model loss. At 0, beside a teacher, no token is hidden; without a teacher tokens
    are hidden all the same, as noise."""
    mask_probability: float = Field(default=0.15, gt=0.0, lt=1.0)
    """Share of the tokens to predict: 80 % masked, 10 % replaced, 10 % unchanged (Devlin et al. 2019)."""
    predicted_share: float = Field(default=1.0, gt=0.0, le=1.0)
    """Share of the masked tokens that count in the loss: the output layer over the vocabulary is the expensive part."""
    contrastive: Weight = 1.0
    """Weight of the contrastive loss, a text against its translation; no effect without pairs."""
    temperature: float = Field(default=0.05, gt=0.0)
    """Temperature of the contrastive losses."""
    pooling: Literal["first", "mean", "both"] = "both"
    """Sentence embedding in the contrastive losses and of a teacher's student: the first token, which a classification
    head reads; the mean of all tokens; or both, with half the loss each."""


class PretrainEvaluate(Section):
    """Evaluation during training, on the held-out texts and pairs."""

    every: Literal["epoch"] | Annotated[int, Field(ge=1)] = "epoch"
    """``epoch``, or a number of steps."""
    metric: Literal["auto", "masked_loss", "retrieval", "teacher_cosine"] = "auto"
    """Metric that chooses the best checkpoint, averaged over languages; auto: retrieval where there are pairs, then the
    cosine with a teacher, then the masked loss."""
    patience: int | None = Field(default=None, ge=1)
    """Early stopping: evaluations without improvement before training stops; null: none."""


class PretrainRecipe(Section):
    """One pretraining run, resolved and validated."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    """Name of the run and of its directory."""
    description: str = ""
    """One line, shown in lists and reports."""
    model: Encoder
    data: PretrainData
    objective: Objective = Objective()
    teacher: Teacher | None = None
    """Null: nobody is asked."""
    optimizer: schema.Optimizer = schema.Optimizer(learning_rate=1e-4)
    schedule: schema.Schedule = schema.Schedule(name="cosine", warmup_ratio=0.05)
    train: schema.Train = schema.Train(epochs=3, batch_size=256)
    evaluate: PretrainEvaluate = PretrainEvaluate()
    checkpoints: schema.Checkpoints = schema.Checkpoints()
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Random seed of initialisation, data order, masking and dropout."""

    @model_validator(mode="after")
    def _consistent(self) -> PretrainRecipe:
        schema.refuse_rates_out_of_order(self.optimizer, self.schedule)
        scratch = self.model.scratch
        if scratch is not None and self.data.max_length > scratch.max_length:
            raise ValueError(
                f"data.max_length ({self.data.max_length}) is above model.scratch.max_length ({scratch.max_length})"
            )
        if self.teacher is None:
            self._learns_by_itself()
        if self.evaluate.metric == "retrieval" and self.data.pairs is None:
            raise ValueError("evaluate.metric is retrieval, but there are no data.pairs")
        if self.evaluate.metric == "teacher_cosine" and self.teacher is None:
            raise ValueError("evaluate.metric is teacher_cosine, but there is no teacher")
        if self.evaluate.metric == "masked_loss" and not self.hides_tokens:
            raise ValueError("evaluate.metric is masked_loss, but objective.masked_lm is 0 beside a teacher")
        return self

    def _learns_by_itself(self) -> None:
        if self.objective.masked_lm == 0.0 and self.objective.contrastive == 0.0:
            raise ValueError("masked_lm and contrastive are both 0: nothing is learned")
        if self.data.pairs is None and self.objective.masked_lm == 0.0:
            raise ValueError("objective.masked_lm is 0 and there are no data.pairs: nothing is learned")

    @property
    def hides_tokens(self) -> bool:
        """A teacher's student reads texts whole unless it learns masked tokens too."""
        return self.teacher is None or self.objective.masked_lm > 0.0

    @property
    def chooses_by(self) -> Literal["masked_loss", "retrieval", "teacher_cosine"]:
        """What chooses the checkpoint, ``auto`` resolved."""
        if self.evaluate.metric != "auto":
            return self.evaluate.metric
        if self.data.pairs is not None and (self.teacher is not None or self.objective.contrastive > 0.0):
            return "retrieval"
        return "masked_loss" if self.teacher is None else "teacher_cosine"

    @property
    def settings(self) -> TrainingSettings:
        """What the engine reads. Texts always run packed."""
        return TrainingSettings(
            seed=self.seed,
            max_length=self.data.max_length,
            sampling_alpha=self.data.sampling_alpha,
            optimizer=self.optimizer,
            schedule=self.schedule,
            train=self.train.model_copy(update={"batching": "packed"}),
            speed=schema.Speed(pooled_last_layer=False, trim_vocabulary=False, prefix_cache="off"),
            checkpoints=self.checkpoints,
            evaluate_every=self.evaluate.every,
            patience=self.evaluate.patience,
            test="never",
        )


PRETRAIN_FOLDER = BUILTIN_FOLDER / "pretrain"


def load_pretrain_recipe(source: str | Path | PretrainRecipe, *overrides: Overrides) -> PretrainRecipe:
    """Loads, overrides and validates a pretraining recipe.

    Args:
        source: a built-in name, a YAML file, or a recipe to change.
        overrides: lists of ``key.path=value`` (values are YAML), or {"key.path": value}.

    Raises:
        UserError: no such recipe, no YAML, or invalid; every problem is listed.
    """
    if isinstance(source, PretrainRecipe):
        return load_as(PretrainRecipe, source, *overrides)
    known = builtin_recipes(PRETRAIN_FOLDER)
    if str(source) in known:
        return load_as(PretrainRecipe, known[str(source)], *overrides)
    if not Path(source).is_file() and Path(source).suffix not in (".yaml", ".yml"):
        hint = "It is a recipe to fine-tune by: use glotune train" if str(source) in builtin_recipes() else None
        raise UserError(
            f"there is no pretraining recipe '{source}'",
            expected=f"a YAML file or one of: {', '.join(known)}",
            remedy=hint or did_you_mean(str(source), known),
        )
    return load_as(PretrainRecipe, source, *overrides)


def load_taught_recipe(source: str, overrides: Iterable[str]) -> Recipe | PretrainRecipe:
    """A recipe that names a teacher: of a pretraining run (``teacher``) or of a classifier (``distill``).

    Raises:
        UserError: no such recipe, no YAML, invalid, or without a teacher.
    """
    if _is_pretraining(source):
        taught = load_pretrain_recipe(source, overrides)
        if taught.teacher is None:
            raise _no_teacher(source, "teacher.name=ENCODER")
        return taught
    found = load_recipe(source, overrides)
    if found.distill is None:
        raise _no_teacher(source, "distill.teacher=RUN")
    return found


def _no_teacher(source: str, key: str) -> UserError:
    return UserError(
        f"the recipe '{source}' names no teacher", expected="a teacher whose answers are learned", remedy=f"Add {key}"
    )


def _is_pretraining(source: str) -> bool:
    """A pretraining recipe has texts or pairs, an ordinary one labelled training texts."""
    if source in builtin_recipes(PRETRAIN_FOLDER):
        return True
    if not Path(source).is_file():
        return False
    content = read_extended(Path(source))
    data = content.get("data")
    return "teacher" in content or (isinstance(data, dict) and not data.keys().isdisjoint(("text", "pairs")))
