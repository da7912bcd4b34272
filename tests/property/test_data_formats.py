"""Any text survives any format; any bytes give texts or one UserError, never another exception."""

import contextlib
import csv
import gzip
import io
import json
import tempfile
from pathlib import Path

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from glotune.data.cache import damage_of
from glotune.data.cutting import kept_positions, longest_first
from glotune.data.doctor import read_all
from glotune.data.spelling import is_blank
from glotune.errors import UserError
from glotune.recipe.schema import Data

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30).filter(
    lambda text: not is_blank(text)
)
ROWS = st.lists(TEXT, min_size=2, max_size=8)
_CSV = [b"text,label\n", b"text\tlabel\n", b"a,x\n", b"b,y\n", b'"', b",", b"\n", b"\r\n"]
_JSON = [b'{"text": "a", "label": "x"}\n', b'{"text": "b", "label": "y"}\n', b"{", b"[1]\n", b"\\ud800"]
_BYTES = [b"\0", b"\xff", b"\xe9", b"\xef\xbb\xbf", b"PAR1", b"\x1f\x8b"]
SCRAPS = st.sampled_from([*_CSV, *_JSON, *_BYTES])


def written(rows: list[dict[str, str]], path: Path) -> None:
    if path.suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(rows), path)
        return
    if path.suffix == ".jsonl":
        content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    else:
        file = io.StringIO()
        writer = csv.DictWriter(file, ["text", "label"], delimiter="\t" if ".tsv" in path.name else ",")
        writer.writeheader()
        writer.writerows(rows)
        content = file.getvalue()
    path.write_bytes(gzip.compress(content.encode()) if path.suffix == ".gz" else content.encode())


@given(ROWS, st.sampled_from(["en.csv", "en.tsv", "en.csv.gz", "en.jsonl", "en.parquet"]))
@settings(max_examples=150, deadline=None)
def test_any_text_comes_back(texts: list[str], name: str) -> None:
    rows = [{"text": text, "label": "ab"[i % 2]} for i, text in enumerate(texts)]
    with tempfile.TemporaryDirectory() as folder:
        written(rows, Path(folder, name))
        table = read_all(Data(train=str(Path(folder, name)), normalization="none")).splits["all"].table
    assert table["text"].to_pylist() == texts
    assert table["row"].to_pylist() == list(range(1, len(texts) + 1))


@given(
    st.lists(SCRAPS | st.binary(max_size=6), max_size=12),
    st.sampled_from([".csv", ".tsv", ".jsonl", ".parquet", ".csv.gz"]),
)
@settings(max_examples=300, deadline=None)
def test_any_bytes_give_texts_or_a_user_error(scraps: list[bytes], suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "en" + suffix)
        path.write_bytes(b"".join(scraps))
        for content in (path.read_bytes(), gzip.compress(path.read_bytes()) if suffix.endswith("gz") else b""):
            path.write_bytes(content)
            with contextlib.suppress(UserError):
                texts = read_all(Data(train=str(path)))
                assert sum(len(split) for split in texts.splits.values()) > 0


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 80))
def test_longest_first(first: int, second: int, budget: int) -> None:
    kept = longest_first(first, second, budget)
    assert kept[0] <= first
    assert kept[1] <= second
    assert sum(kept) == min(first + second, budget)
    if kept[0] < first and kept[1] < second:
        assert abs(kept[0] - kept[1]) <= 1


@given(st.integers(0, 40), st.integers(0, 40), st.integers(4, 50), st.sampled_from(["head", "head_tail"]))
def test_kept_positions(first: int, second: int, limit: int, strategy: str) -> None:
    owners = [None, *[0] * first, None, *[1] * second, None]
    kept = kept_positions(owners, limit, strategy)  # type: ignore[arg-type]
    assert len(kept) == min(len(owners), limit)
    assert kept == sorted(set(kept))
    assert [owners[i] for i in kept].count(None) == 3


@given(
    st.dictionaries(st.text(max_size=5), st.none() | st.integers() | st.lists(st.integers(), max_size=2), max_size=3)
    | st.binary()
)
@settings(deadline=None)
def test_no_manifest_is_trusted_by_chance(content: object) -> None:
    with tempfile.TemporaryDirectory() as folder:
        entry = Path(folder)
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        (entry / "cache.json").write_bytes(data)
        assert damage_of(entry, "key") is not None
