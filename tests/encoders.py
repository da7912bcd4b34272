"""Tiny random encoders of each family with a tokenizer made here, saved as ordinary Hugging Face folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from tokenizers import decoders as token_decoders
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, PreTrainedTokenizerFast

PACKED_FAMILIES = ("xlm-roberta", "roberta", "bert", "modernbert")
"""Families that glotune runs without padding."""
FALLBACK_FAMILIES = ("deberta-v2", "rembert")
"""Families without the attention interface: run with padding."""
FAMILIES = PACKED_FAMILIES + FALLBACK_FAMILIES

TEXTS = (
    "the weather was lovely and the food tasted good",
    "a bad film with a slow story and poor music",
    "what a great day, I would come again",
    "the room was dirty and the staff was rude",
    "la comida fue buena y el lugar bonito",
    "das Zimmer war leider schmutzig",
    "খাবার খুব ভালো ছিল",
    "গল্পটা একদম বাজে লেগেছে",
    "фильм очень понравился",
    "погода была ужасная",
    "الطعام لذيذ والمكان جميل",
    "यह फ़िल्म बहुत अच्छी थी",
    "음식이 맛있고 친절했다",
    "服务很差，不会再来",
)
"""A few sentences in seven scripts; every character of theirs is in the vocabulary."""

_SPECIAL: dict[str, dict[str, str]] = {
    "xlm-roberta": {"bos": "<s>", "pad": "<pad>", "eos": "</s>", "unk": "<unk>", "mask": "<mask>"},
    "roberta": {"bos": "<s>", "pad": "<pad>", "eos": "</s>", "unk": "<unk>", "mask": "<mask>"},
    "bert": {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"},
    "modernbert": {"pad": "<pad>", "eos": "<eos>", "bos": "<bos>", "unk": "<unk>", "mask": "<mask>"},
    "deberta-v2": {"pad": "[PAD]", "cls": "[CLS]", "sep": "[SEP]", "unk": "[UNK]", "mask": "[MASK]"},
    "rembert": {"pad": "<pad>", "unk": "<unk>", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"},
}
"""Special tokens in the order of their ids, as in the published vocabularies (the mask is put last)."""


def make_encoder(
    folder: Path,
    family: str = "xlm-roberta",
    *,
    layers: int = 2,
    hidden: int = 32,
    vocab: int = 400,
    max_position: int = 128,
    heads: int = 4,
    texts: Sequence[str] = TEXTS,
    labels: Sequence[str] | None = None,
    seed: int = 0,
    safetensors: bool = True,
    **config: Any,
) -> Path:
    """Write a random encoder and its tokenizer to `folder`, and return the folder.

    Args:
        folder: made where it does not exist.
        family: one of `FAMILIES`.
        layers: encoder layers.
        hidden: width H; the feed-forward is 2 H wide.
        vocab: rows of the embedding; more than the tokenizer learns, so that some rows are never used.
        max_position: longest text in tokens, special tokens included (the family's offset is added).
        heads: attention heads.
        texts: what the tokenizer is trained on.
        labels: with labels the checkpoint holds a classification head; otherwise the bare encoder.
        seed: of the weights.
        safetensors: False writes ``pytorch_model.bin``.
        config: further keys of the family's configuration, e.g. ``hidden_dropout_prob=0.0``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer(family, texts, vocab, max_position)
    tokenizer.save_pretrained(folder)
    settings = _config(family, tokenizer, layers, hidden, heads, max(vocab, len(tokenizer)), max_position) | config
    if labels is not None:
        settings |= {
            "id2label": dict(enumerate(labels)),
            "label2id": {name: index for index, name in enumerate(labels)},
            "num_labels": len(labels),
        }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        auto = AutoModelForSequenceClassification if labels is not None else AutoModel
        model = auto.from_config(AutoConfig.for_model(family, **settings))
        shake(model)
    if safetensors:
        model.save_pretrained(folder)
    else:
        model.config.save_pretrained(folder)
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return folder


def make_tokenizer(
    family: str, texts: Sequence[str] = TEXTS, vocab: int = 400, max_position: int = 128
) -> PreTrainedTokenizerFast:
    """A tokenizer of the family's kind: SentencePiece-like unigram, WordPiece or byte-level BPE."""
    special = _SPECIAL[family]
    first = [token for role, token in special.items() if role != "mask"]
    build = {
        "xlm-roberta": _unigram,
        "rembert": _unigram,
        "deberta-v2": _unigram,
        "bert": _wordpiece,
        "roberta": _byte_bpe,
        "modernbert": _byte_bpe,
    }[family]
    tokenizer = build(texts, vocab - 1, first, special["unk"])
    tokenizer.add_special_tokens([special["mask"]])
    tokenizer.post_processor = _template(family, tokenizer, special)
    begin, end = special.get("cls", special.get("bos")), special.get("sep", special.get("eos"))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=max_position,
        pad_token=special["pad"],
        unk_token=special["unk"],
        mask_token=special["mask"],
        cls_token=begin,
        sep_token=end,
        bos_token=special.get("bos"),
        eos_token=special.get("eos"),
        model_input_names=["input_ids", *(["token_type_ids"] if "cls" in special else []), "attention_mask"],
    )


