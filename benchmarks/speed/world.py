"""What all sides share: UMSAB's texts in six languages, a tokenizer trained on them, a random encoder of XLM-R's shape.

Everything lies in one working folder and is made once; no text leaves it.
"""

from __future__ import annotations

import csv
import json
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.rows import Shape

LANGUAGES = ("en", "ar", "de", "es", "fr", "it")
LABELS = ("negative", "neutral", "positive")
MAX_LENGTH = 128

Row = dict[str, str]


@dataclass(frozen=True)
class World:
    """The working folder."""

    folder: Path
    shape: Shape
    weights: str = "random"
    """Or "real": of an encoder that was given."""

    @property
    def name(self) -> str:
        """What tells one encoder's files from another's."""
        return f"{self.weights}-{self.shape.hidden}" if self.weights == "real" else str(self.shape.hidden)

    @property
    def encoder(self) -> Path:
        """Classifier and tokenizer, as Hugging Face saves them."""
        return self.folder / f"encoder-{self.name}"

    @property
    def train(self) -> Path:
        """All training texts."""
        return self.folder / "train.csv"

    @property
    def cover(self) -> Path:
        """Texts that use every token which any text uses: with them a sample trims the vocabulary as the whole does."""
        return self.folder / f"cover-{self.name}.csv"

    @property
    def validation(self) -> Path:
        """A few texts: a run wants some."""
        return self.folder / "validation.csv"

    @property
    def cache(self) -> Path:
        """glotune's cache."""
        return self.folder / "cache"

    def sample(self, texts: int) -> Path:
        """So many training texts with the length distribution of all: every m-th by length."""
        path = self.folder / f"sample-{self.name}-{texts}.csv"
        if not path.exists():
            rows = read(self.train)
            lengths = np.array(json.loads((self.folder / f"lengths-{self.name}.json").read_text(encoding="utf-8")))
            order = np.argsort(lengths, kind="stable")
            chosen = order[((np.arange(texts) + 0.5) * len(order) / texts).astype(int)]
            shuffled = np.random.default_rng(0).permutation(chosen)
            write(path, [rows[index] for index in shuffled])
        return path


def build(data: Path, folder: Path, shape: Shape, given: Path | None = None) -> World:
    """Makes what is missing of the working folder.

    Args:
        given: folder of an encoder with real weights, in place of one with random weights of the shape.

    Raises:
        FileNotFoundError: `data` holds no ``umsab/LANGUAGE.csv``.
    """
    world = World(folder, shape) if given is None else World(folder, shape_of(given), "real")
    folder.mkdir(parents=True, exist_ok=True)
    if not world.train.exists():
        write(folder / "all.csv", umsab(data, None))
        write(world.validation, umsab(data, "val")[:96])
        write(world.train, umsab(data, "train"))
    if not (world.encoder / "config.json").exists():
        _make_encoder(world) if given is None else _take_encoder(world, given)
    if not world.cover.exists():
        _measure_texts(world)
    return world


def umsab(data: Path, split: str | None) -> list[Row]:
    """Rows of text, label and language; None: of all splits. Texts are NFC and distinct."""
    found: dict[str, Row] = {}
    for language in LANGUAGES:
        with (data / "umsab" / f"{language}.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                text = unicodedata.normalize("NFC", row["text"])
                if text.strip() and (split is None or row["split"] == split):
                    found.setdefault(text, {"text": text, "label": row["label"], "language": language})
    return list(found.values())


def read(path: Path) -> list[Row]:
    """The rows of a file of this folder."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write(path: Path, rows: Sequence[Row]) -> None:
    """The rows as CSV, whole or not at all."""
    aside = path.with_suffix(".tmp")
    with aside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["text", "label", "language"])
        writer.writeheader()
        writer.writerows(rows)
    aside.replace(path)


def tokenizer_of(world: World) -> Any:
    """The tokenizer of the encoder."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(world.encoder)


def shape_of(encoder: Path) -> Shape:
    """Of an encoder's configuration."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(encoder)
    return Shape(
        hidden=config.hidden_size,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        feed_forward=config.intermediate_size,
        vocabulary=config.vocab_size,
        pieces=config.vocab_size,
    )


def _take_encoder(world: World, given: Path) -> None:
    """The given encoder under a new head, beside its tokenizer."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(0)
    names = {"id2label": dict(enumerate(LABELS)), "label2id": {label: index for index, label in enumerate(LABELS)}}
    hf = AutoModelForSequenceClassification.from_pretrained(given, dtype=torch.float32, num_labels=len(LABELS), **names)
    AutoTokenizer.from_pretrained(given).save_pretrained(world.encoder)
    hf.save_pretrained(world.encoder)


def _make_encoder(world: World) -> None:
    import torch
    from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

    shape = world.shape
    tokenizer = train_tokenizer([row["text"] for row in read(world.folder / "all.csv")], shape.pieces)
    tokenizer.save_pretrained(world.encoder)
    config = XLMRobertaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.feed_forward,
        max_position_embeddings=514,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
    )
    torch.manual_seed(0)
    XLMRobertaForSequenceClassification(config).save_pretrained(world.encoder)
    (world.encoder / "shape.json").write_text(json.dumps(asdict(shape)), encoding="utf-8")


def train_tokenizer(texts: Sequence[str], pieces: int) -> Any:
    """A SentencePiece-like unigram tokenizer with XLM-R's special tokens."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=pieces, special_tokens=special, unk_token="<unk>", show_progress=False, max_piece_length=16
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=MAX_LENGTH,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        mask_token="<mask>",
        cls_token="<s>",
        sep_token="</s>",
        model_input_names=["input_ids", "attention_mask"],
    )


def _measure_texts(world: World) -> None:
    tokenizer = tokenizer_of(world)

    def ids_of(rows: Sequence[Row]) -> list[list[int]]:
        texts = [row["text"] for row in rows]
        return tokenizer(texts, truncation=True, max_length=MAX_LENGTH)["input_ids"]

    lengths = [len(ids) for ids in ids_of(read(world.train))]
    (world.folder / f"lengths-{world.name}.json").write_text(json.dumps(lengths), encoding="utf-8")
    rows = read(world.folder / "all.csv")
    seen: set[int] = set()
    covering = []
    for row, ids in sorted(zip(rows, ids_of(rows), strict=True), key=lambda pair: -len(pair[1])):
        if not seen.issuperset(ids):
            seen.update(ids)
            covering.append(row)
    write(world.cover, covering)
