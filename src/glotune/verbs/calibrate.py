"""A temperature and a threshold, fitted on validation predictions and kept beside the model, never inside it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from glotune.errors import UserError
from glotune.run.data import load_run
from glotune.run.directory import RunDirectory, now, write_atomically
from glotune.run.predictions import read_predictions
from glotune.run.record import Record
from glotune.stats.arrays import Answered, Outcomes, outcomes
from glotune.stats.calibration import chance_error
from glotune.stats.temperature import CrossFit, apply_temperature, cross_fit, fit_temperature, fit_threshold
from glotune.whole_files import sha256

ThresholdMetric = Literal["macro_f1", "accuracy", "mcc"]


class Calibration(Record):
    """``calibration.json``: how the probabilities of a run's model are to be read."""

    schema_version: int = 1
    temperature: float
    """Logits are divided by it."""
    threshold: float | None = None
    """Of two classes: the second is answered where its calibrated probability is at least this. None: the larger; where
    the run has thresholds of its own these decide as before, so that the answers stay."""
    metric: str | None = None
    """What the threshold maximises on the validation texts."""
    languages: list[str]
    """The validation languages that it was fitted on."""
    n: int
    loss_before: float
    loss_after: float
    ece_before: float
    """Expected calibration error."""
    ece_after: float
    ece_floor: float | None = None
    """What a perfectly calibrated model would show on so many texts, each counted once
    (`glotune.stats.calibration.chance_error`)."""
    metric_before: float | None = None
    """With the larger probability as the answer."""
    metric_after: float | None = None
    cross_fitted: bool = False
    """Whether what stands after the fit is of texts that did not fit it; otherwise it is of the very same texts."""
    reason: str | None = None
    """Why no temperature could be fitted (it is 1 then)."""
    predictions: dict[str, str] = Field(default_factory=dict)
    """Path inside the run -> SHA-256 of the prediction files that it was fitted on."""
    created: str

    def probabilities(self, probabilities_NC: NDArray[np.float64]) -> NDArray[np.float64]:
        """Calibrated probabilities."""
        return apply_temperature(probabilities_NC, self.temperature)

    def answers(self, probabilities_NC: NDArray[np.float64]) -> NDArray[np.int64]:
        """Class ids from calibrated probabilities."""
        if self.threshold is None:
            return probabilities_NC.argmax(axis=1)
        return (probabilities_NC[:, 1] >= self.threshold).astype(np.int64)


def calibrate(run: RunDirectory, threshold_metric: ThresholdMetric | None = None) -> Calibration:
    """Fits on the run's validation predictions and writes ``calibration.json``.

    The source languages' texts are used, so that targets stay zero-shot; those of all languages where the run has no
    validation texts in a source language.

    Args:
        threshold_metric: also fit a threshold that maximises this (two classes only); None: none.

    Raises:
        UserError: the run has no validation predictions, or others than it wrote; more than two classes for a
            threshold.
    """
    run.require_trained()
    found = {
        path.stem.partition(".")[2]: path for path in run.prediction_files() if path.stem.startswith("validation.")
    }
    if not found:
        raise UserError(
            f"{run.path} holds no validation predictions",
            expected="a finished run with a validation split",
            remedy="Give the recipe data.validation, or data.made_splits.validation above 0",
        )
    sources = [language for language in found if language in run.read_manifest().source_languages]
    languages = sources or sorted(found)
    fitted_on = [found[language] for language in languages]
    load_run(run).require_as_written(fitted_on)
    decision = run.read_manifest().decision
    if threshold_metric is not None and decision is not None and decision.thresholds:
        raise UserError(
            "this run has thresholds of its own, fitted with the run",
            expected="no --threshold",
            remedy="They are in manifest.json and in the model's config.json",
        )
    validation = _joined([_stated(read_predictions(path).outcomes) for path in fitted_on])
    fit = fit_temperature(validation)
    scaled = replace(validation, probabilities_BC=apply_temperature(validation.probabilities_BC, fit.temperature))
    threshold = fit_threshold(scaled, threshold_metric) if threshold_metric else None
    apart = cross_fit(validation, threshold_metric)
    in_sample = CrossFit(fit.loss_after, fit.ece_after, threshold.value if threshold else None)
    after = apart or in_sample
    calibration = Calibration(
        temperature=fit.temperature,
        threshold=threshold.threshold if threshold else None,
        metric=threshold.metric if threshold else None,
        languages=languages,
        n=validation.num_texts,
        loss_before=fit.loss_before,
        loss_after=after.loss,
        ece_before=fit.ece_before,
        ece_after=after.ece,
        ece_floor=chance_error(scaled),
        metric_before=threshold.value_at_half if threshold else None,
        metric_after=after.value,
        cross_fitted=apart is not None,
        reason=fit.reason,
        predictions={path.relative_to(run.path).as_posix(): sha256(path) for path in fitted_on},
        created=now(),
    )
    write_atomically(run.calibration, json.dumps(calibration.model_dump(mode="json"), indent=1) + "\n")
    return calibration


def read_calibration(run: RunDirectory) -> Calibration:
    """The calibration of a run; raises UserError where there is none or it can't be read."""
    if not run.calibration.is_file():
        raise UserError(f"{run.path} has no calibration", remedy=f"Fit one with: glotune calibrate {run.path}")
    try:
        return Calibration.model_validate_json(run.calibration.read_bytes())
    except ValidationError as error:
        raise UserError(
            f"{run.calibration} can't be read", remedy=f"Fit it anew with: glotune calibrate {run.path}"
        ) from error


def _stated(answered: Answered) -> Outcomes:
    """Answers with a confidence: of several labels each annotated one, yes or no."""
    found = answered.stated()
    if found is None:
        raise UserError(
            "this run answers scores, which state no probability",
            expected="a run whose answers have probabilities",
        )
    return found


def _joined(parts: list[Outcomes]) -> Outcomes:
    votes = [part.votes_BC for part in parts if part.votes_BC is not None]
    weights = [part.weight_B for part in parts if part.weight_B is not None]
    return outcomes(
        np.concatenate([part.label_B for part in parts]),
        np.concatenate([part.probabilities_BC for part in parts]),
        votes_BC=np.concatenate(votes) if votes else None,
        weight_B=np.concatenate(weights) if weights else None,
    )
