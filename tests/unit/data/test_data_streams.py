"""Pipes as data: read once, by content where the name says no format."""

import gzip
import os
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from glotune.data.doctor import read_all
from glotune.data.reading import read_evaluation_texts
from glotune.data.streams import refuse_streams
from glotune.errors import UserError
from glotune.recipe.schema import Data
from made_files import ROWS, as_csv, as_jsonl, content, piped, read


def as_parquet(folder: Path) -> bytes:
    parquet.write_table(pa.Table.from_pylist(ROWS), folder / "rows.parquet")
    return (folder / "rows.parquet").read_bytes()


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet", "csv.gz"])
@pytest.mark.parametrize("named", [False, True])
def test_a_pipe_gives_what_the_file_gives(tmp_path: Path, kind: str, named: bool) -> None:
    data = {
        "csv": as_csv(ROWS).encode(),
        "tsv": as_csv(ROWS, "\t").encode(),
        "jsonl": as_jsonl(ROWS).encode(),
        "csv.gz": gzip.compress(as_csv(ROWS).encode()),
    }.get(kind) or as_parquet(tmp_path)
    (tmp_path / f"en.{kind}").write_bytes(data)
    from_file = read(train=str(tmp_path / f"en.{kind}"))
    (tmp_path / "pipe").mkdir()
    with piped(data, tmp_path / "pipe" / (f"en.{kind}" if named else "63")) as pipe:
        found = read(train=str(pipe) if named else {"en": str(pipe)})
    assert content(found.splits["train"]) == content(from_file.splits["train"])
    assert found.sources[0].sha256 == from_file.sources[0].sha256
    assert any(f"data.train{'' if named else '.en'} is read from a pipe" in line for line in found.warnings)


def test_a_descriptor_of_the_shell_is_read(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"text,label\none,a\ntwo,b\n")
    os.close(writing)
    try:
        data = Data(train="gone.csv")
        texts = read_evaluation_texts({"bn": f"/dev/fd/{reading}"}, data, ["a", "b"])
    finally:
        os.close(reading)
    assert texts.splits["test"].labels.tolist() == [0, 1]


def test_the_check_reads_a_pipe(tmp_path: Path) -> None:
    with piped(as_csv(ROWS).encode(), tmp_path / "63") as pipe:
        assert len(read_all(Data(train=str(pipe))).splits["all"]) == 60


def test_the_row_of_a_fault_in_a_pipe_is_told(tmp_path: Path) -> None:
    found = pytest.raises(UserError, match=r"63, row 2: byte 17 \(0xFF\) is not UTF-8")
    with piped(b"text,label\none,a\n\xff,b\n", tmp_path / "63") as pipe, found:
        read(train={"en": str(pipe)})


@pytest.mark.parametrize("name", ["/dev/fd/63", "en.pipe"])
def test_what_reads_texts_again_refuses_pipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("en.pipe")
    with pytest.raises(UserError, match=rf"data\.train: {name} is a pipe, which a study can't read"):
        refuse_streams(Data(train={"en": ["en.csv", name]}), "a study")
