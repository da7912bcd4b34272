"""The quickstart corpus: regenerated to the byte, balanced, without leaks and without labels given away."""

from __future__ import annotations

import csv
import gzip
import os
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from documentation.toy_corpus import CORPUS, WORDS
from documentation.toy_corpus.generate import COLUMNS, corpus, normalized
from documentation.toy_corpus.lexicon import CorpusPlan, read_lexicon, read_plan

PLAN: CorpusPlan = read_plan(WORDS)
LABELS = {"negative", "neutral", "positive"}


@cache
def rows(language: str) -> list[dict[str, str]]:
    with (CORPUS / f"{language}.csv").open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        assert tuple(reader.fieldnames or ()) == COLUMNS
        return list(reader)


def test_regenerates_to_the_same_bytes() -> None:
    files = corpus(PLAN, WORDS)
    committed = {path.name: path.read_bytes() for path in CORPUS.glob("*.csv")}
    assert {name: text.encode("utf-8") for name, text in files.items()} == committed


@pytest.mark.parametrize("language", PLAN.languages)
def test_splits_labels_and_balance(language: str) -> None:
    splits = {row["split"] for row in rows(language)}
    assert splits == ({"train", "validation", "test"} if language == PLAN.source_language else {"test"})
    assert {row["language"] for row in rows(language)} == {language}
    for split in splits:
        counts = Counter(row["label"] for row in rows(language) if row["split"] == split)
        assert set(counts) == LABELS
        assert len(set(counts.values())) == 1
    assert sum(row["split"] == "test" for row in rows(language)) == 180


@pytest.mark.parametrize("language", PLAN.languages)
def test_no_sentence_twice_and_none_of_training_in_any_test(language: str) -> None:
    said = [normalized(row["text"]) for row in rows(language)]
    assert len(set(said)) == len(said)
    trained = {normalized(row["text"]) for row in rows("en") if row["split"] != "test"}
    assert not trained & {normalized(row["text"]) for row in rows(language) if row["split"] == "test"}


@pytest.mark.parametrize("language", PLAN.languages)
def test_labels_are_parallel_across_languages(language: str) -> None:
    def labels(code: str) -> list[str]:
        return [row["label"] for row in rows(code) if row["split"] == "test"]

    assert labels(language) == labels("en")


@pytest.mark.parametrize("language", PLAN.languages)
def test_lexicon_says_what_the_plan_asks_and_no_more(language: str) -> None:
    lexicon = read_lexicon(WORDS, language)
    roles = ("shared", "train", "test") if language == PLAN.source_language else ("shared", "test")
    for name, group in PLAN.groups.items():
        said = lexicon.groups[name]
        assert list(said.nouns) == [noun for role in roles for noun in group.nouns[role]]
        asked = {p for by_role in group.patterns.values() for role in roles for p in by_role[role]}
        assert set(said.patterns) == asked
    assert {label: list(scenes) for label, scenes in lexicon.scenes.items()} == PLAN.scenes


@pytest.mark.parametrize("language", PLAN.languages)
def test_sentences_are_well_formed(language: str) -> None:
    for row in rows(language):
        text = row["text"]
        assert not set(text) & set('[]{}|!?"0123456789\n\t'), text
        assert text.endswith((".", "。", "।")), text
        assert text == " ".join(text.split())
        assert text[0] == text[0].upper()
        assert len(text) <= 70


def test_letters_are_of_the_language_s_script() -> None:
    ranges = {
        "Latin": "\u0041\u024f", "Cyrillic": "\u0400\u052f", "Greek": "\u0370\u03ff", "Arabic": "\u0600\u06ff",
        "Bengali": "\u0980\u09ff", "Devanagari": "\u0900\u097f", "Han": "\u4e00\u9fff",
        "Hiragana": "\u3040\u309f", "Katakana": "\u30a0\u30ff",
    }  # fmt: skip
    for language in PLAN.languages:
        spans = [ranges[script] for script in read_lexicon(WORDS, language).script.split(", ")]
        letters = {c for row in rows(language) for c in row["text"] if c.isalpha()}
        assert not {c for c in letters if not any(low <= c <= high for low, high in spans)}, language


def test_test_split_has_words_that_training_has_not() -> None:
    for group in PLAN.groups.values():
        assert group.nouns["test"]
        assert all(by_role["test"] for by_role in group.patterns.values())
    trained = {word for row in rows("en") if row["split"] == "train" for word in normalized(row["text"]).split()}
    unseen = [
        row for row in rows("en") if row["split"] == "test" and not set(normalized(row["text"]).split()) <= trained
    ]
    assert len(unseen) > 60


def test_neither_letters_nor_length_carry_the_label_into_other_languages() -> None:
    text = pytest.importorskip("sklearn.feature_extraction.text")
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    train = [row for row in rows("en") if row["split"] == "train"]
    labels = [row["label"] for row in train]
    letters = make_pipeline(
        text.TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4)), LogisticRegression(C=10, max_iter=1000)
    ).fit([row["text"] for row in train], labels)
    length = LogisticRegression(max_iter=1000).fit(
        [[len(row["text"]), len(row["text"].split())] for row in train], labels
    )
    by_letters, by_length = [], []
    for language in PLAN.languages:
        if language == PLAN.source_language:
            continue
        test = [row for row in rows(language) if row["split"] == "test"]
        gold = [row["label"] for row in test]
        by_letters.append(letters.score([row["text"] for row in test], gold))
        by_length.append(length.score([[len(row["text"]), len(row["text"].split())] for row in test], gold))
    # A third is chance; 0.43 is the upper 99.5 % bound of a guess on 180 rows.
    assert max(by_letters) < 0.43
    assert sum(by_letters) / len(by_letters) < 0.37
    assert max(by_length) < 0.46
    assert sum(by_length) / len(by_length) < 0.38


@pytest.mark.real_data
def test_no_row_of_the_pretraining_text_is_in_it() -> None:
    if "GLOTUNE_TEST_DATA" not in os.environ:
        pytest.skip("GLOTUNE_TEST_DATA does not name the folder of real data")
    path = Path(os.environ["GLOTUNE_TEST_DATA"]) / "tatoeba" / "parallel.csv.gz"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        pretrained = {normalized(row[side]) for row in csv.DictReader(file) for side in ("text", "english")}
    found = [
        row["text"] for language in PLAN.languages for row in rows(language) if normalized(row["text"]) in pretrained
    ]
    assert found == []
