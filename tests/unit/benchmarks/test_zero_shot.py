"""The benchmark against Trainer on real weights: both sides on a tiny encoder, and the table that it prints."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from benchmarks import zero_shot
from benchmarks.speed.world import LABELS, LANGUAGES

from encoders import make_encoder
from small_runs import sentences


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Made texts in the place of UMSAB's."""
    folder = tmp_path / "umsab"
    folder.mkdir()
    for number, language in enumerate(LANGUAGES):
        with (folder / f"{language}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["text", "label", "language", "split"])
            writer.writeheader()
            for index, row in enumerate(sentences("en" if number % 2 else "es", 48, number)):
                split = "train" if index < 32 else "val" if index < 40 else "test"
                text = f"{row['text']} {language}"
                writer.writerow({"text": text, "label": LABELS[index % 3], "language": language, "split": split})
    return tmp_path


@pytest.mark.extras
def test_both_sides_answer_every_test_text(data: Path, tmp_path: Path) -> None:
    encoder = make_encoder(tmp_path / "encoder", "bert")
    shown = zero_shot.run(data, encoder, seeds=2, threads=1, out=tmp_path / "found.json")
    assert shown == zero_shot.run(data, encoder, seeds=2, threads=1, out=tmp_path / "found.json")
    assert "| mean of the five others |" in shown
    assert "2 seeds." in shown


@pytest.mark.extras
def test_the_same_steps_give_the_same_answers(data: Path, tmp_path: Path) -> None:
    encoder = make_encoder(tmp_path / "encoder", "bert")
    shown = zero_shot.run(data, encoder, seeds=2, threads=1, out=tmp_path / "found.json", same_steps=True)
    pair = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))["0"]
    for language in LANGUAGES:
        ours, theirs = (np.array(pair[side]["probabilities"][language]) for side in ("glotune", "trainer"))
        assert np.ptp(ours, axis=0).max() > 0.01  # the texts do not all get one answer
        np.testing.assert_allclose(ours, theirs, atol=0.01)
    assert "answered alike: 100.0 %" in shown


def test_the_claim_is_about_the_languages_without_labels() -> None:
    """Trainer is far better in English and no better elsewhere: that refutes nothing."""
    rng = np.random.default_rng(0)
    gold = {language: rng.integers(0, 3, 3000).tolist() for language in LANGUAGES}

    def answers(right: float, english: float, seed: int) -> dict[str, object]:
        drawn = np.random.default_rng(seed)
        found = {}
        for language, labels in gold.items():
            share = english if language == "en" else right
            wrong = drawn.random(3000) > share
            answered = np.where(wrong, (np.array(labels) + 1) % 3, labels)
            found[language] = np.eye(3)[answered].tolist()
        return {"probabilities": found, "seconds": 10.0, "peak_memory_bytes": 2}

    def pair(own: float, seed: int) -> dict[str, object]:
        slow = {"seconds": 25.0, "peak_memory_bytes": 4}
        return {"glotune": answers(own, 0.5, seed), "trainer": {**answers(0.8, 0.9, seed), **slow}}

    held = zero_shot.tables([pair(0.82, seed) for seed in range(4)], gold)
    assert "Not inferior by 1 point: supported, 4 seeds." in held
    assert "median 2.50" in held
    assert "glotune's over Trainer's: 0.50" in held
    assert "Not inferior by 1 point: not supported" in zero_shot.tables([pair(0.7, seed) for seed in range(4)], gold)
