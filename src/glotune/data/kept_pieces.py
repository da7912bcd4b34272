"""A tokenizer cut for good to the pieces that some texts use: it cuts them as before, and others into smaller pieces.

Why a text over kept pieces is cut as before, by kind of tokenizer:

- Unigram takes the best-scored way through a text. Where that way keeps to kept pieces, it is among the ways that are
  left, in front of the same others. The price of an unknown character is set by the lowest score of the vocabulary, so
  a piece of that score stays.
- WordPiece takes the longest piece that fits, again and again; that piece is still the longest.
- BPE merges the pair of lowest rank, again and again. All pieces on the way to a kept one stay, so each merge that was
  made still can be, and there are no others in front of it.

`verify` checks it on the texts all the same.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glotune.errors import RunError, UserError

Ids = NDArray[np.int64]

MARKS = ("▁", "##")
"""Begin of a word (SentencePiece), and its going on (WordPiece): no characters of a text."""
KINDS = ("Unigram", "WordPiece", "BPE")


class PieceUse:
    """Which pieces texts use, and in how many texts each."""

    def __init__(self, backend: Any) -> None:
        """Begins with none; `backend` is a ``tokenizers.Tokenizer`` that cuts nothing off."""
        self._backend = backend
        size = max(backend.get_vocab().values()) + 1
        self._texts_V = np.zeros(size, np.int64)
        self._owner_V = np.full(size, -1, np.int64)
        self._characters: set[str] = set()
        self.num_texts = 0

    def add(self, texts: Sequence[Any]) -> None:
        """Counts some texts, or pairs of them."""
        for text, encoding in zip(texts, self._backend.encode_batch_fast(list(texts)), strict=True):
            used = np.unique(np.asarray(encoding.ids, np.int64))
            self._texts_V[used] += 1
            self._owner_V[used] = self.num_texts
            self._characters.update(*([text] if isinstance(text, str) else text))
            self.num_texts += 1

    @property
    def used(self) -> Ids:
        """Ids of the pieces that came up, ascending."""
        return np.flatnonzero(self._texts_V)

    @property
    def scripts(self) -> set[str]:
        """Writing systems of the letters that came up."""
        return {script for each in self._characters if (script := script_of(each))}

    def share_with_a_piece_of_their_own(self, among: Ids) -> float:
        """The share of texts that hold one of these pieces that no other text holds.

        Left out one at a time, these texts would have been cut otherwise: so it estimates the share of further texts
        of the kind that hold a piece that was cut (Good 1953, Biometrika 40, on the same ground).
        """
        once = among[self._texts_V[among] == 1]
        return len(np.unique(self._owner_V[once])) / max(self.num_texts, 1)


def script_of(character: str) -> str:
    """The first word of a letter's Unicode name (LATIN, BENGALI, CJK); empty for all that is no letter."""
    if unicodedata.category(character)[0] not in "LM":
        return ""
    return unicodedata.name(character, "").partition(" ")[0]


def pieces_to_keep(backend: Any, used: Iterable[int], scripts: set[str], special: Iterable[int]) -> Ids:
    """New id -> old id of the tokenizer that is left.

    Beside the pieces used, it keeps what other texts fall back to: single characters of these writing systems and all
    that are no letters, bytes, and what the algorithm needs (see the module). Special tokens keep their ids where the
    new vocabulary reaches them: some families count positions from the padding's.

    Args:
        backend: the full ``tokenizers.Tokenizer``.
        used: ids of pieces used.
        scripts: as `script_of` names them.
        special: ids of special tokens.

    Raises:
        UserError: a kind of tokenizer that can't be cut.
    """
    stated = _stated(backend)
    model = stated["model"]
    pieces = _pieces(model)
    kept = (
        set(map(int, used))
        | set(map(int, special))
        | {each["id"] for each in stated["added_tokens"] if each["special"]}
    )
    kept |= {index for piece, index in pieces.items() if _is_fallback(piece, scripts)}
    kept |= {index for piece, index in pieces.items() if _is_byte(piece, stated)}
    if model["type"] == "Unigram":
        kept |= {model["unk_id"]} - {None}
        kept.add(int(np.argmin([score for _, score in model["vocab"]])))
    elif (unknown := model.get("unk_token")) in pieces:
        kept.add(pieces[unknown])
    if model["type"] == "BPE":
        kept |= _ancestors(kept, pieces, _merges(model))
    return _arranged(kept, kept & set(map(int, special)), len(pieces))


