"""Code-switching: which words are replaced and how, where the dictionary comes from, and what it is refused for."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glotune.data import tokenization
from glotune.data.augmentation import with_augmented
from glotune.data.code_switching import Dictionary, in_case_of, looked_up, parted, words_of
from glotune.data.reading import read_texts
from glotune.data.tokenization import TokenStore, tokenize
from glotune.errors import UserError
from glotune.hub.card import model_card
from glotune.launch.task import pack
from glotune.model.loading import load_tokenizer
from glotune.recipe import Recipe, load_recipe
from glotune.recipe.schema import Data
from glotune.report.conditions import conditions_of
from glotune.report.content import gather
from glotune.run.data import load_run
from glotune.verbs.train import train
from small_runs import sentences, small_recipe, write_csv

LEXICON = (
    "english,spanish\ngood,buena\ngood,bonita\nlovely,linda\nroom,cuarto grande\nfood,comida\nbad,bad\nnot good,mala\n"
)
DICTIONARY = Dictionary({"en": {"es": {"good": ("buena", "bonita"), "food": ("comida",)}, "de": {"good": ("gut",)}}})


def draw(*numbers: int) -> np.random.Generator:
    return np.random.default_rng(list(numbers))


def test_case_blanks_and_punctuation_stay() -> None:
    text = "  GOOD\tfood, «Good»  (it's) 100%!\n"
    one = Dictionary({"en": {"es": {"good": ("buena",), "food": ("comida",), "it's": ("es",)}}})
    assert one.switched(text, "en", 1.0, draw(0)) == "  BUENA\tcomida, «Buena»  (es) 100%!\n"
    assert one.switched(text, "fr", 1.0, draw(0)) == text, "words of another language"
    assert [in_case_of(word, "straße") for word in ("a", "A", "AB", "Ab")] == ["straße", "Straße", "STRASSE", "Straße"]


def test_words_are_looked_up_whatever_their_form() -> None:
    assert parted("“कीमत,”") == ("“", "कीमत", ",”"), "a vowel sign belongs to its word"
    assert parted("...") == ("...", "", "")
    assert looked_up("CAFE\u0301") == looked_up("café") == "café"
    assert words_of("A 100 % café!") == ["a", "café"]


def test_the_share_is_that_of_a_texts_words() -> None:
    text = "good food here and there good and fine"  # 8 words, 3 of them known
    for share, expected in ((0.25, 2.0), (0.3, 2.4), (1.0, 3.0)):
        counts = []
        for seed in range(300):
            found = DICTIONARY.switched(text, "en", share, draw(seed)).split()
            counts.append(sum(a != b for a, b in zip(found, text.split(), strict=True)))
        assert np.mean(counts) == pytest.approx(expected, abs=0.1)
        assert max(counts) - min(counts) <= 1
    languages = [DICTIONARY.switched("good", "en", 1.0, draw(seed)) for seed in range(400)]
    assert languages.count("gut") == pytest.approx(200, abs=50), "the language is drawn first, then the translation"


def data_of(folder: Path, switch: dict[str, Any], lexicon: str = LEXICON, **keys: Any) -> Data:
    """As of `small_recipe`, without its encoder."""
    (folder / "lexicon.csv").write_text(lexicon, encoding="utf-8")
    files = {name: str(write_csv(folder / f"{name}.csv", sentences(*about)))
             for name, about in {"train": ("en", 60), "dev": ("en", 24, 1), "es": ("es", 30, 2)}.items()}  # fmt: skip
    sources = {"train": {"en": files["train"]}, "validation": {"en": files["dev"]}, "test": {"es": files["es"]}}
    return Data.model_validate({**sources, "augment": {"code_switch": switch}, **keys})


def recipe_of(folder: Path, *, switch: dict[str, Any], lexicon: str = LEXICON, **keys: Any) -> Recipe:
    (folder / "lexicon.csv").write_text(lexicon, encoding="utf-8")
    return small_recipe(folder, data__augment={"code_switch": switch}, **keys)


def stores_of(recipe: Recipe, cache: Path) -> dict[str, TokenStore]:
    texts, tokenizer = read_texts(recipe.data, recipe.seed), load_tokenizer(recipe.model)
    stores = tokenize(texts, tokenizer, recipe.data, cache)
    return dict(with_augmented(stores, texts, tokenizer, recipe, cache))


def texts_in(store: TokenStore, recipe: Recipe) -> list[str]:
    tokenizer = load_tokenizer(recipe.model)
    return [
        tokenizer.decode(store.tokens[store.offsets[row] : store.offsets[row + 1]], skip_special_tokens=True)
        for row in range(len(store))
    ]


def test_an_epochs_words_follow_from_seed_epoch_and_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    switch = {"share": 0.5, "lexicons": {"es": str(tmp_path / "lexicon.csv")}}
    recipe = recipe_of(tmp_path, switch=switch, data__max_length=100)
    stores = stores_of(recipe, tmp_path / "cache")
    first, second = stores["train"].epochs
    assert not stores["validation"].epochs
    assert not stores["test"].epochs
    plain = texts_in(stores["train"], recipe)
    changed = texts_in(first, recipe)
    for before, after in zip(plain, changed, strict=True):
        assert ("lovely" in after.split()) <= ("lovely" in before.split())
    joined = " ".join(changed).split()
    assert {"comida", "linda", "cuarto"} <= set(joined)
    assert "mala" not in joined, "'not good' is no word"
    assert texts_in(second, recipe) != changed
    monkeypatch.setattr(tokenization, "CHUNK", 7)
    again = stores_of(recipe, tmp_path / "other")["train"].epochs
    assert [each.tokens.tolist() for each in again] == [first.tokens.tolist(), second.tokens.tolist()]
    (tmp_path / "lexicon.csv").write_text(LEXICON.replace("comida", "comedia"), encoding="utf-8")
    assert "comedia" in " ".join(texts_in(stores_of(recipe, tmp_path / "cache")["train"].epochs[0], recipe))


def test_every_form_of_a_dictionary_says_the_same(tmp_path: Path) -> None:
    rows = [line.split(",") for line in LEXICON.splitlines()[1:]]
    files = {
        "turned.csv": "spanish,english\n" + "".join(f"{b},{a}\n" for a, b in rows),
        "tabs.tsv": "en\tes\n" + "".join(f"{a}\t{b}\n" for a, b in rows),
        "muse.txt": "".join(f"{a}\t{b}\n" if " " in a + b else f"{a} {b}\n" for a, b in rows),
        "unnamed.csv": "word,translation\n" + "".join(f"{a},{b}\n" for a, b in rows),
    }
    name = tmp_path / "packed.csv.gz"
    name.write_bytes(gzip.compress(LEXICON.encode()))
    lexicons = [str(tmp_path / "lexicon.csv"), str(name)]
    for each, content in files.items():
        (tmp_path / each).write_text(content, encoding="utf-8")
        lexicons.append(str(tmp_path / each))
    found = []
    for lexicon in lexicons:
        texts = read_texts(data_of(tmp_path, {"lexicons": {"es": lexicon}}), 0)
        assert texts.dictionary is not None
        found.append(texts.dictionary.words)
        assert texts.sources[-1].path == lexicon
        assert any("1 rows of" in line and "several words" in line for line in texts.warnings)
    expected = {"good": ("buena", "bonita"), "lovely": ("linda",), "room": ("cuarto grande",), "food": ("comida",)}
    assert found == [{"en": {"es": expected}}] * len(lexicons), "'bad' is the same word in both"
    data = data_of(tmp_path, {"lexicons": {"es": lexicons[0]}})
    plain = read_texts(data.model_copy(update={"augment": None}), 0)
    assert plain.dictionary is None
    assert plain.data_hash != read_texts(data, 0).data_hash


PAIRS = [
    ("good room", "buena sala"),
    ("bad room", "mala sala"),
    ("good staff", "buena gente"),
    ("bad staff", "mala gente"),
]


def pairs_file(folder: Path, rows: list[dict[str, str]]) -> str:
    return str(write_csv(folder / "pairs.csv", rows))


def test_a_dictionary_is_induced_from_pairs(tmp_path: Path) -> None:
    expected = {"good": ("buena",), "bad": ("mala",), "room": ("sala",), "staff": ("gente",)}
    other = [{"language": "fr", "text": "bon", "english": "good"}] * 3
    tall = [{"language": "spa", "text": es, "english": en} for en, es in PAIRS] + other
    held = sentences("en", 24, 1)[0]["text"]
    wide = [{"en": en, "fr": "-", "es": es, "split": "train"} for en, es in PAIRS]
    wide += [{"en": "lovely lovely", "fr": "-", "es": "linda", "split": "test"}] * 3
    wide += [{"en": held, "fr": "-", "es": "una prueba", "split": "train"}] * 3
    for rows in (tall, wide):
        texts = read_texts(data_of(tmp_path, {"pairs": {"es": pairs_file(tmp_path, rows)}}), 0)
        assert texts.dictionary is not None
        assert texts.dictionary.words == {"en": {"es": expected}}
    assert any(
        "3 pairs of" in line and "a side of theirs is a validation or test text" in line for line in texts.warnings
    )


def test_a_dictionary_is_induced_from_the_translations(tmp_path: Path) -> None:
    base = small_recipe(tmp_path)
    rows = [{"id": str(at), "text": PAIRS[at % 4][0], "label": ("bad", "good")[at % 2]} for at in range(12)]
    write_csv(tmp_path / "train.csv", [{**row, "text": f"{row['text']} {row['id']}"} for row in rows])
    into = write_csv(
        tmp_path / "into.csv", [{"id": row["id"], "text": PAIRS[at % 4][1]} for at, row in enumerate(rows)]
    )
    write_csv(tmp_path / "dev.csv", [{**row, "text": f"other {at}"} for at, row in enumerate(rows)])
    write_csv(tmp_path / "es.csv", [{**row, "text": f"otro {at}"} for at, row in enumerate(rows)])
    keys = {"data.columns.id": "id", "data.translations": {"es": str(into)}}
    recipe = load_recipe(base, keys, {"data.augment.code_switch.from_translations": True})
    texts = read_texts(recipe.data, recipe.seed)
    assert texts.dictionary is not None
    assert set(texts.dictionary.words["en"]["es"].items()) >= {("good", ("buena",)), ("room", ("sala",))}
    assert texts.dictionary.known["en"] == pytest.approx(1.0)
    whole = load_recipe(recipe, {"data.augment.code_switch.share": 1.0})
    epoch = texts_in(stores_of(whole, tmp_path / "cache")["train"].epochs[0], recipe)
    assert epoch[0] == "buena sala 0"
    assert epoch[12] == "buena sala", "a translation keeps its words"


@pytest.mark.parametrize(
    ("content", "switch", "message"),
    [
        ("german,spanish\ngut,buena\n", {}, r"the words of .* are in German, as its header says"),
        ("word,translation\ngut,buena\nschlecht,mala\n", {}, r"knows 0\.0 % .* another pair of languages\? .* gut"),
        ("word,translation\nbuena,good\nmala,bad\n", {}, r"Its other column knows \d+\.\d %: it is the wrong"),
        ("english,spanish,note\ngood,buena,x\n", {}, r"has 3 columns: english, spanish, note"),
        ("english,spanish\ngood,buena\nbad\n", {}, r"lexicon\.csv, row 2: 1 field, where the header has 2"),
        ("english,spanish\n", {}, r"holds no pairs"),
        (LEXICON, {"lexicons": {"es": "lexcion.csv"}}, r"no file lexcion\.csv.*Did you mean 'lexicon\.csv'"),
        (LEXICON, {"lexicons": {"es": "train.parquet"}}, r"no file|unknown format"),
        ("good buena\nbad\n", {"lexicons": {"es": "lexicon.txt"}}, r"lexicon\.txt, row 2: 1 field.*a word and its"),
        (LEXICON, {"lexicons": {}}, r"has no dictionary"),
        (LEXICON, {"lexicons": {}, "from_translations": True}, r"needs data\.translations"),
        (LEXICON, {"lexicons": {}, "pairs": {"es": "lexicon.csv"}}, r"no word pair can be learned"),
        (LEXICON, {"lexicons": {}, "pairs": {"sw": "lexicon.csv"}}, r"no column for Swahili \(sw\)"),
        (LEXICON, {"lexicons": {}, "pairs": {"th": "lexicon.csv"}}, r"the words of Thai \(th\) stand without spaces"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, switch: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lexicon.txt").write_text(content, encoding="utf-8")
    with pytest.raises((UserError, ValueError), match=message):
        read_texts(data_of(tmp_path, switch or {"lexicons": {"es": "lexicon.csv"}}, content), 0)


def test_texts_without_spaces_are_refused(tmp_path: Path) -> None:
    (tmp_path / "lexicon.csv").write_text("word,translation\n好,good\n", encoding="utf-8")
    rows = [{"text": f"很好{at}", "label": ("bad", "good")[at % 2]} for at in range(12)]
    train_file = write_csv(tmp_path / "zh.csv", rows)
    switch = {"code_switch": {"lexicons": {"en": str(tmp_path / "lexicon.csv")}}}
    with pytest.raises(UserError, match=r"the words of Chinese \(zh\) stand without spaces between them"):
        read_texts(Data.model_validate({"train": {"zh": str(train_file)}, "augment": switch}), seed=0)


def test_two_source_languages_are_told_apart_by_the_header(tmp_path: Path) -> None:
    both = {"train": {"en": str(tmp_path / "train.csv"), "es": str(tmp_path / "es.csv")}, "test": None}
    switch = {"lexicons": {"de": str(tmp_path / "lexicon.csv")}}
    with pytest.raises(UserError, match=r"which of the source languages .* is not said"):
        read_texts(data_of(tmp_path, switch, "word,de\ngood,gut\n", **both), 0)
    texts = read_texts(data_of(tmp_path, switch, "de,english\ngut,good\n", **both), 0)
    assert texts.dictionary is not None
    assert texts.dictionary.words == {"en": {"de": {"good": ("gut",)}}}


def test_a_run_says_its_regime_and_takes_its_files_along(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, switch={"lexicons": {"es": str(tmp_path / "lexicon.csv")}}, train__epochs=1)
    run = train(recipe, out=tmp_path / "run", report=False)
    found = load_run(run.path)
    (conditions,) = conditions_of([found], "test", ["es"])
    assert [each.word for each in conditions] == ["code-switching: es"]
    told = dict(gather(found).training)
    assert "words switched into Spanish (es): no target label was used" in told["Checkpoint kept"]
    assert told["Augmentation"].startswith("30.0 % of the words replaced by translations into Spanish (es); ")
    assert "of those in English (en) have one" in told["Augmentation"]
    assert "this is code-switching with a dictionary, not zero-shot" in str(model_card(run.path))
    remote, mounts = pack(recipe)
    assert remote.data.augment is not None
    assert remote.data.augment.code_switch is not None
    assert str(tmp_path / "lexicon.csv") in mounts.values()
    assert remote.data.augment.code_switch.lexicons["es"] != str(tmp_path / "lexicon.csv")
