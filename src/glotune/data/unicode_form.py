"""The Unicode form that texts are brought to, as the tokenizer's own first step: who opens it has the same tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

Normalization = Literal["NFC", "NFKC", "none"]


def put_first(backend: Any, form: Normalization) -> None:
    """Lets a ``tokenizers.Tokenizer`` bring texts to `form` before its own normalizer, unless it does so already."""
    if form == "none" or _first_step(backend) == form:
        return
    from tokenizers import normalizers

    own, first = backend.normalizer, getattr(normalizers, form)()
    backend.normalizer = first if own is None else normalizers.Sequence([first, own])


@contextmanager
def normalising(backend: Any, form: Normalization) -> Iterator[None]:
    """As `put_first`, for a while."""
    own = backend.normalizer
    put_first(backend, form)
    try:
        yield
    finally:
        backend.normalizer = own


def _first_step(backend: Any) -> str | None:
    if backend.normalizer is None:
        return None
    stated = json.loads(backend.normalizer.__getstate__())
    first = (stated.get("normalizers") or [stated])[0]
    return str(first["type"])
