"""Whatever stands in columns of votes is read as votes, or refused in glotune's own words."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from glotune.data.coded_columns import encoded_names
from glotune.data.rows import CELL
from glotune.data.targets import VoteMap
from glotune.data.texts import LabelledTexts
from glotune.errors import UserError

cells = st.one_of(
    st.integers(-2, 9).map(str),
    st.floats().map(str),
    st.sampled_from(["", " ", "1e3", "0x1", "٣", "1_0", "½", "-0", "NaN", "inf", "1,5", "+2", "1e-400"]),
    st.text(st.characters(exclude_characters=CELL, exclude_categories=["Cs"]), max_size=4),
)


@settings(deadline=None)
@given(st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=6))
def test_votes_are_read_or_refused(rows: list[tuple[str, str, str]]) -> None:
    table = pa.table(
        {
            "label": pa.chunked_array([encoded_names(pa.array([CELL.join(row) for row in rows], pa.string()))]),
            "row": pa.array(range(1, len(rows) + 1), pa.int32()),
            "source": pa.array([0] * len(rows), pa.int16()),
        }
    )
    try:
        found = LabelledTexts(VoteMap({"a": ["x"], "b": ["y", "z"]}).apply(table, {0: "file.csv"}), "train")
    except UserError as error:
        said = str(error)
    else:
        said = ""
        check(found, len(rows))
    assert not said or "file.csv, row " in said


def check(found: LabelledTexts, size: int) -> None:
    assert found.votes is not None
    assert found.shares is not None
    assert np.isfinite(found.votes).all()
    assert (found.shares.sum(axis=1) > 0.99).all()
    assert (found.votes[np.arange(size), found.labels] == found.votes.max(axis=1)).all()
