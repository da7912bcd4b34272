"""Every mistake in a data file gets one UserError that names file, row or key, what is expected and what to do."""

import gzip
import json
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from glotune.data.reading import read_texts
from glotune.errors import EXIT_USER_ERROR, UserError
from glotune.recipe.schema import Data

GOOD = "text,label\n" + "".join(f"a fine text {i},{'good' if i % 2 else 'bad'}\n" for i in range(40))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("en.csv").write_text(GOOD)
    return tmp_path


def refused(content: str | bytes | None = None, name: str = "en.csv", **keys: object) -> str:
    """The message of the UserError for a training file with this content."""
    if content is not None:
        Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(UserError) as caught:
        read_texts(Data.model_validate({"train": name, **keys}), 0)
    assert caught.value.exit_code == EXIT_USER_ERROR
    message = str(caught.value)
    assert "Traceback" not in message
    assert "\n" not in message
    return message


def assert_says(message: str, *parts: str) -> None:
    for part in parts:
        assert part in message, f"{part!r} is not in: {message}"


@pytest.mark.usefixtures("folder")
class TestFiles:
    def test_missing_file(self) -> None:
        assert_says(refused(name="em.csv"), "data.train", "no file em.csv", "Did you mean 'en.csv'?")

    def test_missing_folder(self) -> None:
        assert_says(refused(name="nowhere/en.csv"), "nor is there a folder nowhere")

    def test_missing_file_of_one_language(self) -> None:
        message = refused(train={"en": "en.csv", "bn": "bn_x.csv"})
        assert_says(message, "data.train.bn", "bn_x.csv")

    def test_unknown_format(self) -> None:
        assert_says(refused("x", "en.xlsx"), "unknown format", ".csv", ".parquet")

    def test_folder_without_data(self) -> None:
        Path("empty").mkdir()
        assert_says(refused(name="empty"), "folder empty holds no data file")

    def test_empty_file(self) -> None:
        assert_says(refused(""), "en.csv is empty")

    def test_only_a_header(self) -> None:
        assert_says(refused("text,label\n"), "en.csv", "no data rows")

    @pytest.mark.parametrize("name", ["en.jsonl", "en.tsv", "en.csv.gz"])
    def test_empty_file_of_other_formats(self, name: str) -> None:
        assert_says(refused(b"", name), f"{name} is empty")

    def test_empty_parquet(self) -> None:
        parquet.write_table(
            pa.table({"text": pa.array([], pa.string()), "label": pa.array([], pa.string())}), "en.parquet"
        )
        assert_says(refused(name="en.parquet"), "en.parquet is empty")

    def test_no_gzip_behind_gz(self) -> None:
        assert_says(refused(GOOD, "en.csv.gz"), "en.csv.gz can't be unpacked")

    def test_cut_off_gzip(self) -> None:
        assert_says(refused(gzip.compress(GOOD.encode())[:-20], "en.csv.gz"), "en.csv.gz can't be unpacked")

    def test_no_parquet_behind_its_name(self) -> None:
        assert_says(refused(GOOD, "en.parquet"), "en.parquet can't be read as Parquet")

    def test_hub_name_that_cannot_be_reached(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import datasets

        def fail(*_: object) -> None:
            raise ConnectionError("no network")

        monkeypatch.setattr(datasets, "load_dataset", fail)
        assert_says(refused(name="someone/reviews"), "'someone/reviews' is neither a file nor a folder", "no network")


@pytest.mark.usefixtures("folder")
class TestColumns:
    def test_wrong_text_column(self) -> None:
        message = refused(GOOD.replace("text,label", "txet,label"))
        assert_says(message, "en.csv has no column 'text'", "'txet'", "Did you mean 'txet'?", "data.columns.text")

    def test_wrong_label_column(self) -> None:
        message = refused(columns={"label": "lable"})
        assert_says(message, "no column 'lable'", "Did you mean 'label'?", "data.columns.label")

    def test_wrong_pair_column(self) -> None:
        assert_says(refused(columns={"text_pair": "premise"}), "no column 'premise'", "data.columns.text_pair")

    def test_all_wrong_columns_at_once(self) -> None:
        message = refused(GOOD.replace("text,label", "txet,lable"), columns={"text_pair": "premise"})
        assert_says(
            message, "no column 'text' (did you mean 'txet'?)", "no column 'premise' and", "its columns are 'txet'"
        )
        assert_says(message, "no column 'label' (did you mean 'lable'?)")
        assert_says(message, "data.columns.text=txet data.columns.text_pair=NAME data.columns.label=lable")

    def test_semicolons(self) -> None:
        said = refused(GOOD.replace(",", ";"))
        assert_says(said, "one column only", "separated by semicolons", "columns of a .csv file")

    def test_tabs_in_a_csv(self) -> None:
        assert_says(refused(GOOD.replace(",", "\t")), "separated by tabs", "name it .tsv")

    def test_no_header(self) -> None:
        text = "What a long first row this is, in which somebody says how good the food was"
        assert_says(refused(f'"{text}",good\n"bad food",bad\n'), "is its first row a text, and no header?")

    def test_column_twice(self) -> None:
        assert_says(refused("text,label,text\na,b,c\n"), "two columns named 'text'")

    def test_jsonl_without_the_key(self) -> None:
        lines = [json.dumps({"text": "a", "label": "x"}), json.dumps({"text": "b", "lable": "y"})]
        assert_says(refused("\n".join(lines), "en.jsonl"), "en.jsonl, row 2", "'label'", "Did you mean 'lable'?")

    def test_parquet_text_of_numbers(self) -> None:
        parquet.write_table(pa.table({"text": [1.5, 2.0], "label": ["a", "b"]}), "en.parquet")
        assert_says(refused(name="en.parquet"), "'text' of en.parquet has the type double", "strings")

    @pytest.mark.parametrize("header", [" text,label,text ", "\ufefftext ,label, text"])
    def test_column_twice_in_other_spellings(self, header: str) -> None:
        assert_says(refused(f"{header}\na,b,c\n"), "two columns named 'text'")

    @pytest.mark.parametrize("labels", [pa.array([["a", "b"]] * 2), pa.array([date(2020, 1, 1)] * 2)])
    def test_parquet_labels_that_are_no_names(self, labels: pa.Array) -> None:
        parquet.write_table(pa.table({"text": ["a", "b"], "label": labels}), "en.parquet")
        several = "multi-label" if pa.types.is_list(labels.type) else "set data.columns.label"
        assert_says(refused(name="en.parquet"), "column 'label' of en.parquet has the type", several)

    def test_parquet_infinity(self) -> None:
        parquet.write_table(pa.table({"text": ["a", "b"], "label": [1.0, float("inf")]}), "en.parquet")
        assert_says(refused(name="en.parquet"), "column 'label' of en.parquet holds an infinite number")


@pytest.mark.usefixtures("folder")
class TestRows:
    def test_ragged_row(self) -> None:
        assert_says(refused(GOOD + "a, stray comma,good\n"), "en.csv, row 41", "3 fields", "header has 2")

    def test_short_row(self) -> None:
        assert_says(refused(GOOD + "alone\n"), "en.csv, row 41", "1 field,")

    def test_quote_that_is_never_closed(self) -> None:
        assert_says(refused(GOOD + '"never closed,good\nmore,bad\n'), "en.csv, row 41", "never closed")

    def test_text_behind_a_closed_quote(self) -> None:
        assert_says(refused(GOOD + '"a" b,good\n' + GOOD[11:]), "en.csv, row 41", "broken quoting")

    def test_missing_end_quote_between_rows(self) -> None:
        content = 'text,label\n"one",good\n"two,bad\n"three",good\n'
        assert_says(refused(content), "en.csv, row 2", "broken quoting")

    def test_rows_count_records_not_lines(self) -> None:
        content = 'text,label\n"two\nlines",good\n\n"three\n\nlines",bad\nx,y,z\n'
        assert_says(refused(content), "en.csv, row 3", "3 fields")

    def test_not_utf8(self) -> None:
        content = GOOD.encode() + "caf\xe9,good\n".encode("latin1") + b"more,bad\n"
        message = refused(content)
        assert_says(message, "en.csv, row 41", f"byte {len(GOOD) + 3} (0xE9) is not UTF-8", "iconv")

    def test_not_utf8_far_into_a_packed_file(self) -> None:
        head = ("text,label\n" + "".join(f'"line\nbreak {i}",good\n' for i in range(20_000))).encode()
        message = refused(gzip.compress(head + b"\xff\xfe,bad\n"), "en.csv.gz")
        assert_says(message, "en.csv.gz, row 20001", f"byte {len(head)} (0xFF)")

    def test_utf16(self) -> None:
        assert_says(refused(GOOD.encode("utf-16")), "UTF-16", "en.csv, header")

    def test_jsonl_not_utf8(self) -> None:
        good = b'{"text": "a", "label": "x"}\n'
        bad = b'{"text": "\xe9", "label": "x"}\n'
        assert_says(refused(good + b"\n" + bad, "en.jsonl"), "en.jsonl, row 2", f"byte {len(good) + 1 + 10} (0xE9)")

    @pytest.mark.parametrize("line", ["{", "[1]", "7", '"text"', '{"text": "a"} trailing'])
    def test_jsonl_that_is_no_object(self, line: str) -> None:
        assert_says(refused('{"text": "a", "label": "x"}\n' + line + "\n", "en.jsonl"), "en.jsonl, row 2")

    def test_jsonl_array(self) -> None:
        assert_says(refused('[{"text": "a", "label": "x"}]', "en.json"), "en.json, row 1", "one JSON object per line")

    @pytest.mark.parametrize("value", [[1], {"a": 1}, 5, True])
    def test_jsonl_text_that_is_no_string(self, value: object) -> None:
        line = json.dumps({"text": value, "label": "x"})
        assert_says(refused(line, "en.jsonl"), "en.jsonl, row 1", "'text'", "a string")

    @pytest.mark.parametrize(("value", "found"), [('["a", "b"]', "multi-label"), ("1e400", "an infinite number")])
    def test_jsonl_label_that_is_none(self, value: str, found: str) -> None:
        line = '{"text": "a", "label": ' + value + "}\n"
        assert_says(refused('{"text": "b", "label": "x"}\n' + line, "en.jsonl"), "en.jsonl, row 2", "'label'", found)

    def test_nul(self) -> None:
        assert_says(refused(GOOD + "a\0b,good\n"), "en.csv, row 41", "NUL", "'text'")

    def test_half_a_surrogate_pair(self) -> None:
        lines = '{"text": "a", "label": "x"}\n{"text": "\\ud83d", "label": "x"}\n'
        assert_says(refused(lines, "en.jsonl"), "en.jsonl, row 2", "surrogate")

    def test_all_texts_empty(self) -> None:
        assert_says(refused("text,label\n ,a\n\u3000,b\n"), "none of the 2 rows", "empty text")

    def test_no_label_at_all(self) -> None:
        assert_says(refused("text,label\na,\nb,\n"), "none of the 2 rows", "no label")


@pytest.mark.usefixtures("folder")
class TestLabels:
    def test_unknown_label(self) -> None:
        message = refused(GOOD + "odd,goood\n", labels=["bad", "good"])
        assert_says(message, "en.csv, row 41", "unknown label 'goood'", "'bad', 'good'", "Did you mean 'good'?")

    def test_unknown_label_in_test(self) -> None:
        Path("bn.csv").write_text("text,label\nx,good\ny,ugly\n")
        message = refused(test={"bn": "bn.csv"})
        assert_says(message, "bn.csv, row 2", "unknown label 'ugly'", "the training rows")

    def test_unmapped_label(self) -> None:
        message = refused(GOOD.replace("good", "2"), labels={"1": "good", "0": "bad"})
        assert_says(message, "en.csv, row 2", "unknown label '2'", "and 19 more", "data.labels")

    def test_one_class_only(self) -> None:
        assert_says(refused(GOOD.replace("bad", "good")), "one label 'good'", "at least two classes")

    def test_label_missing_in_training(self) -> None:
        message = refused(labels=["bad", "good", "neutral"])
        assert_says(message, "data.train", "no training row has the label 'neutral'")

    def test_more_labels_than_can_be_numbered(self) -> None:
        content = "text,label\n" + "".join(f"text {i},label {i // 2}\n" for i in range(70_000))
        assert_says(refused(content), "35,000 different labels", "at most 32,767", "data.columns.label")

    def test_a_label_per_row(self) -> None:
        content = "text,label\n" + "".join(f"text {i},label {i}\n" for i in range(40))
        assert_says(refused(content), "no validation rows", "no label has two different texts", "data.columns.label")

    def test_label_named_twice_in_two_unicode_forms(self) -> None:
        assert_says(refused(labels=["caf\u00e9", "cafe\u0301"]), "data.labels", "Unicode form")

    def test_label_named_twice(self) -> None:
        assert_says(refused(labels=["bad", "good", "bad"]), "data.labels", "'bad' stands there twice")


@pytest.mark.usefixtures("folder")
class TestLanguages:
    def test_language_that_cannot_be_known(self) -> None:
        message = refused(GOOD, "reviews.csv")
        assert_says(message, "language of reviews.csv is not known", "data.train: {en: reviews.csv}")

    def test_source_language_without_rows(self) -> None:
        message = refused(source_languages=["eng"])
        assert_says(message, "data.source_languages", "no training row is in 'eng'", "Did you mean 'en'?")

    def test_key_that_no_row_has(self) -> None:
        Path("all.csv").write_text("text,label,language\na,x,ben\nb,y,ben\n")
        message = refused(train={"bn": "all.csv"})
        assert_says(message, "data.train.bn", "no row of all.csv is in 'bn'", "ben", "Did you mean 'ben'?")

    def test_row_without_language(self) -> None:
        message = refused("text,label,language\na,x,en\nb,y,\n", "all.csv")
        assert_says(message, "all.csv, row 2", "no language")

    def test_few_shot_of_a_source_language(self) -> None:
        assert_says(refused(few_shot={"en": 4}), "data.few_shot.en", "source language already")

    def test_few_shot_without_rows(self) -> None:
        assert_says(refused(few_shot={"bn": 4}), "data.few_shot.bn", "has 0 in 'bn'")


@pytest.mark.usefixtures("folder")
class TestSplits:
    def test_no_row_of_the_split(self) -> None:
        message = refused("text,label,split\na,x,all\nb,y,all\n")
        assert_says(message, "no row of en.csv belongs to the split 'train'", "all 2", "data.split_names.train=all")

    def test_no_test_row_of_a_named_language(self) -> None:
        Path("bn.csv").write_text("text,label,split\na,good,dev\n")
        message = refused(test={"en": "en.csv", "bn": "bn.csv"})
        assert_says(message, "data.test.bn", "dev 1", "data.split_names.test=dev")

    def test_no_validation(self) -> None:
        message = refused(made_splits={"validation": 0.0})
        assert_says(message, "data.validation", "data.made_splits.validation")
