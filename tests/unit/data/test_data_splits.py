"""Which rows train, validate and test, in which language: columns, names, made splits, shares."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from glotune.data.texts import TextData
from glotune.errors import UserError
from made_files import ROWS, as_csv, as_jsonl, content, read


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


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
        data = read(train={"en": "en.csv"}, test={"bn": "bn.csv", "en": "bn.csv"})
        assert len(data.splits["test"]) == 120

    def test_the_source_languages_own_test_rows_stand_beside_named_targets(self) -> None:
        self.with_splits()
        Path("bn.csv").write_text(as_csv(ROWS))
        data = read(train="en.csv", test={"bn": "bn.csv"})
        assert {name: int((data.splits["test"].language_ids == i).sum()) for i, name in enumerate(("bn", "en"))} == {
            "bn": 60,
            "en": 10,
        }
        assert data.warnings[:1] == ["data.test names no rows in en: the 10 test rows of data.train in it are taken"]

    def test_own_rows_that_a_key_takes_the_place_of_are_counted(self) -> None:
        self.with_splits()
        Path("dev.csv").write_text(as_csv(ROWS[:20]))
        data = read(train="en.csv", validation={"en": "dev.csv"})
        assert len(data.splits["validation"]) == 20
        assert data.warnings[:1] == ["10 validation rows of data.train not used: data.validation names others"]

    def test_own_validation_rows_come_before_cutting_some(self) -> None:
        self.with_splits()
        Path("bn.csv").write_text(as_csv(ROWS))
        data = read(train="en.csv", validation={"bn": "bn.csv"})
        assert {name: len(split) for name, split in data.splits.items()} == {"train": 40, "validation": 70, "test": 10}
        assert data.named_validation == ["bn"]

    def test_a_test_share_is_made_of_the_source_where_targets_are_named(self) -> None:
        Path("en.csv").write_text(as_csv(ROWS))
        Path("bn.csv").write_text(as_csv(ROWS))
        data = read(train="en.csv", test={"bn": "bn.csv"}, made_splits={"test": 0.2})
        assert data.splits["test"].language_names == ["bn", "en"]
        assert len(data.splits["test"]) == 72

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


def parallel(names: str = "en de") -> dict[str, str]:
    """A file for each language, whose rows of one id translate one another."""
    for language in names.split():
        rows = [{"id": f"r{i}", "text": f"{language} text {i}", "label": str(i % 3)} for i in range(60)]
        Path(f"{language}.csv").write_text(as_csv(rows))
    return {language: f"{language}.csv" for language in names.split()}


def ids(data: TextData, split: str, *languages: str) -> set[str]:
    rows = data.splits[split].table.to_pylist()
    return {row["id"] for row in rows if not languages or row["language"] in languages}


class TestRowsThatBelongTogether:
    def test_translations_of_one_text_are_on_one_side(self) -> None:
        made = {"validation": 0.2, "test": 0.2}
        data = read(train=parallel(), columns={"id": "id"}, made_splits=made)
        assert {name: len(split) for name, split in data.splits.items()} == {"train": 72, "validation": 24, "test": 24}
        for name, split in data.splits.items():
            assert ids(data, name, "en") == ids(data, name, "de")
            assert np.bincount(split.labels).tolist() == [len(split) // 3] * 3
        assert not data.warnings

    def test_a_document_and_its_copies_elsewhere_are_on_one_side(self) -> None:
        rows = [{"doc": f"d{i // 4}", "text": f"text {i}", "label": str(i % 2)} for i in range(80)]
        rows[8]["text"] = rows[60]["text"]
        rows[-4:] = [{**row, "doc": ""} for row in rows[-4:]]
        Path("en.csv").write_text(as_csv(rows))
        for seed in range(5):
            data = read(train="en.csv", columns={"id": "doc"}, made_splits={"validation": 0.3, "seed": seed})
            numbers = {name: {row // 4 for row in (split.rows - 1).tolist()} for name, split in data.splits.items()}
            assert numbers["train"] & numbers["validation"] <= {19}, "those without an id stand for themselves"
            assert not any({2, 15} & found and not {2, 15} <= found for found in numbers.values())
            assert not data.warnings[1:], "that a text repeats is all"

    def test_a_translation_of_what_is_validated_is_never_trained_on(self) -> None:
        train, into = parallel(), parallel("bn")
        data = read(train=train, columns={"id": "id"}, translations=into, made_splits={"validation": 0.2})
        assert not ids(data, "train") & ids(data, "validation")
        assert "12 rows of bn.csv translate no training row: not used" in data.warnings

    def test_what_belongs_to_a_few_shot_row_is_not_cut(self) -> None:
        files = parallel()
        for seed in range(5):
            data = read(seed, train=files, columns={"id": "id"}, source_languages=["en"], few_shot={"de": 12})
            assert len(ids(data, "train", "de")) == 12
            assert not ids(data, "train") & ids(data, "validation")
            assert len(data.splits["validation"]) == 6

    def test_what_belongs_to_the_training_rows_of_a_language_with_a_split_of_its_own_is_not_cut(self) -> None:
        train, columns = parallel(), {"id": "id"}

        def english(last: str) -> None:
            names = [*["dev"] * 10, *["train"] * 30, *[last] * 20]
            rows = [{"id": f"r{i}", "text": f"en text {i}", "label": str(i % 3), "split": names[i]} for i in range(60)]
            Path("en.csv").write_text(as_csv(rows))

        english("unused")
        data = read(train=train, columns=columns, made_splits={"validation": 0.2})
        assert not ids(data, "train") & ids(data, "validation", "de")
        assert len(ids(data, "validation", "de")) == 12
        english("train")
        lines = Path("de.csv").read_text().splitlines(keepends=True)
        Path("de.csv").write_text("".join([lines[0], *lines[11:]]))
        data = read(train=train, columns=columns)
        assert data.splits["validation"].language_names == ["en"]
        assert data.warnings == ["no validation rows are cut in de: each has the id of a row that is trained on"]

    def test_ids_on_both_sides_of_splits_that_are_named_are_told(self) -> None:
        files = parallel("en de bn")
        splits = {"validation": {"en": files["de"]}, "test": {"bn": files["bn"]}}
        data = read(train={"en": "en.csv"}, columns={"id": "id"}, **splits)
        assert [line.split(":")[0] for line in data.warnings] == [
            "60 of 60 validation rows have the id of a training row (en 60)",
            "60 of 60 test rows have the id of a training or validation row (bn 60)",
        ]

    @pytest.mark.parametrize("repeats", [False, True])
    def test_ids_of_their_own_change_nothing(self, repeats: bool) -> None:
        for language in ("en", "de"):
            texts = [f"{language if i % 2 else ''} {i // 3 if repeats else i}" for i in range(60)]
            rows = [{"id": f"{language}{i}", "text": text, "label": str(i % 4)} for i, text in enumerate(texts)]
            Path(f"{language}.csv").write_text(as_csv(rows))
        keys = {"train": {"en": "en.csv", "de": "de.csv"}, "made_splits": {"validation": 0.2, "test": 0.1}}
        plain, named = read(**keys), read(**keys, columns={"id": "id"})
        assert plain.data_hash == named.data_hash
        for name, split in plain.splits.items():
            assert split.rows.tolist() == named.splits[name].rows.tolist()
        assert plain.warnings == named.warnings


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
