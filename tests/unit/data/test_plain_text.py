from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from glotune.data.held_out import text_keys
from glotune.data.plain_text import PlainTexts, read_plain_texts
from glotune.errors import UserError
from glotune.recipe.pretrain import PretrainData
from made_files import piped
from made_pairs import pair_file, pairs, write


def read(from_scratch: bool = False, **data: Any) -> PlainTexts:
    data.setdefault("held_out", {"pairs": 5})
    return read_plain_texts(PretrainData.model_validate(data), from_scratch=from_scratch, seed=0)


def refusal(from_scratch: bool = False, **data: Any) -> str:
    with pytest.raises(UserError) as caught:
        read(from_scratch, **data)
    return str(caught.value)


def test_pairs_are_split_and_no_held_out_text_is_trained_on(tmp_path: Path) -> None:
    texts = read(pairs=str(pair_file(tmp_path)), from_scratch=True)
    assert texts.languages == ["aa", "bb", "en"]
    assert len(texts.held_pairs) == 10
    held = {*text_keys(texts.held_pairs["text"]), *text_keys(texts.held_pairs["text_pair"])}
    trained = {*text_keys(texts.pairs["text"]), *text_keys(texts.pairs["text_pair"])}
    assert not held & trained


def test_training_rows_that_share_a_held_out_text_are_dropped_and_counted(tmp_path: Path) -> None:
    rows = pairs("aa", 60)
    shouted = [{**row, "text": f" {row['text'].upper()}"} for row in rows]
    texts = read(pairs=str(write(tmp_path / "p.csv", [*rows, *shouted])))
    assert len(texts.held_pairs) == 5
    assert len(texts.pairs) <= 110
    assert any(line.startswith("5 training rows dropped") for line in texts.warnings)


def test_held_out_pairs_of_a_language_are_all_different(tmp_path: Path) -> None:
    texts = read(pairs=str(pair_file(tmp_path)))
    for language in ("aa", "bb"):
        own = texts.held_pairs.filter([value == language for value in texts.held_pairs["language"].to_pylist()])
        assert len(set(text_keys(own["text"]))) == len(set(text_keys(own["text_pair"]))) == 5


def test_same_seed_same_rows(tmp_path: Path) -> None:
    path = str(pair_file(tmp_path))
    assert read(pairs=path).data_hash == read(pairs=path).data_hash


def test_json_lines_need_no_labels(tmp_path: Path) -> None:
    path = tmp_path / "bn.jsonl"
    path.write_text("".join(f'{{"text": "text {i}"}}\n' for i in range(20)) + '{"text": "\\u200b"}\n', encoding="utf-8")
    texts = read(text=str(path))
    assert len(texts.texts) + len(texts.held_texts) == 20
    assert texts.warnings[0].startswith(f"1 rows of {path} skipped: empty text")


def test_quotes_that_mean_nothing(tmp_path: Path) -> None:
    path = tmp_path / "bn.tsv"
    path.write_text('id\ttext\n1\tone\n2\t"two\n3\tthree"\n4\tfour\n', encoding="utf-8")
    swallowed = read(text=str(path))
    assert "a stray quote may have swallowed 1 row" in swallowed.warnings[0]
    texts = read(text=str(path), quoting="none")
    assert sorted(texts.texts["text"].to_pylist() + texts.held_texts["text"].to_pylist()) == [
        '"two', "four", "one", 'three"',
    ]  # fmt: skip


def test_line_files_by_name_and_by_key(tmp_path: Path) -> None:
    (tmp_path / "bn.txt").write_text("ami\n\ntumi\nshe\n", encoding="utf-8")
    with gzip.open(tmp_path / "corpus.txt.gz", "wt", encoding="utf-8") as file:
        file.write("one\ntwo\nthree\n")
    texts = read(text=str(tmp_path / "bn.txt"))
    assert texts.languages == ["bn"]
    assert len(texts.texts) == 2
    assert len(texts.held_texts) == 1
    both = read(text={"bn": str(tmp_path / "bn.txt"), "en": [str(tmp_path / "corpus.txt.gz")]}, from_scratch=True)
    assert both.languages == ["bn", "en"]


