"""Which rows train, validate and test, in which language: columns, names, made splits, shares."""

import gzip
from pathlib import Path

import numpy as np
import pytest

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
