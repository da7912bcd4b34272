"""What reading a recipe's data gives: formats, labels, skipped rows, warnings."""

import gzip
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from glotune.data.reading import read_evaluation_texts, read_texts
from glotune.errors import UserError
from glotune.recipe.schema import Data
from made_files import ROWS, as_csv, as_jsonl, content, read


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
        for name in ("a/en.csv", "a/en.tsv"):
            Path(f"{name.upper().replace('A/EN', 'a/en')}.GZ").write_bytes(gzip.compress(contents[name]))
        Path("a/en.JSONL.gz").write_bytes(gzip.compress(contents["a/en.jsonl"]))
        Path("a/en.TSV").write_bytes(contents["a/en.tsv"])
        parquet.write_table(pa.Table.from_pylist(rows), "a/en.Parquet")
        parquet.write_table(pa.Table.from_pylist(rows), "a/en.parquet")
        shouted = ["a/en.CSV.GZ", "a/en.TSV.GZ", "a/en.JSONL.gz", "a/en.TSV", "a/en.Parquet"]
        return [*contents, "a/en.csv.gz", "a/en.tsv.gz", "a/en.jsonl.gz", "a/en.parquet", *shouted]

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

    @pytest.mark.parametrize("kind", ["jsonl", "parquet"])
    def test_nan_is_no_label(self, kind: str) -> None:
        labels = [1.0, float("nan"), 2.0, None] * 10
        rows = [{"text": f"text {i}", "label": label} for i, label in enumerate(labels)]
        if kind == "jsonl":
            Path("en.jsonl").write_text(as_jsonl(rows))
        else:
            parquet.write_table(
                pa.table({"text": [row["text"] for row in rows], "label": pa.array(labels)}), "en.parquet"
            )
        data = read(train=f"en.{kind}")
        assert data.labels == ["1", "2"]
        assert [row.row for row in data.skipped] == list(range(2, 41, 2))
        assert data.warnings[0].startswith(f"20 rows of en.{kind} skipped: no label")

    def test_nan_is_no_text_and_no_language(self) -> None:
        rows = [{"text": f"text {i}", "label": "ab"[i % 2], "language": float("nan")} for i in range(20)]
        rows[3]["text"] = float("nan")
        Path("en.jsonl").write_text(as_jsonl(rows))
        data = read(train="en.jsonl")
        assert data.source_languages == ["en"]
        assert [(row.row, row.reason) for row in data.skipped] == [(4, "empty text")]

    @pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
    def test_floats_of_any_width(self, kind: type) -> None:
        labels = pa.array(np.array([4.1, 2.0, np.nan, 0.25] * 10, kind))
        parquet.write_table(pa.table({"text": [f"text {i}" for i in range(40)], "label": labels}), "en.parquet")
        data = read(train="en.parquet")
        assert data.labels == ["0.25", "2", "4.1"]
        assert len(data.skipped) == 10

    def test_whole_floats_read_alike_beside_others(self) -> None:
        labels = [1.0] * 8192 + [1.0, 1.5] * 20
        parquet.write_table(
            pa.table({"text": [f"text {i}" for i in range(len(labels))], "label": labels}), "en.parquet"
        )
        Path("en.jsonl").write_text(as_jsonl([{"text": f"text {i}", "label": x} for i, x in enumerate(labels)]))
        assert read(train="en.parquet").labels == read(train="en.jsonl").labels == ["1", "1.5"]

    @pytest.mark.parametrize(
        ("labels", "names"),
        [
            (pa.array(["yes", "no"] * 10).dictionary_encode(), ["no", "yes"]),
            (pa.array([1.0, 2.5] * 10).dictionary_encode(), ["1", "2.5"]),
            (pa.array([Decimal("1.50"), Decimal("2.00")] * 10), ["1.5", "2"]),
            (pa.array([True, None, False, True] * 5), ["false", "true"]),
            (pa.array(["a", "b"] * 10, pa.large_string()), ["a", "b"]),
        ],
        ids=["dictionary", "dictionary of floats", "decimal", "bool", "large string"],
    )
    def test_types_of_parquet(self, labels: pa.Array, names: list[str]) -> None:
        parquet.write_table(pa.table({"text": [f"text {i}" for i in range(20)], "label": labels}), "en.parquet")
        assert read(train="en.parquet").labels == names

    def test_a_number_beyond_every_float(self) -> None:
        rows = [{"text": f"text {i}", "label": [10**400, 1][i % 2]} for i in range(20)]
        Path("en.jsonl").write_text(as_jsonl(rows))
        assert read(train="en.jsonl").labels == ["1", str(10**400)]

    def test_one_label_in_two_spellings(self) -> None:
        spellings = ["cafe\u0301", "caf\u00e9", "caf\u00e9\u200b", "\ufeffcaf\u00e9", "bar"]
        rows = [{"text": f"text {i}", "label": spellings[i % 5]} for i in range(40)]
        for name, written in (("en.csv", as_csv(rows)), ("en.jsonl", as_jsonl(rows))):
            Path(name).write_text(written)
            assert read(train=name).labels == ["bar", "caf\u00e9"]
        recipe = ["cafe\u0301", "bar"]
        assert read(train="en.csv", labels=recipe).labels == recipe
        assert read(train="en.csv", labels={"cafe\u0301": "drink", "bar": "place"}).labels == ["drink", "place"]

    def test_a_label_of_zero_width_characters_is_none(self) -> None:
        Path("en.csv").write_text("text,label\n" + "".join(f"t {i},{'ab'[i % 2]}\n" for i in range(20)) + "x,\u200b\n")
        data = read(train="en.csv")
        assert data.labels == ["a", "b"]
        assert [(row.row, row.reason) for row in data.skipped] == [(21, "no label")]

    def test_labels_that_look_the_same_are_told(self) -> None:
        Path("en.csv").write_text(
            "text,label\n" + "".join(f"t {i},{('Good', 'bad', 'good')[i % 3]}\n" for i in range(30))
        )
        data = read(train="en.csv")
        assert data.labels == ["Good", "bad", "good"]
        assert [message for message in data.warnings if "'Good', 'good' look the same" in message]
        assert read(train="en.csv", labels={"Good": "good", "bad": "bad"}).warnings == []

    def test_languages_that_look_the_same_are_told(self) -> None:
        rows = [{"text": f"t {i}", "label": "ab"[i % 2], "language": ("en", "EN")[i // 2 % 2]} for i in range(40)]
        Path("all.csv").write_text(as_csv(rows))
        assert (
            "the languages 'EN', 'en' look the same and are told apart: write them one way"
            in read(train="all.csv").warnings
        )

    def test_scores_and_joined_labels_are_told(self) -> None:
        Path("en.csv").write_text("text,label\n" + "".join(f"t {i},{1 + i % 9 / 2}\n" for i in range(90)))
        assert [message for message in read(train="en.csv").warnings if "regression" in message]
        labels = ("joy", "anger", "joy|anger")
        Path("en.csv").write_text("text,label\n" + "".join(f"t {i},{labels[i % 3]}\n" for i in range(90)))
        assert [message for message in read(train="en.csv").warnings if "multi-label" in message]
        assert read(train="en.csv", labels=list(labels)).warnings == []


class TestColumns:
    HEADERS = (" text ,label ", "\ufefftext,label", '"\u200btext","label"')

    @pytest.mark.parametrize("header", HEADERS)
    def test_blanks_in_a_header(self, header: str) -> None:
        Path("en.csv").write_text(header + "\n" + "".join(f"t {i},{'ab'[i % 2]}\n" for i in range(20)))
        assert read(train="en.csv").labels == ["a", "b"]

    def test_other_spellings_in_every_format(self) -> None:
        rows = [{"cafe\u0301 ": f"t {i}", " label": "ab"[i % 2]} for i in range(20)]
        Path("en.csv").write_text(as_csv(rows))
        Path("en.jsonl").write_text(as_jsonl(rows))
        parquet.write_table(pa.Table.from_pylist(rows), "en.parquet")
        found = [
            read(train=f"en.{kind}", columns={"text": "caf\u00e9"}).data_hash for kind in ("csv", "jsonl", "parquet")
        ]
        assert len(set(found)) == 1

    def test_a_column_of_the_very_name_comes_first(self) -> None:
        Path("en.csv").write_text("text, text,label\n" + "".join(f"right {i},wrong,{'ab'[i % 2]}\n" for i in range(20)))
        assert read(train="en.csv").splits["train"].table["text"][0].as_py().startswith("right")


class TestSkippedRows:
    @pytest.mark.parametrize("text", ["\u200b", "\ufeff \u200d", "\u3164"])
    def test_zero_width_characters_alone_are_no_text(self, text: str) -> None:
        Path("en.csv").write_text("text,label\n" + "".join(f"t {i},{'ab'[i % 2]}\n" for i in range(20)) + f"{text},a\n")
        assert [(row.row, row.reason) for row in read(train="en.csv").skipped] == [(21, "empty text")]

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

    @pytest.mark.parametrize(("saved", "found"), [("cafe\u0301", "caf\u00e9"), ("caf\u00e9\u200b", "cafe\u0301")])
    def test_a_saved_label_is_met_in_any_spelling(self, saved: str, found: str) -> None:
        Path("bn.csv").write_text(f"text,label\na,{found}\nb,bar\n")
        texts = read_evaluation_texts({"bn": "bn.csv"}, Data(train="gone.csv"), [saved, "bar"])
        assert texts.labels == [saved, "bar"]
        assert texts.splits["test"].labels.tolist() == [0, 1]

    def test_saved_labels_that_can_not_be_told_apart_are_refused(self) -> None:
        Path("bn.csv").write_text("text,label\na,caf\u00e9\nb,bar\n")
        with pytest.raises(UserError, match="differ in their Unicode form"):
            read_evaluation_texts({"bn": "bn.csv"}, Data(train="gone.csv"), ["cafe\u0301", "caf\u00e9", "bar"])

    def test_a_mapping_that_swaps_names_keeps_the_order_of_the_run(self) -> None:
        swapped = {"b": "a", "a": "b"}
        Path("en.csv").write_text("text,label\n" + "".join(f"t {i},{'ab'[i % 2]}\n" for i in range(20)))
        trained = read(train="en.csv", labels=swapped)
        texts = read_evaluation_texts({"en": "en.csv"}, Data(train="en.csv", labels=swapped), trained.labels)
        assert texts.labels == trained.labels == ["a", "b"]
        assert texts.splits["test"].labels.tolist()[:2] == [1, 0]

    def test_hash_follows_content(self) -> None:
        Path("en.csv").write_text(as_csv(ROWS))
        first = read(train="en.csv").data_hash
        Path("other.csv").write_text(as_csv(ROWS))
        assert read(train={"en": "other.csv"}).data_hash == first
        Path("en.csv").write_text(as_csv([*ROWS[:-1], {**ROWS[-1], "text": "changed"}]))
        assert read(train="en.csv").data_hash != first
