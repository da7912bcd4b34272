"""The data profile: counts made by hand."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from encoders import make_tokenizer
from glotune.data import profile as profile_module
from glotune.data.checks import conflicting, leaked, repeated
from glotune.data.profile import profile, unknown_counts, word_counts
from glotune.data.reading import read_texts
from glotune.data.tokenization import tokenize
from glotune.recipe.schema import Data


def write(name: str, rows: list[tuple[str, str]]) -> str:
    Path(name).write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
    return name


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_profile() -> None:
    train = [("one two", "a"), ("one two", "b"), ("three", "a"), ("three", "a"), ("four five six", "b"), ("", "a")]
    data = Data(
        train={"en": write("en.jsonl", train)},
        validation={"en": write("dev.jsonl", [("seven", "a"), ("three ", "b")])},
        test={"en": write("test.jsonl", [("one two", "a"), ("eight", "a"), ("seven", "b")]),
              "bn": write("bn.jsonl", [("☃ খাবার", "a"), ("three", "b"), ("three", "b")])},
        max_length=6,
    )  # fmt: skip
    texts, tokenizer = read_texts(data, 0), make_tokenizer("bert")
    found = profile(texts, tokenize(texts, tokenizer, data, Path("cache")), tokenizer, data)
    assert json.loads(json.dumps(found)) == found
    english = found["splits"]["train"]["en"]
    assert english["rows"] == 5
    assert english["label_counts"] == {"a": 3, "b": 2}
    assert english["words"] == {"mean": 1.8, "median": 2.0, "p95": 2.8, "max": 3.0}
    assert english["characters"]["max"] == 13
    assert english["duplicate_rows"] == 2
    assert english["conflicting_rows"] == 2
    expected = [len(tokenizer(text)["input_ids"]) for text, _ in train if text]
    assert english["tokens"]["max"] == max(expected)
    assert english["truncated_rows"] == sum(length > 6 for length in expected) > 0
    assert english["truncation_rate"] == english["truncated_rows"] / 5
    cut = sum(max(length - 6, 0) for length in expected)
    assert english["tokens_cut_rate"] == pytest.approx(cut / sum(expected))
    assert english["fertility"] == pytest.approx(sum(length - 2 for length in expected) / 9)
    assert found["splits"]["test"]["bn"]["unknown_token_rate"] > 0
    assert found["leaked"] == {"validation": {"en": [2]}, "test": {"bn": [2, 3], "en": [1, 3]}}
    assert found["shared_texts"] == {"en": 3}
    assert found["skipped"]["count"] == 1
    assert found["skipped"]["rows"] == [{"path": "en.jsonl", "row": 6, "reason": "empty text"}]


def test_leaked_rows_of_several_files_are_told_with_their_file() -> None:
    train = write("en.jsonl", [("one", "a"), ("two", "b"), ("three", "a")])
    first = write("first.jsonl", [("four", "a"), ("two", "b"), ("five", "a")])
    second = write("second.jsonl", [("one", "a"), ("six", "b"), ("three", "a")])
    data = Data(train={"en": train}, test={"en": [first, second], "bn": write("bn.jsonl", [("one", "a")])})
    texts, tokenizer = read_texts(data, 0), make_tokenizer("bert")
    found = profile(texts, tokenize(texts, tokenizer, data, Path("cache")), tokenizer, data)
    assert found["leaked"]["test"] == {"bn": [1], "en": [2, 1, 3]}
    hashes = {source.path: source.sha256 for source in texts.sources}
    assert found["leaked_files"] == {"test": {"en": [hashes[first], hashes[second], hashes[second]]}}


def test_unknown_tokens_in_any_chunking(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [("☃ one" * (i % 4 + 1), "ab"[i % 2]) for i in range(50)]
    data = Data(train={"en": write("en.jsonl", rows)}, validation="en.jsonl")
    texts, tokenizer = read_texts(data, 0), make_tokenizer("bert")
    store = tokenize(texts, tokenizer, data, Path("cache"))["train"]
    whole = unknown_counts(store, tokenizer.unk_token_id)
    by_hand = [int((store.tokens[a:b] == tokenizer.unk_token_id).sum()) for a, b in pairwise(store.offsets)]
    assert whole.tolist() == by_hand
    assert unknown_counts(store, None).sum() == 0
    monkeypatch.setattr(profile_module, "TOGETHER", 7)
    assert unknown_counts(store, tokenizer.unk_token_id).tolist() == by_hand


def test_words_are_cut_at_any_blank() -> None:
    data = Data(train={"en": write("en.jsonl", [("a\u00a0b\u3000c\td", "x"), ("e", "y")])}, validation="en.jsonl")
    assert word_counts(read_texts(data, 0).splits["train"]).tolist() == [4, 1]


def test_checks_on_nothing() -> None:
    none = np.zeros(0, np.int64)
    assert len(repeated(none)) == len(conflicting(none, none)) == 0


def test_leaks_need_an_earlier_split() -> None:
    data = Data(train={"en": write("en.jsonl", [("one", "a"), ("two", "b")])}, validation="en.jsonl")
    splits = read_texts(data, 0).splits
    assert leaked(splits, "validation").all()
    assert not leaked({"test": splits["validation"]}, "test").any()
