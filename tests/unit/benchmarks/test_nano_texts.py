"""What glotune-nano is taught on beside sentences: words, sentences made of them, pieces of another vocabulary."""

import json
from pathlib import Path

from benchmarks.nano_texts import mixtures, parts, pieces

TEXTS = ["The room was cold, @user!", "Nobody came to see the ROOM http://x.y 7", "we left"]


def test_words_are_bare_and_the_frequent_ones_come_first() -> None:
    found = parts(TEXTS, [0])
    assert found[:2] == ["room", "the"]
    assert {"cold", "nobody", "left"} <= set(found)
    assert not any(mark in word for word in found for mark in "@,!7:")


def test_made_sentences_are_of_the_texts_words_and_lengths() -> None:
    words = {word for text in TEXTS[:2] for word in parts([text], [0]) if " " not in word}
    made = mixtures(TEXTS, [0])
    assert made == mixtures(TEXTS, [0])
    assert len(made) > 20
    assert {word for sentence in made for word in sentence.split()} <= words
    assert {len(sentence.split()) for sentence in made} == {4, 6}, "a text of two words is no sentence"


def test_pieces_that_may_be_words(tmp_path: Path) -> None:
    vocabulary = [
        ("<s>", 0.0), ("▁the", -3.0), ("▁Room", -5.0), ("▁room", -6.0), ("▁a", -2.0), ("ing", -3.0), ("▁कमरा", -7.0),
        ("部屋", -8.0), ("▁部", -4.0), ("▁x1y", -4.0), ("▁ოთახი", -9.0),
    ]  # fmt: skip
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}}), encoding="utf-8")
    found = {script: words for script, words in pieces(tmp_path / "tokenizer.json").items() if words}
    assert found == {"latin": ["the", "room"], "devanagari": ["कमरा"], "cjk": ["部屋"]}
