"""What does not fit into memory goes through a file and comes back the same."""

import tempfile
from pathlib import Path
from typing import Any, ClassVar

import pytest

from glotune.data import csv_files, jsonl_files, spilling
from glotune.errors import UserError
from made_files import ROWS, as_csv, as_jsonl, content, read


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class TestSpilling:
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
        monkeypatch.setattr(csv_files, "CHUNK", 9)
        monkeypatch.setattr(jsonl_files, "CHUNK", 7)
        pieced = read(**keys)
        monkeypatch.setattr(spilling, "LIMIT", 0)
        spilled = read(**keys)
        assert pieced.data_hash == held.data_hash
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
