"""What a path holds that can be predicted with: a run, a saved text classifier or an export; and how it reads texts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from glotune.engine.onnx import GRAPH
from glotune.errors import UserError
from glotune.recipe import load_recipe
from glotune.recipe.kinds import TaskName
from glotune.recipe.paths import place_of
from glotune.recipe.schema import Data, Model
from glotune.run.directory import RunDirectory, require_classifier
from glotune.run.records import Decision, Plan
from glotune.verbs.calibrate import Calibration, read_calibration
from glotune.verbs.export.record import ExportRecord, read_export


@dataclass(frozen=True)
class Opened:
    """A place with a trained classifier. Weights are not loaded yet."""

    folder: Path
    """Holds configuration, tokenizer and weights."""
    labels: list[str] | None = None
    """Those that the model must have; None: whatever it says."""
    data: Data | None = None
    """How its texts were read; None: as the model's own files say."""
    plan: Plan | None = None
    """The plan of its run."""
    takes_pairs: bool | None = None
    """Whether it was trained on pairs; None where that is not known."""
    calibration: Calibration | None = None
    task: TaskName | None = None
    """That the model must be of; None: whatever it says."""
    decision: Decision | None = None
    """Of its run: how outputs become answers."""
    export: ExportRecord | None = None

    @property
    def model(self) -> Model:
        """As a recipe names it."""
        return Model(name=str(self.folder))

    @property
    def is_onnx(self) -> bool:
        """Whether ONNX Runtime computes it."""
        return (self.folder / GRAPH).is_file()


def open_place(path: str | Path, *, calibrated: bool = False) -> Opened:
    """Looks what there is.

    Args:
        path: a run directory, its ``model`` folder, a folder that ``glotune export`` wrote, or any other folder that
            transformers' text classification opens.
        calibrated: apply what ``glotune calibrate`` fitted.

    Raises:
        UserError: nothing there, or not calibrated.
        RunError: the run holds no model yet.
    """
    where = place_of(path)
    run = run_of(where)
    if run is not None:
        opened = _of_run(run)
        return replace(opened, calibration=read_calibration(run)) if calibrated else opened
    record = read_export(where)
    if calibrated and record is None:
        raise UserError(f"{path} is not a run, and only runs are calibrated", expected="a run directory, or its export")
    if calibrated and record is not None and record.calibration is None:
        raise UserError(
            f"{path} is the export of a run that was not calibrated",
            remedy="Calibrate the run with glotune calibrate, then export it again",
        )
    opened = Opened(where) if record is None else _of_export(where, record)
    return opened if calibrated else replace(opened, calibration=None)


def _of_run(run: RunDirectory) -> Opened:
    run.require_trained()
    manifest = run.read_manifest()
    recipe = load_recipe(run.recipe)
    takes_pairs = recipe.data.columns.text_pair is not None
    return Opened(
        run.require_model(),
        manifest.labels,
        recipe.data,
        manifest.plan,
        takes_pairs,
        task=manifest.task,
        decision=manifest.decision,
    )


def _of_export(folder: Path, record: ExportRecord) -> Opened:
    data = Data(
        train=str(folder),
        max_length=record.max_length,
        truncation=record.truncation,
        windows=record.windows,
        normalization="none",  # its tokenizer does it
        columns=record.columns,
        quoting=record.quoting,
    )
    return Opened(folder, record.labels, data, None, record.pairs, record.calibration, record.task, export=record)


def run_of(path: Path) -> RunDirectory | None:
    """The run that `path` is, or whose model folder it is; None for any other folder."""
    for folder in (path, path.parent if path.name == "model" else path):
        if (folder / "manifest.json").is_file():
            return RunDirectory(folder)
    require_classifier(path)
    return None
