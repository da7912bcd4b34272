"""One-class scores on the label shares of a real set."""

import csv
import gzip
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from glotune.evidence.collapse import collapsed_from_published
from glotune.stats.arrays import outcomes
from glotune.stats.scores import score_outcomes


@pytest.mark.real_data
@pytest.mark.skipif("GLOTUNE_TEST_DATA" not in os.environ, reason="GLOTUNE_TEST_DATA names no folder")
def test_a_collapse_on_the_bangla_data_is_recognised_by_its_label_shares():
    path = Path(os.environ["GLOTUNE_TEST_DATA"]) / "blp23_bangla" / "bn.csv.gz"
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        counted = Counter((row["split"], row["label"]) for row in csv.DictReader(file))
    for split in {split for split, _ in counted}:
        support = [count for (known, _), count in sorted(counted.items()) if known == split]
        shares = [count / sum(support) for count in support]
        labels = np.repeat(np.arange(3), support)
        scores = score_outcomes(outcomes(labels, np.eye(3)[np.full(len(labels), int(np.argmax(support)))]))
        assert collapsed_from_published(scores.accuracy, [scores.macro_f1, scores.weighted_f1], 3, shares)