def smaller(backend: Any, kept: Ids) -> Any:
    """The ``tokenizers.Tokenizer`` whose piece i is piece ``kept[i]`` of the full one."""
    from tokenizers import Tokenizer

    stated = _stated(backend)
    new_id = {int(old): new for new, old in enumerate(kept)}
    model = stated["model"]
    pieces = _pieces(model)
    if model["type"] == "Unigram":
        model["vocab"] = [model["vocab"][old] for old in kept.tolist() if old < len(pieces)]
        model["unk_id"] = None if model["unk_id"] is None else new_id[model["unk_id"]]
    else:
        model["vocab"] = {piece: new_id[index] for piece, index in pieces.items() if index in new_id}
    if model["type"] == "BPE":
        left = model["vocab"]
        model["merges"] = [[a, b] for a, b, both in _merges(model) if {a, b, both} <= left.keys()]
    stated["added_tokens"] = [
        each | {"id": new_id[each["id"]]} for each in stated["added_tokens"] if each["id"] in new_id
    ]
    if stated["padding"]:
        stated["padding"]["pad_id"] = new_id[stated["padding"]["pad_id"]]
    _renumber(stated["post_processor"], new_id)
    return Tokenizer.from_str(json.dumps(stated, ensure_ascii=False))


def verify(full: Any, small: Any, kept: Ids, texts: Sequence[Any]) -> None:
    """Checks that both cut these texts alike.

    Raises:
        RunError: they don't.
    """
    pairs = zip(full.encode_batch_fast(list(texts)), small.encode_batch_fast(list(texts)), strict=True)
    for text, (before, after) in zip(texts, pairs, strict=True):
        if before.ids != kept[after.ids].tolist():
            raise RunError(
                f"this tokenizer can't be cut exactly: {str(text)[:60]!r} would be cut otherwise than before"
            )


def _stated(backend: Any) -> dict[str, Any]:
    stated: dict[str, Any] = json.loads(backend.to_str())
    kind = stated["model"].get("type")
    if kind not in KINDS or stated["model"].get("dropout"):
        what = "drops merges at random" if kind in KINDS else f"is of the kind {kind}"
        raise UserError(
            f"the tokenizer {what}: its vocabulary can't be cut",
            expected=f"one of {', '.join(KINDS)}",
            remedy="Export with the full vocabulary: leave --languages and --texts out",
        )
    return stated


def _pieces(model: dict[str, Any]) -> dict[str, int]:
    """Piece -> id. A Unigram vocabulary may list a piece twice; the library finds the last."""
    if model["type"] == "Unigram":
        return {piece: index for index, (piece, _) in enumerate(model["vocab"])}
    return dict(model["vocab"])


def _is_fallback(piece: str, scripts: set[str]) -> bool:
    for mark in MARKS:
        piece = piece.removeprefix(mark) or piece
    return len(piece) == 1 and (not script_of(piece) or script_of(piece) in scripts)


def _is_byte(piece: str, stated: dict[str, Any]) -> bool:
    """Whether a piece stands for one byte: ``<0xE2>``, or a letter of the byte-level alphabet."""
    if len(piece) == 1:
        return '"ByteLevel"' in json.dumps([stated["pre_tokenizer"], stated["decoder"]])
    return len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">")


def _merges(model: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(first, second, what they become), in the order of their ranks."""
    prefix = model.get("continuing_subword_prefix") or ""
    pairs = [each if isinstance(each, list) else each.split(" ") for each in model["merges"]]
    return [(first, second, first + second.removeprefix(prefix)) for first, second in pairs]


def _ancestors(kept: set[int], pieces: dict[str, int], merges: list[tuple[str, str, str]]) -> set[int]:
    """Pieces on any way to a kept one."""
    parents: dict[str, list[tuple[str, str]]] = {}
    for first, second, both in merges:
        parents.setdefault(both, []).append((first, second))
    names = {index: piece for piece, index in pieces.items()}
    waiting = [names[index] for index in kept if index in names]
    found: set[str] = set()
    while waiting:
        for part in (part for pair in parents.get(waiting.pop(), []) for part in pair):
            if part not in found:
                found.add(part)
                waiting.append(part)
    return {pieces[piece] for piece in found}


def _arranged(kept: set[int], special: set[int], size: int) -> Ids:
    """New id -> old id: the model's own pieces before those added behind them, as the library numbers them."""
    own, behind = sorted(each for each in kept if each < size), sorted(each for each in kept if each >= size)
    at_home = np.array(sorted(each for each in special if each < len(own)), np.int64)
    found = np.empty(len(own), np.int64)
    free = np.ones(len(own), bool)
    found[at_home] = at_home
    free[at_home] = False
    found[free] = np.setdiff1d(own, at_home)
    return np.concatenate([found, np.array(behind, np.int64)])


def _renumber(processor: Any, new_id: dict[int, int]) -> None:
    """Gives the special tokens of a post-processor their new ids, in place."""
    if processor is None:
        return
    for each in processor.get("processors", ()):
        _renumber(each, new_id)
    for entry in (processor.get("special_tokens") or {}).values():
        entry["ids"] = [new_id[index] for index in entry["ids"]]
    for role in ("sep", "cls"):
        if isinstance(processor.get(role), list):
            processor[role][1] = new_id[processor[role][1]]
