"""What file and folder names say: splits, languages, parts of a file; and what is refused because they don't."""

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from glotune.data.doctor import read_all
from glotune.data.file_names import language_of, said_by, stem_of
from glotune.data.reading import read_evaluation_texts
from glotune.errors import UserError
from glotune.recipe.schema import Data, SplitNames
from made_files import ROWS, as_csv, read


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def lay(*names: str) -> None:
    """A file of six rows at each place, its texts beginning with the place."""
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [{"text": f"{name} {number}", "label": "ab"[number % 2]} for number in range(6)]
        if path.suffix == ".parquet":
            parquet.write_table(pa.Table.from_pylist(rows), path)
        else:
            path.write_text(as_csv(rows))


def files(**keys: object) -> dict[str, list[str]]:
    """Split -> the files whose texts it holds."""
    splits = read(**keys).splits  # type: ignore[arg-type]
    return {
        name: sorted({text.split()[0] for text in split.table["text"].to_pylist()}) for name, split in splits.items()
    }


def refused(**keys: object) -> str:
    with pytest.raises(UserError) as caught:
        read(**keys)  # type: ignore[arg-type]
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "splits", "language"),
    [
        ("en.csv", (), "en"),
        ("en_test.csv", ("test",), "en"),
        ("EN_dev.csv", ("dev",), None),
        ("train.zh-TW.CSV.GZ", ("train",), "zh-TW"),
        ("bn.reviews.csv", (), "bn"),
        ("sr_Latn-valid.jsonl", ("valid",), "sr_Latn"),
        ("Testing_Data.tsv", ("test",), None),
        ("trainset.csv", ("train",), None),
        ("validation_matched-00000-of-00001.parquet", ("validation",), None),
        ("train-00000-of-00002-0a1b2c3d.parquet", ("train",), None),
        ("en-00000-of-00002.parquet", (), "en"),
        ("test2.csv", ("test",), None),
        ("contest.csv", (), None),
        ("latest_reviews.csv", (), None),
        ("devtest.csv", (), None),
        ("train_dev.csv", ("train", "dev"), None),
        ("the_heldout.csv", ("heldout",), None),
    ],
)
def test_what_a_name_says(name: str, splits: tuple[str, ...], language: str | None) -> None:
    said = said_by(stem_of(name), SplitNames())
    assert (said.splits, said.language) == (splits, language)
    assert language_of(name) == language


