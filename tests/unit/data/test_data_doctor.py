"""The data doctor: each finding on data made for it, the page, the exit code, the command."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoders import make_tokenizer
from glotune.cli.main import run as glotune
from glotune.data.doctor import Diagnosis, examine, read_all, render, write_page
from glotune.data.findings import Finding, flaws_of, is_odd, scripts_of
from glotune.data.near_duplicates import jaccard, near_duplicate_groups, shingles_of, skeleton
from glotune.errors import UserError
from glotune.recipe.schema import Data

SENTENCES = [
    "the quiet river runs behind the old mill",
    "a cook from the north opened a small shop",
    "nobody saw the blue bird on the roof today",
    "they painted every door in the long street",
    "winter came early and the lake froze over",
    "she keeps her letters in a wooden box",
    "the train to the coast leaves at seven",
    "his grandfather planted those three trees",
]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(rows: list[dict[str, str]], name: str = "en.jsonl") -> Data:
    Path(name).write_text("".join(json.dumps({"label": "ab"[i % 2], **row}) + "\n" for i, row in enumerate(rows)))
    return Data(train=name)


def clean() -> list[dict[str, str]]:
    return [{"text": text, "split": "train" if i < 6 else "test"} for i, text in enumerate(SENTENCES)]


def diagnose(data: Data, **options: Any) -> Diagnosis:
    return examine(read_all(data), data, **options)


def finding(diagnosis: Diagnosis, kind: str) -> Finding:
    return next(finding for finding in diagnosis.findings if finding.kind == kind)


def test_clean_data() -> None:
    diagnosis = diagnose(write(clean()))
    assert diagnosis.findings == []
    assert diagnosis.exit_code() == diagnosis.exit_code(strict=True) == 0
    assert diagnosis.splits["train"]["en"]["label_counts"] == {"a": 3, "b": 3}
    assert diagnosis.splits["test"]["en"]["rows"] == 2
    assert diagnosis.labels == ["a", "b"]


@pytest.mark.parametrize(
    ("added", "kind", "severity", "counts"),
    [
        ({"text": SENTENCES[2], "split": "test"}, "leaked rows", "problem", {"test/en": 1}),
        ({"text": SENTENCES[2], "split": "train"}, "repeated rows", "warning", {"train/en": 1}),
        ({"text": SENTENCES[2].upper() + " 7!", "split": "test"}, "near-leaked rows", "warning", {"test/en": 1}),
        ({"text": SENTENCES[2] + "...", "split": "train"}, "near-repeated rows", "note", {"train/en": 1}),
        ({"text": SENTENCES[1], "label": "a", "split": "train"}, "conflicting labels", "warning", {"train/en": 2}),
        ({"text": SENTENCES[1], "split": "train", "language": "de"}, "texts in two languages", "warning", None),
        ({"text": "погода была ужасная", "split": "test"}, "odd script", "note", {"test/en": 1}),
        ({"text": "cafe\u0301 au lait", "split": "train"}, "Unicode form", "note", {"train/en": 1}),
        ({"text": "broken \ufffd here", "split": "train"}, "replacement character", "warning", {"train/en": 1}),
        ({"text": "it\\u2019s odd", "split": "train"}, "escape", "note", {"train/en": 1}),
        ({"text": "salt &amp; pepper", "split": "train"}, "HTML entity", "note", {"train/en": 1}),
        ({"text": "a bell \u0007 rings", "split": "train"}, "control character", "warning", {"train/en": 1}),
        ({"text": " ", "split": "train"}, "unusable rows", "warning", {"en.jsonl": 1}),
        ({"text": "a rare one", "label": "c", "split": "train"}, "absent labels", "warning", {"test/en: c": 1}),
    ],
)
def test_findings(added: dict[str, str], kind: str, severity: str, counts: dict[str, int] | None) -> None:
    rows = [{**row, "language": "en"} for row in clean()]
    diagnosis = diagnose(write([*rows, {"language": "en", **added}]))
    found = finding(diagnosis, kind)
    assert found.severity == severity
    assert found.total == (sum(counts.values()) if counts else 2)
    assert counts is None or found.counts == counts
    assert diagnosis.exit_code() == (3 if severity == "problem" else 0)
    assert diagnosis.exit_code(strict=True) == (0 if severity == "note" else 3)


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (["1.0", "1.5", "2.0", "2.5"], "numeric labels"),
        (["joy", "anger", "joy|anger", "anger|joy"], "joined labels"),
        (["Good", "good", "bad", "BAD"], "labels that look the same"),
        (["good", "bad", "nan", "nan"], "missing labels"),
    ],
)
def test_odd_labels(labels: list[str], kind: str) -> None:
    rows = [{"text": text, "label": labels[i % 4]} for i, text in enumerate(SENTENCES)]
    diagnosis = diagnose(write(rows))
    assert finding(diagnosis, kind).severity == "warning"
    named = write(rows).model_copy(update={"labels": sorted(set(labels))})
    assert not [found for found in diagnose(named).findings if found.kind == kind]


def test_examples_show_the_row() -> None:
    diagnosis = diagnose(write([*clean(), {"text": SENTENCES[2], "split": "test"}]))
    example = finding(diagnosis, "leaked rows").examples[0]
    assert (example.split, example.language, example.row, example.text) == ("test", "en", 9, SENTENCES[2])
    assert diagnosis.shared_texts == {"en": 1}


def test_moved_label_shares() -> None:
    rows = [{"text": f"{text} {i}", "split": "train", "label": "ab"[i % 2]} for i, text in enumerate(SENTENCES * 3)]
    rows += [{"text": f"test {text}", "split": "test", "label": "a"} for text in SENTENCES]
    assert finding(diagnose(write(rows), similarity=1.0), "moved label shares").counts == {"test/en": 50}


def test_tokens() -> None:
    data = write([*clean(), {"text": " ".join(SENTENCES), "split": "train"}]).model_copy(update={"max_length": 60})
    tokenizer = make_tokenizer("bert")
    diagnosis = diagnose(data, tokenizer=tokenizer)
    entry = diagnosis.splits["train"]["en"]
    texts = [*SENTENCES[:6], " ".join(SENTENCES)]
    lengths = [len(tokenizer(text)["input_ids"]) for text in texts]
    assert entry["mean_tokens"] == pytest.approx(np.mean(lengths))
    assert entry["fertility"] == pytest.approx((sum(lengths) - 14) / sum(len(text.split()) for text in texts))
    assert entry["truncated_rows"] == 1
    assert finding(diagnosis, "truncation").counts == {"train/en": 1}
    assert diagnosis.notes == []


def test_files_without_split_or_language() -> None:
    data = write([{"text": text} for text in SENTENCES], "reviews.jsonl")
    diagnosis = diagnose(data)
    assert list(diagnosis.splits) == ["all"]
    assert list(diagnosis.splits["all"]) == ["und"]
    assert "the language of 8 rows, which stand under 'und'" in diagnosis.notes[0]
    assert "data.source_languages=[bn]" in diagnosis.notes[0]
    named = diagnose(data.model_copy(update={"source_languages": ["bn"]}))
    assert list(named.splits["all"]) == ["bn"]
    assert not any("und" in note for note in named.notes)


def test_other_split_names_stay() -> None:
    rows = [{"text": text, "split": ["dev", "extra"][i % 2]} for i, text in enumerate(SENTENCES)]
    assert list(read_all(write(rows)).splits) == ["validation", "extra"]


class TestNearDuplicates:
    def test_groups(self) -> None:
        texts = [*SENTENCES, SENTENCES[3] + "!!", "totally unlike the rest of these", SENTENCES[3].upper() + " 99"]
        groups = near_duplicate_groups(texts).tolist()
        assert groups == [*range(8), 3, 9, 3]

    def test_texts_without_letters_stand_alone(self) -> None:
        assert near_duplicate_groups(["123", "456", "!!", ""]).tolist() == [0, 1, 2, 3]

    def test_short_texts_need_to_be_equal(self) -> None:
        assert near_duplicate_groups(["yes", "no", "Yes!", "yep"]).tolist() == [0, 1, 0, 3]

    def test_nothing(self) -> None:
        assert near_duplicate_groups([]).tolist() == []

    @given(st.lists(st.sampled_from([*SENTENCES, *(text[4:] for text in SENTENCES), "x", ""]), max_size=12))
    def test_a_group_is_named_by_its_first_text(self, texts: list[str]) -> None:
        groups = near_duplicate_groups(texts)
        for index, group in enumerate(groups.tolist()):
            assert group <= index
            assert groups[group] == group

    @given(st.text(max_size=40), st.text(max_size=40))
    def test_equal_skeletons_share_all_shingles(self, first: str, second: str) -> None:
        same = skeleton(first) == skeleton(second)
        likeness = jaccard(shingles_of(skeleton(first)), shingles_of(skeleton(second)))
        assert 0 <= likeness <= 1
        assert not same or not skeleton(first) or likeness == 1


class TestWriting:
    @pytest.mark.parametrize(
        ("text", "script"),
        [
            ("hello", "Latin"),
            ("ভালো", "Bengali"),
            ("مرحبا", "Arabic"),
            ("привет", "Cyrillic"),
            ("你好", "Han"),
            ("かな", "Hiragana"),
            ("カナ", "Katakana"),
            ("안녕", "Hangul"),
            ("ሰላም", "Ethiopic"),
            ("สวัสดี", "Thai"),
        ],
    )
    def test_scripts(self, text: str, script: str) -> None:
        assert set(scripts_of(text)) == {script}

    def test_odd(self) -> None:
        assert is_odd("khub bhalo", ("Bengali",))
        assert not is_odd("খুব ভালো lol", ("Bengali",))
        assert not is_odd("123 :)", ("Bengali",))

    def test_flaws(self) -> None:
        assert flaws_of("plain & simple \\ text; \t\n") == []
        assert flaws_of("&#39; &quot; \\u00e9 \ufffd \x01") == [
            "replacement character",
            "escape",
            "HTML entity",
            "control character",
        ]


class TestPage:
    def page(self, added: str) -> str:
        rows = [*clean(), {"text": added, "split": "train"}, {"text": added, "split": "test"}]
        return render(diagnose(write(rows)), "en.jsonl")

    def test_hostile_text_is_inert(self) -> None:
        page = self.page("<script>alert(1)</script><img src=x onerror=alert(1)>")
        assert "<script" not in page
        assert "<img" not in page
        assert "&lt;script&gt;" in page

    def test_nothing_is_loaded(self) -> None:
        page = self.page("a text that stands twice")
        for mark in ("http://", "https://", "src=", "url(", "@import"):
            assert mark not in page

    def test_unwritable(self) -> None:
        diagnosis = diagnose(write(clean()))
        with pytest.raises(UserError, match="can't be written"):
            write_page(diagnosis, "en.jsonl", Path("nowhere/page.html"))


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            glotune(["data", "check", *arguments])
        code = caught.value.code
        out, err = capsys.readouterr()
        return (code if isinstance(code, int) else 0), out, err

    return call


class TestCommand:
    def test_clean(self, command: Any) -> None:
        write(clean())
        code, out, _ = command("en.jsonl")
        assert code == 0
        assert "train" in out

    def test_problems(self, command: Any) -> None:
        write([*clean(), {"text": SENTENCES[0], "split": "test"}])
        code, out, err = command("en.jsonl", "--page", "page.html", "--json", "found.json")
        assert code == 3
        assert "1 row has a text that stands in an earlier split too: test/en 1" in out
        assert "page.html" in err
        assert SENTENCES[0] in Path("page.html").read_text()
        found = json.loads(Path("found.json").read_text())
        assert found["findings"][0]["kind"] == "leaked rows"
        assert found["sources"][0]["rows"] == 9

    def test_many_labels_stand_below_each_other(self, command: Any) -> None:
        write([{"text": f"{SENTENCES[i % 8]} {i}", "label": f"{i % 41 / 10:.1f}"} for i in range(82)])
        code, out, _ = command("en.jsonl")
        assert code == 0
        lines = out.splitlines()
        assert lines[0].split()[:4] == ["split", "language", "rows", "words,"]
        assert lines[1].split()[:3] == ["all", "en", "82"]
        assert lines[2].split() == ["label", "rows"]
        assert lines[3].split() == ["0.0", "2"]
        assert "and 21 more labels    42" in out
        assert "warning  the labels are numbers ('0.0', '0.1', '0.2', '0.3', …)" in out

    def test_a_language_without_one_of_the_labels(self, command: Any) -> None:
        for language, columns in (("en", "joy,fear"), ("af", "joy,")):
            rows = [
                f"{text},{i % 2},{(i + 1) % 2 if columns == 'joy,fear' else ''}" for i, text in enumerate(SENTENCES)
            ]
            Path(f"{language}.csv").write_text("text,joy,fear\n" + "\n".join(rows) + "\n")
        keys = ["data.train.en=en.csv", "data.test.af=af.csv", "data.columns.labels=[joy,fear]"]
        code, out, err = command("emotions", *keys, "data.source_languages=[en]", "--page", "page.html")
        assert code in (0, 3), err
        assert re.search(r"test +af +8 +4 +–", out), out
        assert "<td>–</td>" in Path("page.html").read_text()

    def test_swallowed_rows(self, command: Any) -> None:
        rows = [f"{'ab'[i % 2]}\t{text}" for i, text in enumerate(SENTENCES)]
        rows[2], rows[5] = rows[2].replace("\t", '\t"'), rows[5] + '"'
        Path("en.tsv").write_text("label\ttext\n" + "\n".join(rows) + "\n")
        code, out, _ = command("en.tsv")
        assert code == 3
        assert "problem  1 row of en.tsv with a quoted field over several lines" in out
        assert "(row 3): a stray quote may have swallowed 3 rows" in out
        assert command("en.tsv", "data.quoting=none")[0] == 0

    def test_warnings_count_when_strict(self, command: Any) -> None:
        write([*clean(), {"text": SENTENCES[0], "split": "train"}])
        assert command("en.jsonl")[0] == 0
        assert command("en.jsonl", "--strict")[0] == 3

    def test_overrides(self, command: Any) -> None:
        Path("en.csv").write_text(
            "tweet,label\n" + "".join(f"{text},{'ab'[i % 2]}\n" for i, text in enumerate(SENTENCES))
        )
        assert command("en.csv", "data.columns.text=tweet")[0] == 0

    def test_named_splits_are_read_as_training_reads_them(self, command: Any) -> None:
        write([{"text": text} for text in SENTENCES])
        code, out, _ = command("en.jsonl", "data.test.en=en.jsonl")
        assert code == 3
        assert "8 rows have a text that stands in an earlier split too: test/en 8" in out
        code, _, err = command("en.jsonl", "data.test.bn=nowhere.csv")
        assert (code, "data.test.bn: there is no file nowhere.csv" in err) == (2, True)
        code, _, err = command("en.jsonl", "data.train.bn=bn.csv")
        assert (code, "a key sets data.train beside en.jsonl" in err) == (2, True)

    @pytest.mark.parametrize(
        ("columns", "cells", "keys", "shown"),
        [
            ("anger,joy", "{0},1", ["task=multi_label", "data.columns.labels=[anger,joy]"], "anger joy"),
            ("label", "{0}|x", ["task=multi_label", "data.columns.delimiter=|"], "0 1 x"),
            ("n,y", "{0},2", ["data.columns.votes={no: n, yes: y}"], "no yes"),
            ("label", "{0}", ["task=score"], "label"),
        ],
    )
    def test_labels_are_what_task_and_columns_say(
        self, command: Any, columns: str, cells: str, keys: list[str], shown: str
    ) -> None:
        rows = "".join(f"{text},{cells.format(i % 2)}\n" for i, text in enumerate(SENTENCES))
        Path("en.csv").write_text(f"text,{columns}\n{rows}")
        code, out, err = command("en.csv", *keys)
        assert code == 0, err
        assert out.splitlines()[0].split()[3:-6] == shown.split()

    def test_cells_that_training_refuses_are_refused(self, command: Any) -> None:
        Path("en.csv").write_text("text,joy,w\n" + "".join(f"{text},yes,-1\n" for text in SENTENCES))
        code, _, err = command("en.csv", "task=multi_label", "data.columns.labels=[joy]")
        assert (code, "en.csv, row 1: the value 'yes' in the column 'joy'" in err) == (2, True)
        keys = ["data.columns.label=joy", "data.labels=[yes, no]", "data.columns.weight=w"]
        code, _, err = command("en.csv", *keys)
        assert (code, "en.csv, row 1: the weight -1" in err) == (2, True)

    def test_recipe(self, command: Any) -> None:
        write(clean())
        Path("r.yaml").write_text("name: r\nmodel: {name: ./nowhere}\ndata: {train: en.jsonl}\n")
        Path("nowhere").mkdir()
        code, out, err = command("r.yaml")
        assert code == 0
        assert "validation" in out
        assert "Without tokens" in err

    def test_bad_file(self, command: Any) -> None:
        Path("en.csv").write_text("")
        code, _, err = command("en.csv")
        assert code == 2
        assert "en.csv is empty" in err
