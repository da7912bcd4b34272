"""Training texts as each epoch reads them: a function of (seed, epoch, row), drawn as the model says, and no others."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from encoders import TEXTS, make_tokenizer
from glotune.data import tokenization
from glotune.data.augmentation import Segmenter, changed_words, with_augmented
from glotune.data.reading import read_texts
from glotune.data.tokenization import TokenStore, tokenize
from glotune.errors import UserError
from glotune.model.loading import load_tokenizer
from glotune.recipe import Recipe, load_recipe
from glotune.recipe.schema import Augment
from glotune.verbs.train import train
from small_runs import sentences, small_recipe, write_csv


def draw(*numbers: int) -> np.random.Generator:
    return np.random.default_rng(list(numbers))


def stores_of(recipe: Recipe, cache: Path) -> dict[str, TokenStore]:
    texts = read_texts(recipe.data, recipe.seed, recipe.task)
    tokenizer = load_tokenizer(recipe.model)
    stores = tokenize(texts, tokenizer, recipe.data, cache)
    return dict(with_augmented(stores, texts, tokenizer, recipe, cache))


def test_the_most_probable_pieces_are_the_tokenizers() -> None:
    backend = make_tokenizer("xlm-roberta")._tokenizer
    sampler = Segmenter.of(backend, alpha=200.0)
    for text in (*TEXTS, "a word with ☃ in it"):
        encoding = backend.encode(text)
        assert sampler.drawn((text,), encoding, draw(1)).ids == encoding.ids


def test_pieces_are_drawn_as_often_as_the_model_says() -> None:
    vocabulary = [("<unk>", 0.0), ("a", -1.0), ("b", -2.0), ("ab", -2.5), ("aba", -4.0), ("ba", -2.2)]
    backend = Tokenizer(models.Unigram(vocabulary, unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    scores = dict(vocabulary)
    ways = [("a", "b", "a"), ("ab", "a"), ("a", "ba"), ("aba",)]
    for alpha in (0.3, 1.0):
        sampler, counts = Segmenter.of(backend, alpha), dict.fromkeys(ways, 0)
        generator = draw(0)
        for _ in range(4000):
            ids = sampler.pieces_of("aba", generator)
            counts[tuple(backend.id_to_token(piece) for piece in ids)] += 1
        weights = [math.exp(alpha * sum(scores[piece] for piece in way)) for way in ways]
        for way, weight in zip(ways, weights, strict=True):
            expected = weight / sum(weights)
            assert counts[way] / 4000 == pytest.approx(expected, abs=4 * math.sqrt(expected / 4000)), (alpha, way)


def test_words_are_left_out_and_swapped_and_one_stays() -> None:
    text = "one two  three four five six seven eight nine ten"
    left = changed_words(text, Augment(word_dropout=0.4), draw(3))
    assert 0 < len(left.split()) < 10
    assert [word for word in text.split() if word in left.split()] == left.split(), "in their order"
    swapped = changed_words(text, Augment(word_swap=0.2), draw(3))
    assert sorted(swapped.split()) == sorted(text.split())
    assert 2 <= sum(a != b for a, b in zip(swapped.split(), text.split(), strict=True)) <= 4
    for seed in range(50):
        assert changed_words("two words", Augment(word_dropout=0.99), draw(seed)) in ("two", "words", "two words")
        assert changed_words("一个句子", Augment(word_dropout=0.99), draw(seed)) == "一个句子"
    assert changed_words(text, Augment(subword=0.2), draw(3)) == text


@pytest.mark.parametrize(
    "keys", [{"subword": 0.02}, {"word_dropout": 0.3, "word_swap": 0.2}, {"subword": 0.02, "word_dropout": 0.3}]
)
def test_an_epochs_texts_follow_from_seed_epoch_and_row(
    tmp_path: Path, keys: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = small_recipe(tmp_path, data__augment=keys, train__epochs=2)
    stores = stores_of(recipe, tmp_path / "cache")
    first, second = stores["train"].epochs
    assert not stores["validation"].epochs
    assert not stores["test"].epochs
    assert not np.array_equal(first.tokens, second.tokens)
    assert first.labels.tolist() == stores["train"].labels.tolist()
    monkeypatch.setattr(tokenization, "CHUNK", 7)
    again = stores_of(recipe, tmp_path / "other")["train"].epochs
    assert [each.tokens.tolist() for each in again] == [first.tokens.tolist(), second.tokens.tolist()]
    other = stores_of(small_recipe(tmp_path, data__augment=keys, train__epochs=2, seed=1), tmp_path / "cache")
    assert not np.array_equal(other["train"].epochs[0].tokens, first.tokens)
    assert int(first.lengths.max()) <= recipe.data.max_length
    assert set(first.tokens.tolist()) <= set(stores["train"].distinct_tokens().tolist())


def test_drawn_pieces_spell_the_same_text(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path, data__augment={"subword": 0.02}, train__epochs=1, data__max_length=100)
    stores, tokenizer = stores_of(recipe, tmp_path / "cache"), load_tokenizer(recipe.model)
    plain, (drawn,) = stores["train"], stores["train"].epochs
    for row in range(len(plain)):
        texts = [tokenizer.decode(each.tokens[each.offsets[row] : each.offsets[row + 1]]) for each in (plain, drawn)]
        assert texts[0] == texts[1]
    assert drawn.lengths.sum() > plain.lengths.sum(), "the most probable pieces are the longest"


def test_pairs_keep_their_special_tokens(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path, pairs=True, data__augment={"subword": 0.02}, train__epochs=1)
    stores, tokenizer = stores_of(recipe, tmp_path / "cache"), load_tokenizer(recipe.model)
    plain, (drawn,) = stores["train"], stores["train"].epochs
    for row in range(len(plain)):
        parts = [each.tokens[each.offsets[row] : each.offsets[row + 1]].tolist() for each in (plain, drawn)]
        specials = [[token for token in part if token in tokenizer.all_special_ids] for part in parts]
        assert specials[0] == specials[1]


def test_a_second_view_has_the_same_words_in_other_pieces(tmp_path: Path) -> None:
    """Also beside augmented texts; the micro-batch carries it along, and the update does not depend on the cut."""
    consistency = {"weight": 1.0, "views": ["dropout", "subword"], "alpha": 0.02}
    for augment in (None, {"word_dropout": 0.3, "subword": 0.02}):
        recipe = small_recipe(tmp_path, loss__consistency=consistency, data__augment=augment, train__epochs=2)
        stores, tokenizer = stores_of(recipe, tmp_path / "cache"), load_tokenizer(recipe.model)
        for each in stores["train"].epochs:
            assert each.twin is not None
            twin, pieces = each.twin, 0
            for row in range(len(each)):
                both = [of.tokens[of.offsets[row] : of.offsets[row + 1]] for of in (each, twin)]
                if max(map(len, both)) < recipe.data.max_length:
                    assert tokenizer.decode(both[0]) == tokenizer.decode(both[1])
                pieces += both[0].tolist() != both[1].tolist()
            assert pieces > len(each) / 4
        if augment is None:
            assert stores["train"].epochs[0].tokens is stores["train"].tokens, "the first view is the text as it is"


def test_a_trimmed_run_is_the_full_run(tmp_path: Path) -> None:
    """Pieces that only an epoch's own texts hold are in the trimmed vocabulary too."""
    losses = []
    for trim in (True, False):
        keys = {"data__augment": {"subword": 0.02}, "model__dropout": 0.0, "train__epochs": 1, "rows": 32}
        recipe = small_recipe(tmp_path, speed__trim_vocabulary=trim, **keys)
        run = train(recipe, out=tmp_path / f"run-{trim}", report=False)
        events = [json.loads(line) for line in run.directory.events_path.read_text().splitlines()]
        losses.append([event["data"]["loss"] for event in events if event["kind"] == "step"])
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_what_can_not_be_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.augment\.subword with a WordPiece tokenizer"):
        stores_of(small_recipe(tmp_path, "bert", data__augment={"subword": 0.02}), tmp_path / "cache")
    with pytest.raises(UserError, match="changes nothing"):
        small_recipe(tmp_path, data__augment={})
    with pytest.raises(UserError, match="a teacher was asked about"):
        small_recipe(tmp_path, data__augment={"word_swap": 0.1}, distill={"teacher": "runs/x"})