def _unigram(texts: Sequence[str], size: int, special: list[str], unknown: str) -> Tokenizer:
    pieces = ["▁", *_characters(texts), *("▁" + word for word in _words(texts))]
    scores = [(token, 0.0) for token in special] + [
        (piece, -8.0 - 0.01 * rank) for rank, piece in enumerate(pieces[: size - len(special)])
    ]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=special.index(unknown)))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = token_decoders.Metaspace()
    tokenizer.add_special_tokens(special)
    return tokenizer


def _wordpiece(texts: Sequence[str], size: int, special: list[str], unknown: str) -> Tokenizer:
    lowered = [text.lower() for text in texts]
    characters = _characters(lowered)
    pieces = [*special, *characters, *("##" + character for character in characters), *_words(lowered)][:size]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=unknown))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = token_decoders.WordPiece()
    tokenizer.add_special_tokens(special)
    return tokenizer


def _byte_bpe(texts: Sequence[str], size: int, special: list[str], unknown: str) -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [(left, right) for left, right in (("t", "h"), ("th", "e"), ("a", "n"), ("Ġ", "w")) if size > 300]
    tokens = [*special, *alphabet, *(left + right for left, right in merges)]
    tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate(tokens)}, merges, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = token_decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    return tokenizer


def _characters(texts: Sequence[str]) -> list[str]:
    return sorted({character for text in texts for character in text if not character.isspace()})


def _words(texts: Sequence[str]) -> list[str]:
    """Every third word, so that some words are one token and others several."""
    return sorted({word for text in texts for word in text.split() if len(word) > 1})[::3]


def _template(family: str, tokenizer: Tokenizer, special: dict[str, str]) -> processors.TemplateProcessing:
    begin, end = special.get("cls", special.get("bos")), special.get("sep", special.get("eos"))
    if family in ("xlm-roberta", "roberta"):
        pair = f"{begin} $A {end} {end} $B {end}"
    elif family == "modernbert":
        pair = f"{begin} $A {end} $B {end}"
    else:
        pair = f"{begin}:0 $A:0 {end}:0 $B:1 {end}:1"
    ids = [(token, tokenizer.token_to_id(token)) for token in (begin, end)]
    return processors.TemplateProcessing(single=f"{begin} $A {end}", pair=pair, special_tokens=ids)


def _config(
    family: str, tokenizer: PreTrainedTokenizerFast, layers: int, hidden: int, heads: int, vocab: int, longest: int
) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "vocab_size": vocab,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 2 * hidden,
        "pad_token_id": tokenizer.pad_token_id,
        "max_position_embeddings": longest,
    }
    if family in ("xlm-roberta", "roberta"):
        settings |= {"max_position_embeddings": longest + tokenizer.pad_token_id + 1, "type_vocab_size": 1}
    if family == "modernbert":
        # A window of 8 (4 to each side) is shorter than most texts, so that local attention is put to the test.
        settings |= {"local_attention": 8, "global_attn_every_n_layers": 3, "classifier_pooling": "cls"}
        settings |= {
            f"{role}_token_id": getattr(tokenizer, f"{role}_token_id") for role in ("cls", "sep", "bos", "eos")
        }
    if family == "deberta-v2":
        settings |= {"relative_attention": True, "position_buckets": 16, "pos_att_type": ["p2c", "c2p"]}
        settings |= {"type_vocab_size": 2, "position_biased_input": False}
    if family == "rembert":
        settings |= {"input_embedding_size": hidden, "output_embedding_size": hidden}
    return settings


def shake(model: torch.nn.Module) -> None:
    """Make weights large and biases and norms nonzero, so that a lost bias or a wrong row shows in the logits."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2:
                parameter.normal_(0.0, 0.5 if "embedding" in name else parameter.shape[-1] ** -0.5)
            elif "weight" in name:
                parameter.uniform_(0.7, 1.3)
            else:
                parameter.normal_(0.0, 0.1)
