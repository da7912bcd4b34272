"""What reading a recipe's data gives: formats, languages, splits, labels, shares."""

import csv
import gzip
import io
import json
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from glotune.data import csv_files, jsonl_files, spilling
from glotune.data.reading import read_evaluation_texts, read_texts
from glotune.data.texts import LabelledTexts, TextData
from glotune.errors import UserError
from glotune.recipe.schema import Data

ROWS = [
    {"text": f'text {i}, with "quotes"\nand a line break' if i % 7 == 0 else f"text number {i}", "label": str(i % 3)}
    for i in range(60)
]


def as_csv(rows: list[dict[str, str]], delimiter: str = ",") -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def as_jsonl(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def read(seed: int = 0, **keys: object) -> TextData:
    return read_texts(Data.model_validate(keys), seed)


def content(split: LabelledTexts) -> list[tuple[Any, ...]]:
    columns = [name for name in split.table.column_names if name not in ("source", "key")]
    return [tuple(row[name] for name in columns) for row in split.table.select(columns).to_pylist()]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class TestFormats:
    def write(self, rows: list[dict[str, str]]) -> list[str]:
        Path("a").mkdir()
        contents = {
            "a/en.csv": as_csv(rows).encode(),
            "a/en.tsv": as_csv(rows, "\t").encode(),
            "a/en.jsonl": as_jsonl(rows).encode(),
            "a/en.ndjson": ("\ufeff" + as_jsonl(rows)).encode(),
            "a/en.CSV": ("\ufeff" + as_csv(rows).replace("\n", "\r\n")).encode(),
        }
        for name, data in contents.items():
            Path(name).write_bytes(data)
        for name in ("a/en.csv", "a/en.tsv", "a/en.jsonl"):
            Path(name + ".gz").write_bytes(gzip.compress(contents[name]))
        parquet.write_table(pa.Table.from_pylist(rows), "a/en.parquet")
        return [*contents, "a/en.csv.gz", "a/en.tsv.gz", "a/en.jsonl.gz", "a/en.parquet"]

    def test_all_formats_hold_the_same(self) -> None:
        names = [name for name in self.write(ROWS) if name != "a/en.CSV"]
        first, *others = [read(train=name) for name in names]
        for other in others:
            assert other.data_hash == first.data_hash
            for split in first.splits:
                assert content(other.splits[split]) == content(first.splits[split])

    def test_carriage_returns_end_rows_too(self) -> None:
        self.write(ROWS)
        assert len(read(train="a/en.CSV").splits["train"]) == len(read(train="a/en.csv").splits["train"])

    def test_rows_are_numbered_from_the_first_data_row(self) -> None:
        self.write(ROWS)
        data = read(train="a/en.csv")
        for split in data.splits.values():
            for text, row in zip(split.table["text"].to_pylist(), split.rows, strict=True):
                assert text == ROWS[row - 1]["text"]

    def test_numbers_and_truth_values_are_labels(self) -> None:
        rows = [{"text": f"text {i}", "label": bool(i % 2)} for i in range(20)]
        Path("en.jsonl").write_text(as_jsonl(rows))
        parquet.write_table(pa.Table.from_pylist(rows), "en.parquet")
        for name in ("en.jsonl", "en.parquet"):
            assert read(train=name).labels == ["false", "true"]
        whole = [{"text": f"text {i}", "label": float(i % 2)} for i in range(20)]
        Path("en.jsonl").write_text(as_jsonl(whole))
        parquet.write_table(pa.Table.from_pylist(whole), "en.parquet")
        for name in ("en.jsonl", "en.parquet"):
            assert read(train=name).labels == ["0", "1"]

    def test_long_text(self) -> None:
        rows = [{"text": "long " * 250_000 + str(i), "label": str(i % 2)} for i in range(4)]
        Path("en.csv").write_text(as_csv(rows))
        Path("en.jsonl").write_text(as_jsonl(rows))
        assert read(train="en.csv").data_hash == read(train="en.jsonl").data_hash

    def test_more_rows_than_one_chunk(self) -> None:
        rows = [{"text": f"text {i}", "label": str(i % 2)} for i in range(20_000)]
        Path("en.csv").write_text(as_csv(rows))
        data = read(train="en.csv")
        assert sorted(row for split in data.splits.values() for row in split.rows) == list(range(1, 20_001))

    def test_hub_data_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import datasets

        features = datasets.Features(
            {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])}
        )
        made = {
            split: datasets.Dataset.from_list(
                [{"text": f"{split} {i}", "label": i % 2} for i in range(count)], features=features
            )
            for split, count in (("train", 10), ("validation", 4), ("test", 6))
        }
        asked: list[tuple[str, str | None]] = []

        def load(name: str, config: str | None) -> datasets.DatasetDict:
            asked.append((name, config))
            return datasets.DatasetDict(made)

        monkeypatch.setattr(datasets, "load_dataset", load)
        data = read(train={"en": "someone/reviews:small"})
        assert asked == [("someone/reviews", "small")]
        assert {split: len(texts) for split, texts in data.splits.items()} == {"train": 10, "validation": 4, "test": 6}
        assert data.labels == ["neg", "pos"]