def rows_with_ids(folder: Path) -> dict[str, Any]:
    """`small_recipe`'s texts with ids, and Spanish translations of most of the training texts; keys that name them."""
    train_rows = [{"id": str(at), **row} for at, row in enumerate(sentences("en", 60))]
    write_csv(folder / "train.csv", train_rows)
    write_csv(folder / "dev.csv", [{"id": f"d{at}", **row} for at, row in enumerate(sentences("en", 24, 1))])
    write_csv(folder / "es.csv", [{"id": f"t{at}", **row} for at, row in enumerate(sentences("es", 30, 2))])
    into = [{"id": str(at), "text": row["text"]} for at, row in enumerate(sentences("es", 50, 3))]
    write_csv(folder / "into.csv", into)
    write_csv(folder / "words.csv", [{"en": "good", "es": "buena"}, {"en": "food", "es": "comida"}])
    return {
        "data.columns.id": "id",
        "data.translations": {"es": str(folder / "into.csv")},
        "data.augment": {"code_switch": {"share": 1.0, "lexicons": {"es": str(folder / "words.csv")}}},
        "data.max_length": 100,
    }


def words_in(store: TokenStore, recipe: Recipe) -> list[str]:
    tokenizer, cuts = load_tokenizer(recipe.model), zip(store.offsets[:-1], store.offsets[1:], strict=True)
    return [tokenizer.decode(store.tokens[start:stop], skip_special_tokens=True) for start, stop in cuts]


