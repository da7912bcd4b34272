"""Tokens equal transformers' own; the cache is keyed by content, and what is damaged is rebuilt."""

import json
import os
import tempfile
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from encoders import TEXTS, make_tokenizer
from glotune.data import tokenization
from glotune.data.cache import MANIFEST, cache_folder, open_or_build
from glotune.data.cutting import kept_positions
from glotune.data.reading import read_texts
from glotune.data.source_table import normalised
from glotune.data.texts import TextData
from glotune.data.tokenization import TokenStore, tokenize
from glotune.errors import UserError
from glotune.recipe.paths import place_of
from glotune.recipe.schema import Data

FAMILIES = ("xlm-roberta", "roberta", "bert", "modernbert")


def write_texts(path: Path, *, pairs: bool = False) -> None:
    rows = []
    for i in range(60):
        row = {"text": " ".join(TEXTS[(i + k) % len(TEXTS)] for k in range(1 + i % 3)), "label": str(i % 2)}
        if pairs:
            row["other"] = " ".join(TEXTS[(i * 5 + k) % len(TEXTS)] for k in range(1 + i % 4))
        rows.append(row | {"text": f"{i} {row['text']}"})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def settings(path: Path, **keys: Any) -> Data:
    return Data.model_validate({"train": str(path), "made_splits": {"validation": 0.25}, **keys})


def ids(store: TokenStore) -> list[list[int]]:
    return [store.tokens[a:b].tolist() for a, b in zip(store.offsets[:-1], store.offsets[1:], strict=True)]


@pytest.fixture
def data(tmp_path: Path) -> Data:
    write_texts(tmp_path / "en.jsonl")
    return settings(tmp_path / "en.jsonl", max_length=24)


@pytest.fixture
def texts(data: Data) -> TextData:
    return read_texts(data, 0)


@pytest.mark.parametrize("form", ["NFC", "NFKC"])
def test_texts_are_composed_as_python_composes_them(form: str) -> None:
    texts = ["caf\u0065\u0301", "caf\u00e9", "\u0995\u09c7\u09be", "\u1112\u1161\u11ab", "\ufb01n"]
    assert normalised(pa.array(texts), form) == [unicodedata.normalize(form, text) for text in texts]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("chunk", [7, 2048])
def test_tokens_equal_transformers(
    family: str, chunk: int, data: Data, texts: TextData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenization, "CHUNK", chunk)
    tokenizer = make_tokenizer(family)
    stores = tokenize(texts, tokenizer, data, tmp_path / "cache")
    for name, split in texts.splits.items():
        expected = tokenizer(split.table["text"].to_pylist(), truncation=True, max_length=24)["input_ids"]
        full = tokenizer(split.table["text"].to_pylist())["input_ids"]
        store = stores[name]
        assert ids(store) == expected
        assert store.lengths.tolist() == [len(text) for text in expected]
        assert store.raw_lengths.tolist() == [len(text) for text in full]
        assert store.token_types is None
        assert store.labels.tolist() == split.labels.tolist()
        assert store.rows.tolist() == split.rows.tolist()
        assert [store.language_names[i] for i in store.languages] == ["en"] * len(split)
        assert (store.raw_lengths > 24).any()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("max_length", [5, 8, 17, 24, 61])
def test_pairs_equal_transformers(family: str, max_length: int, tmp_path: Path) -> None:
    write_texts(tmp_path / "en.jsonl", pairs=True)
    data = settings(tmp_path / "en.jsonl", max_length=max_length, columns={"text_pair": "other"})
    texts, tokenizer = read_texts(data, 0), make_tokenizer(family)
    if tokenizer.num_special_tokens_to_add(pair=True) >= max_length:
        pytest.skip("no room for a text")
    store = tokenize(texts, tokenizer, data, tmp_path / "cache")["train"]
    table = texts.splits["train"].table
    expected = tokenizer(
        table["text"].to_pylist(), table["text_pair"].to_pylist(), truncation="longest_first", max_length=max_length
    )
    assert ids(store) == expected["input_ids"]
    if "token_type_ids" in tokenizer.model_input_names:
        assert store.token_types is not None
        assert store.token_types.tolist() == [kind for row in expected["token_type_ids"] for kind in row]
    else:
        assert store.token_types is None


