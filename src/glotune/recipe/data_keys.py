"""The section `data` of a recipe: files, columns, splits, and how texts are read."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from glotune.recipe.section import Fraction, Names, Section, Share, as_list


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
    sentences of one document, posts of one author. Splits that are made, and folds, keep them on one side, and
    intervals count them as one; a blank cell joins its row to none. null: parallel test files are found by their look
    (the same rows and labels)."""

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

    train: Names = Field(default=["train"])
    """Names of the training split."""
    validation: Names = Field(default=["validation", "valid", "val", "dev"])
    """Names of the validation split."""
    test: Names = Field(default=["test"])
    """Names of the test split."""

    @model_validator(mode="before")
    @classmethod
    def _claimed_names_leave_defaults(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        claimed = (
            {name for names in given.values() for name in as_list(names) if isinstance(name, str)}
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
            both = " and ".join(split for split, names in self if twice[0] in names)
            raise ValueError(f"the split name '{twice[0]}' stands for two splits ({both}): take it from one of them")
        return self

    def claimed_by(self, split: str, names: list[str]) -> SplitNames:
        """The same where these names mean `split`, and no other."""
        left = {each: [name for name in own if name not in names] for each, own in self}
        return SplitNames.model_validate({**left, split: names})


class MadeSplits(Section):
    """Splits made from the training rows where they are missing: stratified by label, duplicates in one split, and so
    what ``columns.id`` joins."""

    validation: Fraction = 0.1
    """Share of the training rows for validation, where the recipe names no validation texts."""
    test: Fraction = 0.0
    """Share of the training rows of a source language for test, where the recipe names no test texts of it."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of these splits. It is not the recipe's seed, so that runs with several seeds share their splits."""


Source = str | Annotated[list[str], Field(min_length=1)]
"""A file, a folder or a Hub data set, or several; not none, which would leave a language out in silence."""
Sources = Source | Annotated[dict[str, Source], Field(min_length=1)]
"""The same, or {language: these}."""


class CodeSwitch(Section):
    """Words of the training texts replaced by their translations, otherwise in each epoch (CoSDA-ML, Qin et al. 2020,
    arXiv:2006.06402). Words are what stands between spaces; case and punctuation around them stay. With several
    languages, the language of each replaced word is drawn. Uses no text of a target language, but its words."""

    share: Share = 0.3
    """Share of the words of a text that are replaced; all that have a translation, where these are fewer."""
    lexicons: dict[str, Source] = Field(default_factory=dict)
    """{language: file or files} of word pairs: ``.csv`` or ``.tsv`` with two columns, a word of the source language and
    its translation (the other way round where the header names the languages so), or ``.txt`` without a header, a pair
    a line as MUSE has them. A word may have several translations. Of several source languages the header names one."""
    pairs: dict[str, Source] = Field(default_factory=dict)
    """{language: file or files} of sentence pairs (``.csv``, ``.tsv``), from which a dictionary is induced by word
    alignment (IBM model 1 in both directions, Brown et al. 1993). Columns are found by the languages' codes or English
    names (``english``), the translation's else by ``data.columns.text``. Pairs with a held-out text are left out."""
    from_translations: bool = False
    """Induce a dictionary from the training texts and their ``data.translations``."""

    @model_validator(mode="after")
    def _has_words(self) -> CodeSwitch:
        if not self.lexicons and not self.pairs and not self.from_translations:
            raise ValueError(
                "code_switch has no dictionary: give lexicons or pairs, {language: file}, or from_translations: true"
            )
        return self


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
    code_switch: CodeSwitch | None = None
    back_translations: Sources | None = None
    """Paraphrases of training texts that you bring, as back-translation makes them (Sennrich et al. 2016,
    arXiv:1511.06709): a file, a list or {language: file}, each row with a text and the id of the row that it says once
    more (``data.columns.id``); several rows may share an id. In each epoch the text or one of its paraphrases is read,
    each as likely. Those of validation and test rows are not used."""

    @model_validator(mode="after")
    def _does_something(self) -> Augment:
        parts = self.subword, self.word_dropout, self.word_swap, self.code_switch, self.back_translations
        if not any(parts):
            raise ValueError(
                "data.augment changes nothing: give subword, word_dropout, word_swap, code_switch or back_translations"
            )
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
    hide_test: bool = False
    """Leave the test texts out: the run ends with validation scores alone. Trials of a search are trained so."""
    columns: Columns = Columns()
    quoting: Quoting = "standard"
    """In CSV and TSV files. standard: a quoted field may hold delimiters and line breaks (RFC 4180); none: quotes are
    characters like others, as in many TSV files."""
    split_names: SplitNames = SplitNames()
    made_splits: MadeSplits = MadeSplits()
    weighted_metrics: bool = False
    """``single_label``: weigh each text by ``data.columns.weight`` in metrics, intervals and tuned thresholds too; the
    texts that are validated and tested on then need that column. false: every text counts once there."""
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
    unlabelled: dict[str, Source] = Field(default_factory=dict)
    """{language: file or files} with texts without labels for ``self_training``: tables as ``train``, whose labels stay
    unread, or ``.txt`` with a text a line. Texts that are validated or tested on are refused."""
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

    @property
    def switched_into(self) -> list[str]:
        """The languages that words of the training texts are replaced by, in one of their views at least."""
        spec = None if self.augment is None else self.augment.code_switch
        if spec is None:
            return []
        more = self.translations if spec.from_translations else []
        return list(dict.fromkeys([*spec.lexicons, *spec.pairs, *more]))

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

    @model_validator(mode="after")
    def _augment_has_what_it_asks_for(self) -> Data:
        if self.augment is None:
            return self
        if self.augment.back_translations is not None and self.columns.id is None:
            raise ValueError("data.augment.back_translations needs data.columns.id: the row that each one says again")
        if self.augment.back_translations is not None and self.columns.text_pair is not None:
            raise ValueError("data.augment.back_translations are of single texts, and data.columns.text_pair is set")
        switch = self.augment.code_switch
        if switch is not None and switch.from_translations and not self.translations:
            raise ValueError("data.augment.code_switch.from_translations needs data.translations: {language: file}")
        return self