def test_a_second_view_is_a_translation_of_its_text(tmp_path: Path) -> None:
    base = small_recipe(tmp_path)
    recipe = load_recipe(base, rows_with_ids(tmp_path), {"data.augment": None, "train.epochs": 1},
                         {"loss.consistency": {"views": ["translation"]}})  # fmt: skip
    (epoch,) = stores_of(recipe, tmp_path / "cache")["train"].epochs
    assert epoch.twin is not None
    first, second = words_in(epoch, recipe), words_in(epoch.twin, recipe)
    assert len(first) == 110
    assert second[:50] == first[60:], "an English text is answered as its translation"
    assert second[60:] == first[:50], "and a translation as its text"
    assert second[50:60] == first[50:60], "without one the view differs in dropout alone"
    assert epoch.twin.labels.tolist() == epoch.labels.tolist()
    assert (epoch.costs == np.maximum(epoch.lengths, epoch.twin.lengths)).all(), "what is cut counts the longer view"


def test_a_second_view_has_words_switched_and_the_first_has_not(tmp_path: Path) -> None:
    base = small_recipe(tmp_path)
    keys = rows_with_ids(tmp_path)
    recipe = load_recipe(base, keys, {"data.translations": {}, "train.epochs": 1},
                         {"loss.consistency": {"views": ["code_switch"]}})  # fmt: skip
    stores = stores_of(recipe, tmp_path / "cache")
    (epoch,) = stores["train"].epochs
    assert epoch.tokens is stores["train"].tokens
    assert epoch.twin is not None
    first, second = words_in(epoch, recipe), words_in(epoch.twin, recipe)
    assert second == [text.replace("good", "buena").replace("food", "comida") for text in first] != first
    both = load_recipe(recipe, {"loss.consistency": None})
    (epoch,) = stores_of(both, tmp_path / "cache")["train"].epochs
    assert words_in(epoch, recipe) == second, "without that view the text itself is switched"
    subword = load_recipe(recipe, {"loss.consistency.views": ["subword"], "loss.consistency.alpha": 0.02})
    (epoch,) = stores_of(subword, tmp_path / "cache")["train"].epochs
    assert epoch.twin is not None
    assert words_in(epoch, recipe) == words_in(epoch.twin, recipe) == second, "the same words in other pieces"
