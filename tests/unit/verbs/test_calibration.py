from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from glotune.errors import UserError
from glotune.run.directory import RunDirectory, now
from glotune.run.records import Manifest, RunStatus
from glotune.verbs.calibrate import Calibration, calibrate, read_calibration


def make_run(path: Path, *, validation: dict[str, float], sources: list[str], classes: int = 2) -> RunDirectory:
    """A run whose validation predictions have a known temperature per language."""
    manifest = Manifest(
        name="demo", status=RunStatus.COMPLETE, created=now(), updated=now(), seed=0, recipe_hash="x",
        command=["glotune"], labels=[str(index) for index in range(classes)], source_languages=sources,
    )  # fmt: skip
    run = RunDirectory.create(path, "name: demo\n", manifest)
    run.predictions.mkdir()
    generator = np.random.default_rng(0)
    for language, temperature in validation.items():
        logits = generator.normal(size=(4000, classes)) * 2
        powers = np.exp(logits)
        labels = np.array([generator.choice(classes, p=row) for row in powers / powers.sum(axis=1, keepdims=True)])
        sharp = np.exp(logits * temperature)
        probabilities = sharp / sharp.sum(axis=1, keepdims=True)
        table = pa.table(
            {
                "data_hash": ["0" * 64] * len(labels),
                "row": pa.array(np.arange(1, len(labels) + 1, dtype=np.int32)),
                "label": pa.array(labels, pa.int16()),
                "predicted": pa.array(probabilities.argmax(axis=1), pa.int16()),
                "probabilities": list(probabilities),
                "loss": -np.log(probabilities[np.arange(len(labels)), labels]),
            }
        )
        pq.write_table(table, run.predictions / f"validation.{language}.parquet")
    return run


def test_the_temperature_is_found_on_source_languages(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", validation={"en": 2.0, "bn": 5.0}, sources=["en"], classes=3)
    found = calibrate(run)
    assert found.languages == ["en"]
    assert abs(found.temperature - 2.0) < 0.15
    assert found.ece_after < found.ece_before
    assert found.cross_fitted
    assert found.ece_floor < found.ece_before
    assert found.threshold is None
    assert read_calibration(run) == found


def test_without_a_source_language_all_count(tmp_path: Path) -> None:
    assert calibrate(make_run(tmp_path / "run", validation={"bn": 1.0, "ar": 1.0}, sources=["en"])).n == 8000


def test_a_threshold_decides_between_two_classes(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", validation={"en": 1.0}, sources=["en"])
    found = calibrate(run, "macro_f1")
    assert found.metric == "macro_f1"
    assert abs(found.metric_after - found.metric_before) < 0.02  # 1/2 is the best threshold of these texts
    assert found.threshold is not None
    probabilities = np.array([[1 - found.threshold, found.threshold], [1 - found.threshold / 2, found.threshold / 2]])
    assert found.answers(probabilities).tolist() == [1, 0]


def test_texts_that_have_weights_fit_by_them(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", validation={"en": 1.0}, sources=["en"])
    plain = calibrate(run, "accuracy")
    (path,) = run.prediction_files()
    table = pq.read_table(path)
    weights = np.where(table["label"].to_numpy() == 1, 4.0, 1.0)
    pq.write_table(table.append_column("weight", pa.array(weights, pa.float32())), path)
    found = calibrate(run, "accuracy")
    assert found.loss_before == pytest.approx(np.average(table["loss"].to_numpy(), weights=weights))
    right = table["label"].to_numpy() == table["predicted"].to_numpy()
    assert found.metric_before == pytest.approx(np.average(right, weights=weights))
    assert plain.threshold == pytest.approx(0.5, abs=0.1)
    assert found.threshold == pytest.approx(0.2, abs=0.1), "a text of the second class is worth four of the first"


def test_three_classes_have_no_threshold(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="two: a threshold decides"):
        calibrate(make_run(tmp_path / "run", validation={"en": 1.0}, sources=["en"], classes=3), "accuracy")
    assert not (tmp_path / "run" / "calibration.json").exists()


def test_a_run_without_validation_predictions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no validation predictions"):
        calibrate(make_run(tmp_path / "run", validation={}, sources=["en"]))


def test_a_missing_or_broken_calibration_names_the_remedy(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", validation={}, sources=["en"])
    with pytest.raises(UserError, match="glotune calibrate"):
        read_calibration(run)
    run.calibration.write_text("{}")
    with pytest.raises(UserError, match="Fit it anew"):
        read_calibration(run)


def test_calibrating_keeps_the_order_of_classes_without_a_threshold() -> None:
    calibration = Calibration(
        temperature=3.0, languages=["en"], n=1, loss_before=1, loss_after=1, ece_before=0, ece_after=0, created=now()
    )
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    calibrated = calibration.probabilities(probabilities)
    assert np.allclose(calibrated.sum(axis=1), 1)
    assert calibrated.max() < 0.7
    assert calibration.answers(calibrated).tolist() == [0, 2]
