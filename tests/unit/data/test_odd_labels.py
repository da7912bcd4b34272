"""Labels that are hardly meant as classes are told, and ordinary ones are not."""

import pytest

from glotune.data.label_names import odd_labels


def kinds(labels: list[str], rows: int = 50) -> list[str]:
    return [odd.kind for odd in odd_labels(dict.fromkeys(labels, rows))]


@pytest.mark.parametrize(
    "labels",
    [
        ["negative", "neutral", "positive"],
        ["0", "1", "2"],
        ["-1", "0", "1"],
        [str(i) for i in range(77)],
        ["Sci/Tech", "World", "Business"],
        ["n/a", "yes", "no", "none", "null"],
        ["ARTS", "STYLE", "STYLE & BEAUTY"],
        ["c", "c++", "java"],
    ],
)
def test_ordinary_labels(labels: list[str]) -> None:
    assert kinds(labels) == []


def test_scores_are_no_classes() -> None:
    (odd,) = odd_labels({f"{1 + i / 2:.1f}": 30 for i in range(9)})
    assert odd.kind == "numeric labels"
    assert "the 9 values is a class of its own" in odd.message
    assert "regression" in odd.message
    assert "single_label" in odd.message
    assert kinds([str(7 * i) for i in range(30)]) == ["numeric labels"]


def test_joined_labels_are_several() -> None:
    odd = odd_labels({"joy": 9, "anger": 8, "joy|anger": 2, "fear | joy": 1, "fear": 3})[0]
    assert odd.counts == {"joy|anger": 2, "fear | joy": 1}
    assert "multi-label" in odd.message
    assert "single_label" in odd.message
    assert kinds(["['joy']", "['anger']", "['joy', 'anger']"]) == ["joined labels"]


def test_a_class_per_row() -> None:
    assert kinds([f"id-{i}" for i in range(100)], rows=1) == ["nearly unique labels"]
    assert kinds([f"topic {i}" for i in range(150)], rows=5) == []


def test_a_word_for_no_value() -> None:
    assert kinds(["good", "bad", "nan"]) == ["missing labels"]
    assert kinds(["0", "1", "NaN"]) == ["missing labels"]


def test_case_variants() -> None:
    (odd,) = odd_labels({"Good": 2, "good": 30, "bad": 4})
    assert odd.counts == {"Good": 2, "good": 30}
    assert "'Good', 'good' look the same" in odd.message
