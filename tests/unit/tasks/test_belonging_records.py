"""Which texts belong together: from the column of a file through the prediction records to the intervals."""

import csv
import json
import operator
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from glotune import tasks
from glotune.data.reading import read_texts
from glotune.errors import UserError
from glotune.recipe.schema import Data
from glotune.run.predictions import answers_in, read_predictions
from glotune.run.records import PREDICTION_COLUMNS
from glotune.stats.arrays import outcomes
from glotune.stats.transfer import transfer_gaps
from glotune.tasks.records import Outputs, clusters_of, record_split
from glotune.verbs.train import train
from small_runs import multi_label_recipe, small_recipe


def write_csv(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def rows(language, order):
    return [
        {
            "text": f"{language} text {number}",
            "label": "ab"[number % 2],
            "language": language,
            "key": f"k{number}",
        }
        for number in order
    ]


def recorded(folder, with_text=True, columns=None, order=(3, 1, 2, 0)):
    train = write_csv(folder / "train.csv", [{**row, "key": ""} for row in rows("en", range(10, 40))])
    en = write_csv(folder / "en_test.csv", rows("en", (0, 1, 2, 3)))
    bn = write_csv(folder / "bn_test.csv", rows("bn", order))
    data = Data(train=str(train), test={"en": str(en), "bn": str(bn)}, columns=columns or {}, source_languages=["en"])
    texts = read_texts(data, 0)
    test = texts.splits["test"]
    outputs = Outputs(np.tile([[1.0, 0.0]], (len(test), 1)), np.full(len(test), 0.3))
    languages = {name: np.flatnonzero(test.language_ids == code) for code, name in enumerate(test.language_names)}
    record_split(folder / "predictions", texts, "test", languages, outputs, with_text)
    return folder / "predictions"


@pytest.mark.parametrize("with_text", [True, False])
def test_rows_of_one_key_are_one_cluster_in_every_language(tmp_path, with_text):
    folder = recorded(tmp_path, with_text, {"id": "key"})
    assert set(pq.read_schema(folder / "test.bn.parquet").names) == set(PREDICTION_COLUMNS)
    answered = answers_in(folder, "test", ["en", "bn"])
    np.testing.assert_array_equal(answered["en"].cluster_B, answered["bn"].cluster_B[[3, 1, 2, 0]])


def test_without_a_key_the_same_rows_and_labels_are_parallel(tmp_path):
    answered = answers_in(recorded(tmp_path, order=(2, 1, 0, 3)), "test", ["en", "bn"])
    np.testing.assert_array_equal(answered["en"].cluster_B, answered["bn"].cluster_B)
    other = tmp_path / "other"
    other.mkdir()
    assert answers_in(recorded(other, order=(1, 0, 3, 2)), "test", ["en", "bn"])["en"].cluster_B is None


def test_records_of_older_versions_find_copies_by_their_texts(tmp_path):
    path = recorded(tmp_path) / "test.en.parquet"
    table = pq.read_table(path).drop_columns(["text_key", "id"])
    texts = table.column("text").to_pylist()
    copied = table.set_column(table.column_names.index("text"), "text", [[texts[0], texts[0], *texts[2:]]])
    pq.write_table(copied, path)
    cluster_B = read_predictions(path).outcomes.cluster_B
    assert cluster_B[0] == cluster_B[1]
    assert len(set(cluster_B)) == 3


def test_a_test_file_without_the_named_column_is_refused(tmp_path):
    with pytest.raises(UserError, match="has no column 'nothing'"):
        recorded(tmp_path, columns={"id": "nothing"})


def test_rows_with_a_blank_id_stand_for_themselves(tmp_path):
    blank = {"en": (1, 3), "bn": (1, 2, 3)}
    files = {}
    for language, without in blank.items():
        made = [{**row, "key": " " if at in without else row["key"]} for at, row in enumerate(rows(language, range(4)))]
        files[language] = str(write_csv(tmp_path / f"{language}_test.csv", made))
    train = write_csv(tmp_path / "train.csv", rows("en", range(10, 40)))
    texts = read_texts(Data(train=str(train), test=files, columns={"id": "key"}, source_languages=["en"]), 0)
    test = texts.splits["test"]
    assert test.table["id"].to_pylist() == ["k0", None, "k2", None, "k0", None, None, None]
    languages = {name: np.flatnonzero(test.language_ids == code) for code, name in enumerate(test.language_names)}
    outputs = Outputs(np.tile([[1.0, 0.0]], (len(test), 1)), np.full(len(test), 0.3))
    record_split(tmp_path / "predictions", texts, "test", languages, outputs, True)
    assert clusters_of(test, languages["bn"]) is None, "nothing here belongs together"
    answered = answers_in(tmp_path / "predictions", "test", ["en", "bn"])
    english, bangla = answered["en"].cluster_B.tolist(), answered["bn"].cluster_B.tolist()
    assert english[0] == bangla[0]
    assert len({*english, *bangla}) == 7, "a row without an id is joined to none, also not to its number elsewhere"


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_test_file_that_has_nothing_in_the_named_column_is_refused(tmp_path, suffix):
    train = write_csv(tmp_path / "train.csv", rows("en", range(10, 40)))
    made = [{**row, "key": ""} for row in rows("bn", range(4))]
    path = tmp_path / f"bn_test.{suffix}"
    if suffix == "csv":
        write_csv(path, made)
    else:
        path.write_text("".join(json.dumps({"text": row["text"], "label": row["label"]}) + "\n" for row in made))
    data = Data(train=str(train), test={"bn": str(path)}, columns={"id": "key"}, source_languages=["en"])
    with pytest.raises(UserError, match="has no column 'key', or nothing in it"):
        read_texts(data, 0)


@pytest.mark.parametrize("task", ["single_label", "multi_label"])
def test_rows_of_one_key_are_cross_fitted_together(tmp_path, monkeypatch, task):
    made = {"single_label": small_recipe, "multi_label": multi_label_recipe}[task]
    recipe = made(tmp_path, train__epochs=1, **{"evaluate__tune_thresholds": "mcc"} if task == "single_label" else {})
    for name in ("train", "dev", "es"):
        with (tmp_path / f"{name}.csv").open(newline="") as file:
            found = list(csv.DictReader(file))
        write_csv(tmp_path / f"{name}.csv", [{**row, "key": f"{name}{at // 2}"} for at, row in enumerate(found)])
    seen = []

    def fitted(*given):
        seen.append(given[-1].tolist())
        return plain(*given)

    place = {"single_label": "tuning.cross_fitted_classes", "multi_label": "label_sets.cross_fitted_answers"}[task]
    plain = operator.attrgetter(place)(tasks)
    monkeypatch.setattr(f"glotune.tasks.{place}", fitted)
    train(recipe, {"data.columns.id": "key"}, out=tmp_path / "run", report=False)
    assert len(seen) > 1, "of the run, and of the cheap models"
    for groups in seen:
        assert groups[::2] == groups[1::2]
        assert len(set(groups)) == len(groups) // 2


@pytest.mark.skipif("GLOTUNE_TEST_DATA" not in os.environ, reason="GLOTUNE_TEST_DATA names no folder")
def test_gaps_of_real_parallel_texts_are_narrower_paired():
    """NusaX, Indonesian to Javanese and Sundanese, by characters and logistic regression."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    folder = Path(os.environ["GLOTUNE_TEST_DATA"]) / "nusax"
    names = {"id": "id", "jv": "jv", "su": "su"}
    files = {code: str(folder / f"{name}.csv") for code, name in names.items()}
    data = Data(train={"id": files["id"]}, test=files, columns={"id": "id"}, source_languages=["id"])
    texts = read_texts(data, 0)
    words = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4))
    train, test = texts.splits["train"], texts.splits["test"]
    model = LogisticRegression(C=10.0, max_iter=300)
    model.fit(words.fit_transform(train.table["text"].to_pylist()), train.labels)
    chances = model.predict_proba(words.transform(test.table["text"].to_pylist()))
    key_N = np.unique(test.table["id"].to_pylist(), return_inverse=True)[1]
    found = {}
    for paired in (True, False):
        answered = {}
        for code, name in enumerate(test.language_names):
            own = np.flatnonzero(test.language_ids == code)
            answered[name] = outcomes(test.labels[own], chances[own], cluster_B=key_N[own] if paired else None)
        found[paired] = transfer_gaps(answered, ["id"], seed=0)
    for one, other in zip(found[True].gaps, found[False].gaps, strict=True):
        assert one.points == pytest.approx(other.points)
        assert one.interval.high - one.interval.low < 0.9 * (other.interval.high - other.interval.low)