class TestLanguages:
    def test_file_names(self) -> None:
        Path("d").mkdir()
        for name in ("en.csv", "bn.csv.gz", "pcm.jsonl"):
            text = as_jsonl(ROWS) if "jsonl" in name else as_csv(ROWS)
            Path("d", name).write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
        Path("d", "README.md").write_text("not data")
        data = read(train="d")
        assert data.source_languages == ["bn", "en", "pcm"]
        assert data.splits["train"].language_names == ["bn", "en", "pcm"]

    def test_key_before_column_before_name(self) -> None:
        rows = [{**row, "language": "de" if i % 2 else "fr"} for i, row in enumerate(ROWS)]
        Path("en.csv").write_text(as_csv(rows))
        assert read(train="en.csv").source_languages == ["de", "fr"]
        only = read(train={"de": "en.csv"})
        assert only.source_languages == ["de"]
        assert sum(len(split) for split in only.splits.values()) == 30
        assert any("fr not used" in message for message in only.warnings)
        both = read(train={"de": "en.csv", "fr": "en.csv"})
        assert both.source_languages == ["de", "fr"]
        assert len(both.sources) == 1
        assert not both.warnings

    def test_one_source_language_names_a_file(self) -> None:
        Path("reviews.csv").write_text(as_csv(ROWS))
        texts = read(train="reviews.csv", source_languages=["bn"])
        assert texts.splits["train"].language_names == ["bn"]
        assert [line for line in texts.warnings if "says no language" in line] == [
            "reviews.csv says no language and is taken as 'bn' (data.source_languages); "
            "to say another, name it as data.train.CODE=reviews.csv"
        ]

    def test_language_that_is_said_needs_no_notice(self) -> None:
        for train in ("en.csv", {"en": "reviews.csv"}):
            for name in ("en.csv", "reviews.csv"):
                Path(name).write_text(as_csv(ROWS))
            assert not any("says no language" in line for line in read(train=train, source_languages=["en"]).warnings)

    def test_a_source_language_without_rows_names_the_key_to_set(self) -> None:
        Path("rw.csv").write_text(as_csv(ROWS))
        with pytest.raises(UserError, match=r"Set data\.source_languages=\[rw\]"):
            read(train={"rw": "rw.csv"}, source_languages=["en"])

    def test_only_source_languages_train(self) -> None:
        rows = [{**row, "language": ("en", "bn")[i % 2]} for i, row in enumerate(ROWS)]
        Path("all.csv").write_text(as_csv(rows))
        data = read(train="all.csv", source_languages=["en"])
        assert data.splits["train"].language_names == ["en"]
        assert data.splits["validation"].language_names == ["en"]

    def test_few_shot(self) -> None:
        rows = [
            {**row, "label": "xyz"[int(row["label"])], "language": ("en", "bn")[i // 30]} for i, row in enumerate(ROWS)
        ]
        Path("all.csv").write_text(as_csv(rows))
        data = read(train="all.csv", source_languages=["en"], few_shot={"bn": 6})
        train = data.splits["train"]
        target = train.language_ids == train.language_names.index("bn")
        assert target.sum() == 6
        assert np.bincount(train.labels[target]).tolist() == [2, 2, 2]
        assert data.source_languages == ["en"]


class TestSplits:
    def with_splits(self) -> None:
        names = ["train"] * 4 + ["dev"] + ["test"]
        rows = [{**row, "split": names[i // 10]} for i, row in enumerate(ROWS)]
        Path("en.csv").write_text(as_csv(rows))

    def test_own_splits(self) -> None:
        self.with_splits()
        data = read(train="en.csv")
        assert {name: len(split) for name, split in data.splits.items()} == {"train": 40, "validation": 10, "test": 10}

    def test_named_splits(self) -> None:
        self.with_splits()
        data = read(train="en.csv", split_names={"train": "dev", "validation": "train"})
        assert {name: len(split) for name, split in data.splits.items()} == {"train": 10, "validation": 40, "test": 10}

    def test_splits_that_no_name_has(self) -> None:
        self.with_splits()
        data = read(train="en.csv", split_names={"test": ["held_out"]})
        assert "test" not in data.splits
        assert data.warnings == ["10 rows of en.csv not used: no data.split_names has their split ('test' 10)"]

    def test_one_file_for_two_keys_is_read_once(self) -> None:
        self.with_splits()
        data = read(train="en.csv", validation="en.csv", test="en.csv")
        assert len(data.sources) == 1
        assert data.sources[0].rows == 60
        assert len(data.splits["test"]) == 10

    def test_a_file_without_split_column_counts_whole(self) -> None:
        self.with_splits()
        Path("bn.csv").write_text(as_csv(ROWS))
        data = read(train="en.csv", test={"bn": "bn.csv"})
        assert len(data.splits["test"]) == 60

    def test_made_splits(self) -> None:
        Path("en.csv").write_text(as_csv(ROWS))
        data = read(train="en.csv", made_splits={"validation": 0.2, "test": 0.2})
        assert {name: len(split) for name, split in data.splits.items()} == {"train": 36, "validation": 12, "test": 12}
        assert not data.warnings

    def test_validation_of_targets_only(self) -> None:
        Path("en.csv").write_text(as_csv(ROWS))
        Path("bn.csv").write_text(as_csv(ROWS))
        data = read(train="en.csv", validation={"bn": "bn.csv"})
        assert data.splits["validation"].language_names == ["bn", "en"]
        assert any("data.validation has no rows in en: 6 training rows" in message for message in data.warnings)

    def test_every_row_in_one_split(self) -> None:
        Path("en.csv").write_text(as_csv(ROWS))
        data = read(train="en.csv", made_splits={"validation": 0.25, "test": 0.1})
        rows = sorted(row for split in data.splits.values() for row in split.rows)
        assert rows == list(range(1, 61))

    def test_another_seed_of_the_run_is_scored_on_the_same_rows(self) -> None:
        Path("en.csv").write_text(as_csv(ROWS))
        made = {"validation": 0.2, "test": 0.2}
        first, other = (read(seed, train="en.csv", made_splits=made, fraction=0.5) for seed in (1, 2))
        for split in ("validation", "test"):
            assert content(first.splits[split]) == content(other.splits[split])
        assert first.splits["train"].rows.tolist() != other.splits["train"].rows.tolist()  # the share is the run's own

    def test_another_seed_of_the_made_splits_draws_other_rows(self) -> None:
        Path("en.csv").write_text(as_csv(ROWS))
        first, again, other = (read(train="en.csv", made_splits={"seed": seed}) for seed in (1, 1, 2))
        assert first.data_hash == again.data_hash
        assert first.splits["validation"].rows.tolist() != other.splits["validation"].rows.tolist()

    def test_duplicates_stay_together(self) -> None:
        rows = [{"text": ("é" if i % 2 else "e\u0301") + f" {i // 4}", "label": str(i // 4 % 2)} for i in range(80)]
        Path("en.csv").write_text(as_csv(rows))
        data = read(train="en.csv", made_splits={"validation": 0.3})
        assert not set(data.splits["train"].keys) & set(data.splits["validation"].keys)


class TestShares:
    def test_fraction_is_stratified_and_leaves_validation_alone(self) -> None:
        Path("en.csv").write_text(as_csv(ROWS))
        whole, half = read(train="en.csv"), read(train="en.csv", fraction=0.5)
        assert len(half.splits["train"]) == 27
        assert np.bincount(half.splits["train"].labels).tolist() == [9, 9, 9]
        assert content(half.splits["validation"]) == content(whole.splits["validation"])

    def test_train_rows(self) -> None:
        Path("en.csv").write_text(as_csv(ROWS))
        assert len(read(train="en.csv", train_rows=12).splits["train"]) == 12
        assert len(read(train="en.csv", train_rows=500).splits["train"]) == 54

    def test_rare_labels_survive(self) -> None:
        rows = [{"text": f"text {i}", "label": "rare" if i < 2 else "common"} for i in range(200)]
        Path("en.csv").write_text(as_csv(rows))
        assert set(read(train="en.csv", fraction=0.02).splits["train"].labels) == {0, 1}


class TestSpilling:
    """What does not fit into memory goes through a file and comes back the same."""

    KEYS: ClassVar[dict[str, Any]] = {
        "train": {"en": "all.csv", "de": "de.jsonl"},
        "few_shot": {"bn": 7},
        "source_languages": ["en", "de"],
        "made_splits": {"validation": 0.2, "test": 0.1},
        "fraction": 0.7,
    }

    @pytest.fixture
    def _files(self) -> None:
        codes = ("en", "bn")
        rows = [{**row, "label": "xyz"[i % 3], "language": codes[i % 2]} for i, row in enumerate(ROWS)]
        Path("all.csv").write_text(as_csv([*rows, {"text": "", "label": "x", "language": "en"}]))
        Path("de.jsonl").write_text(as_jsonl([{"text": row["text"] + " de", "label": "z"} for row in rows]))

    @pytest.mark.usefixtures("_files")
    def test_same_rows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        keys = {**self.KEYS, "train": {**self.KEYS["train"], "bn": "all.csv"}}
        held = read(**keys)
        monkeypatch.setattr(spilling, "LIMIT", 0)
        monkeypatch.setattr(csv_files, "CHUNK", 9)
        monkeypatch.setattr(jsonl_files, "CHUNK", 7)
        spilled = read(**keys)
        assert spilled.data_hash == held.data_hash
        assert spilled.warnings == held.warnings
        assert {name: content(split) for name, split in spilled.splits.items()} == {
            name: content(split) for name, split in held.splits.items()
        }

    @pytest.mark.usefixtures("_files")
    def test_nothing_is_left_behind(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "temporary").mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
        monkeypatch.setattr(spilling, "LIMIT", 0)
        read(train={"en": "all.csv"})
        assert not list((tmp_path / "temporary").iterdir())

    @pytest.mark.usefixtures("_files")
    def test_unwritable_temporary_folder(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tempfile, "tempdir", "nowhere")
        monkeypatch.setattr(spilling, "LIMIT", 0)
        with pytest.raises(UserError, match="TMPDIR"):
            read(train={"en": "all.csv"})


class TestLabels:
    def test_natural_order(self) -> None:
        rows = [{"text": f"text {i}", "label": str(i % 12)} for i in range(240)]
        Path("en.csv").write_text(as_csv(rows))
        assert read(train="en.csv").labels == [str(i) for i in range(12)]

    def test_given_order(self) -> None:
        Path("en.csv").write_text(as_csv(ROWS))
        data = read(train="en.csv", labels=["2", "0", "1"])
        train = data.splits["train"]
        assert [data.labels[i] for i in train.labels] == [ROWS[row - 1]["label"] for row in train.rows]

    def test_mapping(self) -> None:
        Path("en.csv").write_text(as_csv(ROWS))
        Path("bn.csv").write_text("text,label\na,low\nb,high\n")
        data = read(train="en.csv", labels={2: "high", 0: "low", 1: "low"}, test={"bn": "bn.csv"})
        assert data.labels == ["high", "low"]
        assert data.splits["test"].labels.tolist() == [1, 0]

    def test_blanks_around_labels_do_not_count(self) -> None:
        Path("en.csv").write_text("text,label\n" + "".join(f"t {i},{'a ' if i % 2 else ' b'}\n" for i in range(20)))
        assert read(train="en.csv").labels == ["a", "b"]


class TestSkippedRows:
    def test_counted_and_listed(self) -> None:
        rows = [dict(row) for row in ROWS]
        for index in (3, 16, 40):
            rows[index]["text"] = " \t\u00a0"
        rows[50]["label"] = ""
        Path("en.csv").write_text(as_csv(rows))
        told: list[str] = []
        data = read_texts(Data(train="en.csv"), 0, on_warning=told.append)
        assert sum(len(split) for split in data.splits.values()) == 56
        assert [(row.row, row.reason) for row in data.skipped] == [
            (4, "empty text"),
            (17, "empty text"),
            (41, "empty text"),
            (51, "no label"),
        ]
        assert data.warnings[:2] == [
            "3 rows of en.csv skipped: empty text (rows 4, 17, 41)",
            "1 row of en.csv skipped: no label (row 51)",
        ]
        assert told == data.warnings

    def test_half_a_pair(self) -> None:
        rows = [{**row, "other": "" if i == 9 else f"pair {i}"} for i, row in enumerate(ROWS)]
        Path("en.csv").write_text(as_csv(rows))
        data = read(train="en.csv", columns={"text_pair": "other"})
        assert [(row.row, row.reason) for row in data.skipped] == [(10, "empty text_pair")]
        assert data.splits["train"].has_pairs


class TestWarnings:
    def test_leaks_conflicts_and_repeats(self) -> None:
        Path("en.csv").write_text("text,label\n" + "a,x\na,y\nb,x\nb,x\nc,y\nd,x\ne,y\n")
        Path("dev.csv").write_text("text,label\nf,x\ng,y\n")
        Path("bn.csv").write_text("text,label\na,x\ng,y\nh,x\n")
        data = read(train={"en": "en.csv"}, validation={"en": "dev.csv"}, test={"bn": "bn.csv"})
        assert [message.split(":")[0] for message in data.warnings] == [
            "2 of 3 test rows have a text that stands in training or validation too (bn 2)",
            "2 training rows share their text with a row of another label (en 2)",
            "2 training rows repeat an earlier text (en 2)",
        ]


class TestEvaluation:
    def test_labels_of_the_run_hold(self) -> None:
        Path("bn.csv").write_text("text,label\na,1\nb,neg\n")
        data = Data(train="gone.csv", labels={"0": "neg", "1": "pos"})
        texts = read_evaluation_texts({"bn": "bn.csv"}, data, ["neg", "pos"])
        assert texts.labels == ["neg", "pos"]
        assert texts.splits["test"].labels.tolist() == [1, 0]

    def test_hash_follows_content(self) -> None:
        Path("en.csv").write_text(as_csv(ROWS))
        first = read(train="en.csv").data_hash
        Path("other.csv").write_text(as_csv(ROWS))
        assert read(train={"en": "other.csv"}).data_hash == first
        Path("en.csv").write_text(as_csv([*ROWS[:-1], {**ROWS[-1], "text": "changed"}]))
        assert read(train="en.csv").data_hash != first
