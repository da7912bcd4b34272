"""Back-translations: one of a row's paraphrases or the row itself, in each epoch, and nothing of a held-out row."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from glotune.data.augmentation import STREAM, View, Wording, with_augmented
from glotune.data.reading import read_texts
from glotune.data.tokenization import TokenStore, tokenize
from glotune.errors import UserError
from glotune.model.loading import load_tokenizer
from glotune.recipe import Recipe, load_recipe
from glotune.recipe.schema import Data
from glotune.report.content import gather
from glotune.run.data import load_run
from glotune.verbs.train import train
from small_runs import sentences, small_recipe, write_csv

ROWS = [{"id": f"r{at}", **row} for at, row in enumerate(sentences("en", 60))]
SAID = [{"id": "r0", "text": "lovely story"}, {"id": "r0", "text": "great story"}] + [
    {"id": f"r{at}", "text": f"nice food {at}"} for at in range(1, 50)
]


def data_of(folder: Path, said: list[dict[str, str]] = SAID, **keys: Any) -> Data:
    write_csv(folder / "train.csv", ROWS)
    for name, language in (("dev", "en"), ("es", "es")):
        rows = [{"id": f"{name}{at}", **row} for at, row in enumerate(sentences(language, 24, 1))]
        write_csv(folder / f"{name}.csv", rows)
    sources = {"train": {"en": str(folder / "train.csv")}, "validation": {"en": str(folder / "dev.csv")},
               "test": {"es": str(folder / "es.csv")}}  # fmt: skip
    again = {"back_translations": {"en": str(write_csv(folder / "said.csv", said))}}
    return Data.model_validate({**sources, "columns": {"id": "id"}, "augment": again, "max_length": 100, **keys})


def recipe_of(folder: Path, **keys: Any) -> Recipe:
    base = small_recipe(folder)
    return load_recipe(base, {"data": data_of(folder).model_dump()}, keys)


def epochs_of(recipe: Recipe, cache: Path) -> list[list[str]]:
    texts, tokenizer = read_texts(recipe.data, recipe.seed), load_tokenizer(recipe.model)
    stores = with_augmented(tokenize(texts, tokenizer, recipe.data, cache), texts, tokenizer, recipe, cache)

    def said(store: TokenStore) -> list[str]:
        cuts = zip(store.offsets[:-1].tolist(), store.offsets[1:].tolist(), strict=True)
        return [tokenizer.decode(store.tokens[start:stop], skip_special_tokens=True) for start, stop in cuts]

    assert not stores["validation"].epochs
    return [said(store) for store in stores["train"].epochs]


def test_each_epoch_reads_the_text_or_one_of_its_paraphrases(tmp_path: Path) -> None:
    texts = read_texts(data_of(tmp_path), 0)
    (chunk,) = texts.splits["train"].chunks(100)
    view = View(STREAM, paraphrased=True)
    epochs = [Wording(texts, view, 0, number).of(chunk, 0) for number in range(60)]
    of_first = Counter(epoch[0] for epoch in epochs)
    assert set(of_first) == {ROWS[0]["text"], "lovely story", "great story"}
    assert min(of_first.values()) > 8, "each as likely"
    assert {epoch[1] for epoch in epochs} == {ROWS[1]["text"], "nice food 1"}
    assert {epoch[55] for epoch in epochs} == {ROWS[55]["text"]}
    assert epochs_of(recipe_of(tmp_path, train__epochs=2), tmp_path / "cache") == epochs[:2]
    assert "10 of 60 training rows have no back-translation" in texts.warnings
    assert texts.data_hash != read_texts(data_of(tmp_path, augment=None), 0).data_hash
    assert Path(texts.sources[-1].path).name == "said.csv"


def test_what_says_a_held_out_row_again_is_not_used(tmp_path: Path) -> None:
    held = sentences("en", 24, 1)[3]["text"]
    said = [*SAID, {"id": "dev3", "text": "said otherwise"}, {"id": "r7", "text": held}]
    texts = read_texts(data_of(tmp_path, said), 0)
    assert any("1 rows of" in line and "validation or test texts" in line for line in texts.warnings)
    assert any("1 rows of" in line and "say no training row again" in line for line in texts.warnings)
    assert texts.paraphrases is not None
    assert {"said otherwise", held}.isdisjoint(texts.paraphrases.flatten().to_pylist())
    texts = read_texts(data_of(tmp_path, validation=None), 0)
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
        (SAID, {"columns": {}}, r"back_translations needs data\.columns\.id"),
        (SAID, {"columns": {"id": "id", "text_pair": "label"}}, r"are of single texts"),
        (SAID, {"augment": {"back_translations": "nowhere.csv"}}, r"no file nowhere\.csv"),
    ],
)
def test_what_does_not_fit_is_named(
    tmp_path: Path, said: list[dict[str, str]], keys: dict[str, Any], message: str
) -> None:
    with pytest.raises((UserError, ValueError), match=message):
        read_texts(data_of(tmp_path, said, **keys), 0)


@pytest.mark.extras
def test_a_run_says_so(tmp_path: Path) -> None:
    run = train(recipe_of(tmp_path, train__epochs=1), out=tmp_path / "run", report=False)
    told = dict(gather(load_run(run.path)).training)
    assert told["Augmentation"].startswith("the text or one of its back-translations")
    assert "zero-shot: no target label was used" in told["Checkpoint kept"]
