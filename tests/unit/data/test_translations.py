"""Translate-train: translations join the training rows by id, with their label, and nothing of a held-out row does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from glotune.data.reading import read_texts
from glotune.data.texts import TextData
from glotune.errors import UserError
from glotune.hub.card import model_card
from glotune.recipe.schema import Data
from glotune.report.conditions import conditions_of
from glotune.report.content import gather
from glotune.run.data import load_run
from glotune.verbs.train import train
from small_runs import small_recipe

EN = "id,text,label,split\n" + "".join(
    f"{number},english text {number},{'bad' if number % 3 else 'good'},{'train' if number < 20 else 'test'}\n"
    for number in range(30)
)
BN = "id,text,split\n" + "".join(
    f"{number},বাংলা {number},{'train' if number < 20 else 'test'}\n" for number in range(30) if number != 4
)


def write(folder: Path, **files: str) -> None:
    for name, content in files.items():
        (folder / f"{name}.csv").write_text(content, encoding="utf-8")


def read(folder: Path, **keys: Any) -> TextData:
    data = {
        "train": {"en": str(folder / "en.csv")},
        "translations": {"bn": str(folder / "bn.csv")},
        "columns": {"id": "id"},
        "made_splits": {"validation": 0.25},
        **keys,
    }
    return read_texts(Data.model_validate(data), seed=0)


def test_each_training_row_comes_once_more_with_its_label(tmp_path: Path) -> None:
    write(tmp_path, en=EN, bn=BN)
    texts = read(tmp_path)
    rows = texts.splits["train"].table.to_pylist()
    english = {row["id"]: row for row in rows if row["language"] == "en"}
    bangla = {row["id"]: row for row in rows if row["language"] == "bn"}
    held_out = {row["id"] for name in ("validation", "test") for row in texts.splits[name].table.to_pylist()}
    assert set(bangla) == set(english) - {"4"}
    assert not held_out & set(bangla), "nothing that translates a held-out text is trained on"
    assert all(row["text"] == f"বাংলা {number}" for number, row in bangla.items())
    assert all(row["label"] == english[number]["label"] for number, row in bangla.items())
    assert [Path(source.path).name for source in texts.sources] == ["en.csv", "bn.csv"]
    assert {row["source"] for row in bangla.values()} == {1}
    assert texts.source_languages == ["en"]
    assert texts.splits["validation"].language_names == ["en"]
    validation = {row["id"] for row in texts.splits["validation"].table.to_pylist()}
    assert f"{len(validation)} rows of {tmp_path / 'bn.csv'} translate no training row: not used" in texts.warnings
    assert f"1 of {len(english)} training rows have no translation into 'bn'" in texts.warnings
    assert texts.data_hash != read(tmp_path, translations={}).data_hash


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_labels_of_translations_are_not_asked_for(tmp_path: Path, suffix: str) -> None:
    write(tmp_path, en=EN)
    columns = {"id": [str(at) for at in range(30)], "text": [f"বাংলা {at}" for at in range(30)]}
    table = pa.table({**columns, "label": ["" if at % 2 else "whatever" for at in range(30)]})
    path = tmp_path / f"into.{suffix}"
    if suffix == "parquet":
        pq.write_table(table, path)
    elif suffix == "csv":
        pa_csv.write_csv(table, path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()), encoding="utf-8")
    texts = read(tmp_path, translations={"bn": str(path)})
    rows = texts.splits["train"].table.to_pylist()
    english = {row["id"]: row["label"] for row in rows if row["language"] == "en"}
    assert {row["id"]: row["label"] for row in rows if row["language"] == "bn"} == english
    assert not texts.skipped


def test_weights_come_along_and_a_share_is_drawn_before(tmp_path: Path) -> None:
    lines = EN.splitlines()
    weighted = [lines[0] + ",trust", *(f"{line},{1 + at % 3}" for at, line in enumerate(lines[1:]))]
    write(tmp_path, en="\n".join(weighted) + "\n", bn=BN)
    texts = read(tmp_path, columns={"id": "id", "weight": "trust"}, train_rows=8)
    rows = texts.splits["train"].table.to_pylist()
    english = {row["id"]: row["weight"] for row in rows if row["language"] == "en"}
    assert len(english) == 8
    found = {row["id"]: row["weight"] for row in rows if row["language"] == "bn"}
    assert found == {number: weight for number, weight in english.items() if number != "4"}


@pytest.mark.parametrize(
    ("files", "keys", "message"),
    [
        ({"bn": BN.strip().replace("\n", "\nx") + "\n"}, {}, r"none of the .* is that of a training row: x0, x1"),
        ({"bn": BN + "3,আবার,train\n"}, {}, r"the id '3' stands twice among the translations into 'bn'"),
        ({"bn": BN.replace("id,", "number,")}, {}, r"bn\.csv has no ids"),
        ({"bn": BN.replace("5,", ",", 1)}, {}, r"row 5: no id|row 6: no id"),
        ({"en": EN.replace("\n7,", "\n6,")}, {}, r"the id '6' stands in two training rows"),
        ({}, {"columns": {}}, r"needs data\.columns\.id"),
        ({}, {"translations": {"en": "bn.csv"}}, r"'en' is a source language"),
        ({}, {"few_shot": {"bn": 3}}, r"take one of them"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], keys: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, **{"en": EN, "bn": BN, **files})
    with pytest.raises((UserError, ValueError), match=message):
        read(tmp_path, **keys)


def test_a_run_says_its_regime(tmp_path: Path) -> None:
    base = small_recipe(tmp_path, train__epochs=1)
    write(tmp_path, en=EN, es=BN.replace("বাংলা", "texto"))
    data = {
        "data.train": {"en": str(tmp_path / "en.csv")},
        "data.validation": None,
        "data.test": {"es": str(tmp_path / "spanish.csv")},
        "data.translations": {"es": str(tmp_path / "es.csv")},
        "data.columns.id": "id",
    }
    rows = [f"t{at},otra cosa {at},{'bad' if at % 3 else 'good'}" for at in range(12)]
    write(tmp_path, spanish="\n".join(["id,text,label", *rows, ""]))
    run = train(base, data, out=tmp_path / "run", report=False)
    found = load_run(run.path)
    (conditions,) = conditions_of([found], "test", ["es"])
    assert [each.word for each in conditions] == ["translate-train: es"]
    told = dict(gather(found).training)["Checkpoint kept"]
    assert "translate-train into Spanish (es): no target label was used" in told
    assert "this is translate-train, not zero-shot" in str(model_card(run.path))
    assert found.sources == ["en"]