class TestFolders:
    @pytest.mark.parametrize("dev", ["dev", "val", "valid", "validation", "Development"])
    def test_test_files_of_a_folder_are_not_trained_on(self, dev: str) -> None:
        lay("corpus/train.csv", f"corpus/{dev}.csv", "corpus/test.csv")
        found = read(train={"en": "corpus"})
        assert files(train={"en": "corpus"}) == {
            "train": ["corpus/train.csv"],
            "validation": [f"corpus/{dev}.csv"],
            "test": ["corpus/test.csv"],
        }
        (said,) = [line for line in found.warnings if "split by" in line]
        for part in ("train (train.csv)", f"validation ({dev}.csv)", "test (test.csv)"):
            assert part in said

    def test_a_hub_snapshot(self) -> None:
        lay(*(f"snap/data/train-0000{part}-of-00002.parquet" for part in (0, 1)))
        lay("snap/data/test-00000-of-00001.parquet", "snap/data/unsupervised-00000-of-00001.parquet")
        Path("snap/README.md").write_text("---\n---\n")
        Path("snap/dataset_infos.json").write_text("{}")
        found = files(train="snap", source_languages=["en"], made_splits={"validation": 0.2})
        assert found["test"] == ["snap/data/test-00000-of-00001.parquet"]
        assert found["train"] == [f"snap/data/train-0000{part}-of-00002.parquet" for part in (0, 1)]
        assert any(
            "no data.split_names has their split ('unsupervised' 6)" in line
            for line in read(train="snap", source_languages=["en"]).warnings
        )

    def test_a_missing_part_is_refused(self) -> None:
        lay("snap/train-00001-of-00002.parquet")
        assert "snap holds 1 of the 2 parts of train" in refused(train={"en": "snap"})

    def test_a_folder_per_language(self) -> None:
        lay("xnli/en/train.csv", "xnli/en/dev.csv", "xnli/en/test.csv", "xnli/bn/dev.csv", "xnli/bn/test.csv")
        data = read(train="xnli", source_languages=["en"])
        assert {name: split.language_names for name, split in data.splits.items()} == {
            "train": ["en"],
            "validation": ["bn", "en"],
            "test": ["bn", "en"],
        }

    def test_a_folder_per_split(self) -> None:
        lay("c/train/en.csv", "c/validation/en.csv", "c/test/en.csv", "c/test/bn.csv")
        data = read(train="c")
        assert data.source_languages == ["en"]
        assert data.splits["test"].language_names == ["bn", "en"]

    def test_the_key_takes_its_own_split(self) -> None:
        lay("corpus/train.csv", "corpus/dev.csv", "corpus/test.csv")
        assert files(train={"en": "corpus/train.csv"}, test={"en": "corpus"})["test"] == ["corpus/test.csv"]
        told: list[str] = []
        texts = read_evaluation_texts({"en": "corpus"}, Data(train="gone.csv"), ["a", "b"], on_warning=told.append)
        assert len(texts.splits["test"]) == 6
        assert "split by the names" in told[0]

    def test_the_check_shows_the_splits(self) -> None:
        lay("corpus/train.csv", "corpus/dev.csv", "corpus/test.csv")
        told: list[str] = []
        assert list(read_all(Data(train="corpus"), on_note=told.append).splits) == ["train", "validation", "test"]
        assert told

    def test_names_without_splits_count_whole(self) -> None:
        lay("corpus/en.csv", "corpus/bn.csv")
        assert files(train="corpus")["train"] == ["corpus/bn.csv", "corpus/en.csv"]

    @pytest.mark.parametrize(
        ("names", "words"),
        [
            (["train.csv", "extra.csv"], "train.csv says its split, extra.csv says none"),
            (["en.csv", "en_test.csv"], "en_test.csv says its split, en.csv says none"),
            (["train.csv", "devtest.csv"], "devtest.csv says none"),
            (["train.csv", "train_dev.csv"], "train_dev.csv says train and dev"),
            (["train.csv", "eval.csv"], "'eval', which may be validation or test"),
            (["train.csv", "heldout.csv"], "data.split_names.test=heldout"),
            (["test/train.csv", "train/x.csv"], "says test and train"),
            (["test.csv", "dev.csv"], "says by its name that it belongs to the split 'train'"),
        ],
    )
    def test_what_cannot_be_told_is_refused(self, names: list[str], words: str) -> None:
        lay(*(f"corpus/{name}" for name in names))
        assert words in refused(train={"en": "corpus"})

    def test_a_word_that_the_recipe_explains(self) -> None:
        lay("corpus/train.csv", "corpus/eval.csv")
        found = files(train={"en": "corpus"}, split_names={"validation": ["eval"]})
        assert found == {"train": ["corpus/train.csv"], "validation": ["corpus/eval.csv"]}

    def test_several_languages_under_one_key_are_refused(self) -> None:
        lay("c/en.csv", "c/bn.csv", "x/en/train.csv", "x/bn/train.csv")
        assert "several languages: bn, en" in refused(train={"en": "c"})
        assert "e.g. c/en.csv" in refused(train={"en": "c"})
        assert "e.g. x/en," in refused(train={"en": "x"})

    def test_folders_that_are_not_read_are_named(self) -> None:
        lay("corpus/en.csv", "corpus/old/en.csv")
        assert "the folder corpus/old is not read" in read(train="corpus").warnings[0]
        assert "Name a folder in it: corpus" in refused(train=".")


class TestNamedFiles:
    def test_a_file_named_by_language_and_split_is_of_that_language(self) -> None:
        lay("en.csv", "en_dev.csv", "en_test.csv", "bn_test.csv")
        data = read(train="en.csv", validation="en_dev.csv", test=["en_test.csv", "bn_test.csv"])
        assert data.source_languages == data.splits["validation"].language_names == ["en"]
        assert data.splits["test"].language_names == ["bn", "en"]
        assert len(data.splits["train"]) == 6, "nothing is cut off where validation texts are named"

    def test_the_key_decides_and_another_name_is_said(self) -> None:
        lay("en_test.csv")
        data = read(train="en_test.csv")
        assert set(data.splits) == {"train", "validation"}
        assert data.warnings[0] == "en_test.csv is read as data.train, which names it, though its name says 'test'"

    def test_a_file_named_beside_its_folder_is_read_once(self) -> None:
        Path("d").mkdir()
        Path("d/en.csv").write_text(as_csv(ROWS))
        assert sum(map(len, read(train=["d/en.csv", "d"]).splits.values())) == 60
