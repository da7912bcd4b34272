"""What `Classifier.fit` is given, as columns and keys: labels keep apart from what else a table of texts says."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from glotune.data.given_rows import given_rows
from glotune.errors import UserError
from glotune.recipe import load_recipe
from glotune.verbs.fit_inputs import read_target, table_of


@pytest.mark.parametrize("name", ["text", "language", "split", "weight"])
def test_a_label_may_be_called_as_a_column_that_says_something_else(name: str) -> None:
    given = pd.DataFrame({"sport": np.arange(40) % 2, name: np.arange(40) // 2 % 2})
    labels, meaning = read_target(given, {}, votes=False)
    classes, target = meaning(labels)
    assert classes.tolist() == ["sport", name]
    base = {"name": "x", "model": {"name": "any"}, "data": {"train": "rows"}}
    with given_rows(
        {"train": {"en": table_of([f"text {number}" for number in range(40)], target.columns, None)}}
    ) as rows:
        texts = rows.read(load_recipe(base, rows.keys, target.keys))
    assert texts.labels == ["sport", f"label {name}"]
    assert texts.splits["train"].language_names == ["en"]
    assert sum(len(split) for split in texts.splits.values()) == 40


def test_two_labels_of_one_name_are_refused() -> None:
    labels, meaning = read_target(pd.DataFrame([[1, 0], [0, 1]], columns=["joy", "joy"]), {}, votes=False)
    with pytest.raises(UserError, match="columns of one name: joy, joy"):
        meaning(labels)


def test_a_label_that_is_no_text_is_refused() -> None:
    labels, meaning = read_target(["good", "bad\ud83d"], {}, votes=False)
    with pytest.raises(UserError, match="half of a surrogate pair in the label"):
        meaning(labels)