def test_head_and_tail(data: Data, texts: TextData, tmp_path: Path) -> None:
    tokenizer = make_tokenizer("xlm-roberta")
    both = data.model_copy(update={"truncation": "head_tail", "max_length": 13})
    store = tokenize(texts, tokenizer, both, tmp_path / "cache")["train"]
    full = tokenizer(texts.splits["train"].table["text"].to_pylist())["input_ids"]
    assert max(len(row) for row in full) > 13
    for kept, row in zip(ids(store), full, strict=True):
        content = row[1:-1]
        assert kept == (row if len(row) <= 13 else [row[0], *content[:6], *content[-5:], row[-1]])


def test_head_and_tail_of_a_pair() -> None:
    owners = [None, *[0] * 10, None, None, *[1] * 4, None]
    assert kept_positions(owners, 14, "head_tail") == [0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17][:14]
    assert kept_positions(owners, 8, "head_tail") == [0, 1, 10, 11, 12, 13, 16, 17]
    assert kept_positions(owners, 8, "head") == [0, 1, 2, 11, 12, 13, 14, 17]


def test_normalisation_comes_before_tokens(tmp_path: Path) -> None:
    path = tmp_path / "en.jsonl"
    words = ("caf\u00e9 \ufb01n", "cafe\u0301 \ufb01n")
    rows = [{"text": words[i % 2], "label": str(i // 2 % 2)} for i in range(20)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tokenizer = make_tokenizer("roberta")
    distinct = {}
    for form in ("NFC", "NFKC", "none"):
        data = settings(path, normalization=form, validation=str(path))
        stores = tokenize(read_texts(data, 0), tokenizer, data, tmp_path / "cache")
        distinct[form] = {tuple(row) for row in ids(stores["train"])}
    assert [len(distinct[form]) for form in ("NFC", "NFKC", "none")] == [1, 1, 2]
    assert distinct["NFC"] != distinct["NFKC"]


def test_the_tokenizer_is_left_as_it_was(data: Data, texts: TextData, tmp_path: Path) -> None:
    tokenizer = make_tokenizer("bert")
    tokenizer(["a text"], truncation=True, max_length=9, padding="max_length")
    before = tokenizer._tokenizer.to_str()
    tokenize(texts, tokenizer, data, tmp_path / "cache")
    assert tokenizer._tokenizer.to_str() == before


def test_progress_counts_all_splits(data: Data, texts: TextData, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    tokenize(
        texts, make_tokenizer("bert"), data, tmp_path / "cache", progress=lambda done, total: told.append((done, total))
    )
    assert told[-1] == (60, 60)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_too_short_for_its_special_tokens(tmp_path: Path) -> None:
    write_texts(tmp_path / "en.jsonl", pairs=True)
    data = settings(tmp_path / "en.jsonl", max_length=4, columns={"text_pair": "other"})
    with pytest.raises(UserError, match=r"data.max_length: 4 tokens leave no room"):
        tokenize(read_texts(data, 0), make_tokenizer("xlm-roberta"), data, tmp_path / "cache")


def test_slow_tokenizer(data: Data, texts: TextData, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no fast version"):
        tokenize(texts, object(), data, tmp_path / "cache")


def test_text_without_any_token(tmp_path: Path, texts: TextData, data: Data) -> None:
    tokenizer = make_tokenizer("bert")
    from tokenizers import normalizers, processors

    tokenizer._tokenizer.post_processor = processors.Sequence([])
    tokenizer._tokenizer.normalizer = normalizers.Replace("0", " ")
    path = tmp_path / "de.jsonl"
    path.write_text("".join(json.dumps({"text": str(i % 2), "label": str(i % 2)}) + "\n" for i in range(9)))
    empty = settings(path, validation=str(path))
    with pytest.raises(UserError, match=r"no token of the train text in row 1"):
        tokenize(read_texts(empty, 0), tokenizer, empty, tmp_path / "cache")


class TestCache:
    """What lies in the cache is used when whole, and never trusted when not."""

    @pytest.fixture
    def run(self, data: Data, texts: TextData, tmp_path: Path) -> Any:
        tokenizer = make_tokenizer("xlm-roberta")

        def run(**changed: Any) -> tuple[list[list[int]], list[str], int]:
            told: list[str] = []
            seen = 0

            def count(done: int, total: int) -> None:
                nonlocal seen
                seen += 1

            used = data.model_copy(update=changed)
            stores = tokenize(texts, tokenizer, used, tmp_path / "cache", on_warning=told.append, progress=count)
            return ids(stores["train"]), told, seen

        return run

    def entries(self, tmp_path: Path) -> list[Path]:
        return sorted((tmp_path / "cache" / "tokens").iterdir())

    def test_second_run_reads(self, run: Any, tmp_path: Path) -> None:
        first, _, _ = run()
        stamps = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.bin")}
        second, told, _ = run()
        assert second == first
        assert not told
        assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.bin")} == stamps

    def test_nothing_is_left_beside_the_entries(self, run: Any, tmp_path: Path) -> None:
        run()
        assert len(self.entries(tmp_path)) == 2
        assert not list(tmp_path.rglob("*.tmp"))

    @pytest.mark.parametrize("changed", [{"max_length": 9}, {"truncation": "head_tail"}, {"normalization": "NFKC"}])
    def test_other_settings_are_other_entries(self, run: Any, tmp_path: Path, changed: dict[str, Any]) -> None:
        run()
        run(**changed)
        assert len(self.entries(tmp_path)) == 4

    @pytest.mark.parametrize(
        "damage",
        [
            lambda entry: (entry / "tokens.bin").write_bytes((entry / "tokens.bin").read_bytes()[:-4]),
            lambda entry: flip(entry / "tokens.bin"),
            lambda entry: flip(entry / "lengths.npy"),
            lambda entry: (entry / "lengths.npy").unlink(),
            lambda entry: (entry / MANIFEST).unlink(),
            lambda entry: (entry / MANIFEST).write_text("{"),
            lambda entry: (entry / MANIFEST).write_text("[]"),
            lambda entry: (entry / MANIFEST).write_text('{"schema": 1, "files": {}, "key": "another"}'),
        ],
    )
    def test_damage_is_seen_and_mended(self, run: Any, tmp_path: Path, damage: Any) -> None:
        first, _, _ = run()
        for entry in self.entries(tmp_path):
            damage(entry)
        again, told, _ = run()
        assert again == first
        assert len(told) == 2
        assert all("rebuilt" in message for message in told)
        assert not run()[1]

    def test_a_file_in_the_entrys_place(self, run: Any, tmp_path: Path) -> None:
        first, _, _ = run()
        for entry in self.entries(tmp_path):
            for file in entry.iterdir():
                file.unlink()
            entry.rmdir()
            entry.write_text("no folder")
        assert run()[0] == first

    def test_unwritable_cache_falls_back(self, run: Any, tmp_path: Path) -> None:
        (tmp_path / "cache").write_text("a file where the folder should be")
        tokens, told, _ = run()
        assert tokens
        assert "can't be written" in told[0]
        assert "temporary folder" in told[0]

    def test_full_disk_falls_back(self, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        whole, _, _ = run()
        save = np.save

        def full(file: Path, array: np.ndarray) -> None:
            if str(tmp_path / "cache") in str(file):
                raise OSError(28, "No space left on device")
            save(file, array)

        monkeypatch.setattr(np, "save", full)
        tokens, told, _ = run(max_length=23)
        assert "No space left on device" in told[0]
        assert tokens == [row if len(row) < 24 else [*row[:22], row[-1]] for row in whole]
        assert len(self.entries(tmp_path)) == 2

    def test_no_space_anywhere(self, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(np, "save", full)
        with pytest.raises(UserError, match="GLOTUNE_CACHE"):
            run()

    def test_two_at_once(self, tmp_path: Path) -> None:
        def build(folder: Path) -> None:
            (folder / "content").write_text("same")
            if not (tmp_path / "entry").exists():
                open_or_build(tmp_path, "entry", lambda inner: (inner / "content").write_text("same") and None)

        entry, was_there = open_or_build(tmp_path, "entry", build)
        assert not was_there
        assert (entry / "content").read_text() == "same"
        assert open_or_build(tmp_path, "entry", build)[1]


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GLOTUNE_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("GLOTUNE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "glotune"


def without_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_without_a_home_the_cache_is_a_temporary_folder_of_ones_own_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("GLOTUNE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", without_home)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    told: list[str] = []
    folder = cache_folder(told.append)
    assert folder == cache_folder() == tmp_path / f"glotune-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert len(told) == 1
    assert str(folder) in told[0]
    assert "GLOTUNE_CACHE" in told[0]
    folder.rmdir()
    folder.symlink_to(tmp_path / "of-somebody-else")
    (tmp_path / "of-somebody-else").mkdir()
    assert cache_folder() not in (folder, tmp_path / "of-somebody-else")


@pytest.mark.parametrize("name", ["~", "~no-such-user/en.csv"])
def test_a_home_that_there_is_not_leaves_the_path_as_it_is(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def expanduser(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", expanduser)
    assert place_of(name) == Path(name)


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    stat = file.stat()
    file.write_bytes(content)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
