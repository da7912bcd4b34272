"""``data.columns.weight``: read with the training rows, asked of them alone, and part of what the data are."""

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from glotune.data.reading import read_evaluation_texts
from glotune.errors import UserError
from glotune.recipe.schema import Data
from made_files import as_csv, as_jsonl, read

ROWS = [{"text": f"text {i}", "label": str(i % 2), "trust": i % 4 + 0.5} for i in range(40)]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_weights_come_with_their_rows_from_every_format() -> None:
    Path("en.csv").write_text(as_csv([{key: str(value) for key, value in row.items()} for row in ROWS]))
    Path("en.jsonl").write_text(as_jsonl(ROWS))
    parquet.write_table(pa.Table.from_pylist(ROWS), "en.parquet")
    for name in ("en.csv", "en.jsonl", "en.parquet"):
        data = read(train=name, columns={"weight": "trust"})
        train = data.splits["train"]
        assert train.weights is not None
        assert train.weights.tolist() == [ROWS[row - 1]["trust"] for row in train.rows]
        assert data.splits["validation"].weights is None, "the held-out tenth is scored without weights"
        assert data.data_hash != read(train=name).data_hash, "other weights train another model"


def test_only_training_rows_need_a_weight() -> None:
    rows = [{**row, "trust": "" if i % 5 == 0 else "2", "split": "test" if i % 5 == 0 else "train"}
            for i, row in enumerate(ROWS)]  # fmt: skip
    Path("en.csv").write_text(as_csv([{key: str(value) for key, value in row.items()} for row in rows]))
    Path("bn.csv").write_text("text,label\na,0\nb,1\n")
    keys = {"columns": {"weight": "trust"}, "train": "en.csv", "validation": "bn.csv", "source_languages": ["en"]}
    data = read(**keys)
    assert set(data.splits) == {"train", "validation", "test"}
    assert read_evaluation_texts("bn.csv", Data.model_validate(keys), ["0", "1"]).splits["test"].weights is None


@pytest.mark.parametrize("key", ["translations", "back_translations"])
def test_texts_that_say_a_row_again_need_no_weight_of_their_own(key: str) -> None:
    Path("en.csv").write_text(as_csv([{**{name: str(value) for name, value in row.items()}, "id": str(i)}
                                      for i, row in enumerate(ROWS)]))  # fmt: skip
    Path("bn.csv").write_text(as_csv([{"text": f"again {i}", "id": str(i)} for i in range(40)]))
    more = {"translations": {"bn": "bn.csv"}} if key == "translations" else {"augment": {key: {"en": "bn.csv"}}}
    texts = read(train={"en": "en.csv"}, columns={"weight": "trust", "id": "id"}, weighted_metrics=True, **more)
    validation = texts.splits["validation"]
    assert validation.weights is not None
    assert validation.weights.tolist() == [ROWS[row - 1]["trust"] for row in validation.rows]
    assert (texts.paraphrases is None) == (key == "translations")
    with pytest.raises(UserError, match=r"bn\.csv has no column"):
        read(train="en.csv", columns={"weight": "trust"}, weighted_metrics=True, test={"bn": "bn.csv"})


@pytest.mark.parametrize(
    ("trust", "message"),
    [
        ("", "en.csv, row 3: no weight"),
        ("0", "en.csv, row 3: the weight 0"),
        ("-1", "en.csv, row 3: the weight -1"),
        ("nan", "en.csv, row 3: the weight nan"),
        ("1e999", "en.csv, row 3: the weight inf"),
        ("much", "en.csv, row 3: the weight 'much' is no number"),
    ],
)
def test_a_weight_that_can_not_be_one_is_told_with_its_row(trust: str, message: str) -> None:
    rows = [{"text": f"text {i}", "label": str(i % 2), "trust": "1" if i != 2 else trust} for i in range(8)]
    Path("en.csv").write_text(as_csv(rows))
    with pytest.raises(UserError, match=message):
        read(train="en.csv", columns={"weight": "trust"}, made_splits={"validation": 0.0}, validation="en.csv")


def test_an_absent_column_of_weights_is_told_with_the_nearest() -> None:
    Path("en.csv").write_text(as_csv([{"text": f"text {i}", "label": str(i % 2), "trust": "1"} for i in range(8)]))
    Path("en.jsonl").write_text(as_jsonl(ROWS))
    for name in ("en.csv", "en.jsonl"):
        with pytest.raises(UserError, match=r"has no column 'thrust'.*Did you mean 'trust'"):
            read(train=name, columns={"weight": "thrust"})


def test_weighted_metrics_ask_all_rows_for_a_weight() -> None:
    Path("en.csv").write_text(as_csv([{key: str(value) for key, value in row.items()} for row in ROWS]))
    Path("bn.csv").write_text("text,label\na,0\nb,1\n")
    keys = {"columns": {"weight": "trust"}, "train": "en.csv", "source_languages": ["en"], "weighted_metrics": True}
    held_out = read(**keys).splits["validation"]
    assert held_out.weights is not None
    assert held_out.weights.tolist() == [ROWS[row - 1]["trust"] for row in held_out.rows]
    data = Data.model_validate(keys)
    with pytest.raises(UserError, match="no column 'trust'"):
        read_evaluation_texts("bn.csv", data, ["0", "1"])
    Path("bn.csv").write_text("text,label,trust\na,0,1\nb,1,-2\n")
    with pytest.raises(UserError, match="row 2: the weight -2"):
        read_evaluation_texts("bn.csv", data, ["0", "1"])