def test_only_training_rows_of_a_labelled_file_are_read(tmp_path: Path) -> None:
    rows = [
        {"text": f"text {number}", "label": "x", "split": split}
        for number, split in enumerate(["train"] * 6 + ["test"] * 4)
    ]
    texts = read(text={"en": str(write(tmp_path / "en.csv", rows))})
    assert len(texts.texts) + len(texts.held_texts) == 6


def test_empty_text_file(tmp_path: Path) -> None:
    (tmp_path / "en.txt").write_text("\n \n")
    assert "holds no text" in refusal(text=str(tmp_path / "en.txt"))


def test_empty_csv(tmp_path: Path) -> None:
    (tmp_path / "en.csv").write_text("text\n")
    assert "no data rows" in refusal(text=str(tmp_path / "en.csv"))


def test_one_language_from_scratch(tmp_path: Path) -> None:
    (tmp_path / "bn.txt").write_text("a b\nc d\ne f\n")
    message = refusal(text=str(tmp_path / "bn.txt"), from_scratch=True)
    assert "one language, 'bn'" in message
    assert "model.name=glotune-nano" in message


def test_pairs_in_one_language(tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.csv", pairs("en", 40))
    assert "both sides of the pairs are in 'en'" in refusal(pairs=str(path))


def test_pairs_with_the_same_text_twice(tmp_path: Path) -> None:
    rows = [{"language": "aa", "text": f"w{number}", "english": f"w{number}"} for number in range(60)]
    assert "same text on both sides" in refusal(pairs=str(write(tmp_path / "p.csv", rows)))


def test_a_pair_file_without_its_second_column(tmp_path: Path) -> None:
    rows = [{"language": "aa", "text": "w", "englsh": "w"}]
    message = refusal(pairs=str(write(tmp_path / "p.csv", rows)))
    assert "no column 'english'" in message
    assert "data.columns.text_pair" in message
    assert "englsh" in message


def test_a_pair_file_whose_second_column_is_empty(tmp_path: Path) -> None:
    rows = [{"language": "aa", "text": f"w{number}", "english": ""} for number in range(5)]
    message = refusal(pairs=str(write(tmp_path / "p.csv", rows)))
    assert "empty text_pair" in message
    assert "data.columns.text_pair" in message
    assert "label" not in message


def test_rows_with_a_missing_side_are_counted(tmp_path: Path) -> None:
    rows = [*pairs("aa", 60), {"language": "aa", "text": "banu", "english": " "}]
    texts = read(pairs=str(write(tmp_path / "p.csv", rows)))
    assert any("1 rows of" in line and "empty text_pair" in line and "61" in line for line in texts.warnings)


def test_a_line_file_as_pairs(tmp_path: Path) -> None:
    (tmp_path / "aa.txt").write_text("a\nb\n")
    assert "no second column" in refusal(pairs=str(tmp_path / "aa.txt"))


def test_a_line_file_of_no_known_language(tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text("a\nb\n")
    assert "language of" in refusal(text=str(tmp_path / "corpus.txt"))


def test_a_byte_order_mark_is_no_part_of_the_first_text(tmp_path: Path) -> None:
    (tmp_path / "en.txt").write_text("first\nsecond \ufeff here\nthird\n", encoding="utf-8-sig")
    found = read(text=str(tmp_path / "en.txt"))
    texts = [*found.texts["text"].to_pylist(), *found.held_texts["text"].to_pylist()]
    assert sorted(texts) == ["first", "second \ufeff here", "third"]
    (tmp_path / "en.txt").write_bytes(b"\xef\xbb\xbfbr\xfcchig\n")
    assert "byte 5 (0xFC)" in refusal(text=str(tmp_path / "en.txt"))


def test_a_line_file_that_is_not_utf8_names_the_row(tmp_path: Path) -> None:
    (tmp_path / "en.txt").write_bytes(b"fine\nbr\xfcchig\n")
    message = refusal(text=str(tmp_path / "en.txt"))
    assert "row 2" in message
    assert "byte 7" in message


def test_a_missing_line_file_suggests_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "en.txt").write_text("a\n")
    assert "en.txt'?" in refusal(text=str(tmp_path / "eng.txt"))


def test_an_unknown_held_out_language(tmp_path: Path) -> None:
    message = refusal(pairs=str(pair_file(tmp_path)), held_out={"pairs": 5, "languages": ["ab"]})
    assert "no pairs in 'ab'" in message


def test_too_few_pairs_to_hold_out(tmp_path: Path) -> None:
    message = refusal(pairs=str(pair_file(tmp_path, 12)), held_out={"pairs": 10, "languages": ["aa"]})
    assert "at least 20" in message


def test_nothing_to_judge_by(tmp_path: Path) -> None:
    message = refusal(pairs=str(pair_file(tmp_path, 12)), held_out={"pairs": 10})
    assert "nothing can be held out" in message


def test_only_the_training_files_of_a_folder_are_read(tmp_path: Path) -> None:
    for split in ("train", "dev", "test"):
        write(tmp_path / f"bn_{split}.csv", [{"text": f"{split} {number}"} for number in range(10)])
    texts = read(text=str(tmp_path))
    assert texts.languages == ["bn"]
    assert {text.split()[0] for text in [*texts.texts["text"].to_pylist(), *texts.held_texts["text"].to_pylist()]} == {
        "train"
    }
    (tmp_path / "bn_train.csv").unlink()
    assert "is for training" in refusal(text=str(tmp_path))


def test_plain_text_files_in_a_folder_are_read_beside_tables(tmp_path: Path) -> None:
    write(tmp_path / "en.csv", [{"text": f"a line {number}"} for number in range(3)])
    (tmp_path / "de.txt").write_text("eine zeile\nnoch eine\nund eine\n")
    (tmp_path / "README.txt").write_text("what lies here\n")
    (tmp_path / "bn").mkdir()
    with gzip.open(tmp_path / "bn" / "corpus.TXT.gz", "wt", encoding="utf-8") as file:
        file.write("ami\ntumi\n")
    found = read(text=str(tmp_path))
    assert {language: len(texts) for language, texts in found.by_language().items()} == {"bn": 1, "de": 2, "en": 2}
    assert [Path(source.path).name for source in found.sources] == ["de.txt", "corpus.TXT.gz", "en.csv"]
    assert "the names in" in refusal(text={"de": str(tmp_path)})
    (tmp_path / "corpus.txt").write_text("of what language?\n")
    assert "the language of" in refusal(text=str(tmp_path))


def test_a_folder_of_plain_text_files_alone_is_read_by_its_names(tmp_path: Path) -> None:
    for split in ("train", "dev"):
        (tmp_path / f"bn_{split}.txt").write_text(f"{split} one\n{split} two\n{split} three\n")
    for named in (str(tmp_path), {"bn": str(tmp_path)}):
        texts = read(text=named)
        assert {text.split()[0] for text in texts.by_language()["bn"]} == {"train"}


def test_a_pipe_holds_one_text_per_line(tmp_path: Path) -> None:
    with piped(b"ami\n\ntumi\nshe\n", tmp_path / "texts") as pipe:
        texts = read(text={"bn": str(pipe)})
    assert len(texts.texts) + len(texts.held_texts) == 3
    assert any("from a pipe" in line for line in texts.warnings)
    with piped(b'{"text": "ami"}\n', tmp_path / "objects") as pipe:
        assert "holds JSON lines" in refusal(text={"bn": str(pipe)})


def test_line_files_say_their_language_beside_their_split(tmp_path: Path) -> None:
    (tmp_path / "bn_train.TXT").write_text("ami\ntumi\nshe\n")
    assert read(text=str(tmp_path / "bn_train.TXT")).languages == ["bn"]
