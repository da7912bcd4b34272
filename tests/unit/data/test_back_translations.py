"""Back-translations: one of a row's paraphrases or the row itself, in each epoch, and nothing of a held-out row."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from glotune.data.augmentation import with_augmented
from glotune.data.reading import read_texts
from glotune.data.tokenization import TokenStore, tokenize
from glotune.errors import UserError
from glotune.model.loading import load_tokenizer
from glotune.recipe import Recipe, load_recipe
from glotune.report.content import gather
from glotune.run.data import load_run
from glotune.verbs.train import train
from small_runs import sentences, small_recipe, write_csv

ROWS = [{"id": f"r{at}", **row} for at, row in enumerate(sentences("en", 60))]
SAID = [{"id": "r0", "text": "lovely story"}, {"id": "r0", "text": "great story"}] + [
    {"id": f"r{at}", "text": f"nice food {at}"} for at in range(1, 50)
]


def recipe_of(folder: Path, said: list[dict[str, str]] = SAID, **keys: Any) -> Recipe:
    base = small_recipe(folder, data__max_length=100)
    write_csv(folder / "train.csv", ROWS)
    for name, language in (("dev", "en"), ("es", "es")):
        write_csv(
            folder / f"{name}.csv", [{"id": f"{name}{at}", **row} for at, row in enumerate(sentences(language, 24, 1))]
        )
    write_csv(folder / "said.csv", said)
    named = {"data.columns.id": "id", "data.augment": {"back_translations": {"en": str(folder / "said.csv")}}}
    return load_recipe(base, named, keys)


def epochs_of(recipe: Recipe, cache: Path) -> list[list[str]]:
    texts, tokenizer = read_texts(recipe.data, recipe.seed), load_tokenizer(recipe.model)
    stores = with_augmented(tokenize(texts, tokenizer, recipe.data, cache), texts, tokenizer, recipe, cache)

    def said(store: TokenStore) -> list[str]:
        cuts = zip(store.offsets[:-1].tolist(), store.offsets[1:].tolist(), strict=True)
        return [tokenizer.decode(store.tokens[start:stop], skip_special_tokens=True) for start, stop in cuts]

    assert not stores["validation"].epochs
    return [said(store) for store in stores["train"].epochs]


def test_each_epoch_reads_the_text_or_one_of_its_paraphrases(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, train__epochs=60)
    epochs = epochs_of(recipe, tmp_path / "cache")
    of_first = Counter(epoch[0] for epoch in epochs)
    assert set(of_first) == {ROWS[0]["text"], "lovely story", "great story"}
    assert min(of_first.values()) > 8, "each as likely"
    assert {epoch[1] for epoch in epochs} == {ROWS[1]["text"], "nice food 1"}
    assert {epoch[55] for epoch in epochs} == {ROWS[55]["text"]}
    assert epochs_of(recipe, tmp_path / "other") == epochs
    texts = read_texts(recipe.data, recipe.seed)
    assert "10 of 60 training rows have no back-translation" in texts.warnings
    assert texts.data_hash != read_texts(recipe.data.model_copy(update={"augment": None}), recipe.seed).data_hash
    assert Path(texts.sources[-1].path).name == "said.csv"


def test_what_says_a_held_out_row_again_is_not_used(tmp_path: Path) -> None:
    held = sentences("en", 24, 1)[3]["text"]
    said = [*SAID, {"id": "dev3", "text": "said otherwise"}, {"id": "r7", "text": held}]
    recipe = recipe_of(tmp_path, said)
    texts = read_texts(recipe.data, recipe.seed)
    assert any("1 rows of" in line and "validation or test texts" in line for line in texts.warnings)
    assert any("1 rows of" in line and "say no training row again" in line for line in texts.warnings)
    assert texts.paraphrases is not None
    assert {"said otherwise", held}.isdisjoint(texts.paraphrases.flatten().to_pylist())
    made = load_recipe(recipe_of(tmp_path), {"data.validation": None})
    texts = read_texts(made.data, made.seed)
    assert texts.paraphrases is not None
    ids = texts.splits["train"].table["id"].to_pylist()
    assert len(texts.paraphrases) == len(ids) < 60
    found = {each: said for each, said in zip(ids, texts.paraphrases.to_pylist(), strict=True) if said}
    assert found == {each: [row["text"] for row in SAID if row["id"] == each] for each in ids if each in found}
    assert len(found) > 30


@pytest.mark.parametrize(
    ("said", "keys", "message"),
    [
        ([{"id": "x1", "text": "good"}], {}, r"none of the 1 rows of .* their ids are x1, in English.*as r0, r1"),
        ([{"number": "1", "text": "good"}], {}, r"said\.csv has no ids"),
        ([*SAID, {"id": "", "text": "good"}], {}, r"said\.csv, row 52: no id"),
        (SAID, {"data__columns__id": None}, r"back_translations needs data\.columns\.id"),
        (SAID, {"data__columns__text_pair": "label"}, r"are of single texts"),
        (SAID, {"data__augment": {"back_translations": "nowhere.csv"}}, r"no file nowhere\.csv"),
    ],
)
def test_what_does_not_fit_is_named(
    tmp_path: Path, said: list[dict[str, str]], keys: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        recipe = recipe_of(tmp_path, said, **keys)
        read_texts(recipe.data, recipe.seed)


@pytest.mark.extras
def test_a_run_says_so(tmp_path: Path) -> None:
    run = train(recipe_of(tmp_path, train__epochs=1), out=tmp_path / "run", report=False)
    told = dict(gather(load_run(run.path)).training)
    assert told["Augmentation"].startswith("the text or one of its back-translations")
    assert "zero-shot: no target label was used" in told["Checkpoint kept"]
