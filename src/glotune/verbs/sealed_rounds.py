"""The rounds of self-training on disk, so that a run in rounds is resumed, watched and read like any other.

One training at a time uses the run directory as any run does. What it left there is sealed into ``rounds/N`` by one
rename, and the directory cleared for the next; at the end the best round's files are put back. What has been done
follows from the folders alone:

- ``rounds/N`` stands, and the manifest does not count it yet: clear the directory, then count it;
- it does not: the directory holds round N, which goes on from its newest checkpoint.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from glotune.data.coded_columns import strings_of
from glotune.data.unlabelled import UnlabelledTexts
from glotune.engine.fit import step_time
from glotune.run.directory import RunDirectory, write_atomically
from glotune.run.history import read_history
from glotune.run.record import Record
from glotune.run.records import Averaged, Change, Decision, Verdict
from glotune.run.teaching import Round
from glotune.whole_files import sync, whole_folder

OF_A_ROUND = ("events.jsonl", "data_profile.json", "metrics.json", "predictions", "model", "adapter")
"""What a training leaves in the run directory, beside checkpoints, which no round needs once it has ended, and cheap
models, which are fitted to the labelled texts once."""
WEIGHTS = ("model", "adapter")
LABELS, ENDED = "labels.parquet", "round.json"


class Ended(Record):
    """``rounds/N/round.json``: a round, and what the manifest said of its training."""

    round: Round
    changes: list[Change]
    best_step: int | None
    decision: Decision | None
    averaged: Averaged | None
    verdict: Verdict | None


def read_ended(directory: RunDirectory) -> list[Ended]:
    """The rounds that were sealed, in order."""
    found: list[Ended] = []
    while (file := directory.rounds / str(len(found)) / ENDED).is_file():
        found.append(Ended.model_validate_json(file.read_bytes()))
    return found


def read_labels(directory: RunDirectory, number: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Of a round: what its model says of the unlabelled texts, probabilities [U, C]; which it was trained on, [U]."""
    table = parquet.read_table(directory.rounds / str(number) / LABELS, columns=["probabilities", "trained"])
    flat = table["probabilities"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(table), -1), table["trained"].to_numpy()


def write_labels(
    path: Path, unlabelled: UnlabelledTexts, shares_UC: NDArray[np.float32], trained_S: NDArray[np.int64]
) -> None:
    """What the model of a round says of every unlabelled text, and which it was trained on."""
    found, trained_U = unlabelled.texts, np.zeros(len(unlabelled), bool)
    trained_U[trained_S] = True
    hashes = [unlabelled.sources[place].sha256 for place in found.table["source"].to_pylist()]
    columns = {
        "data_hash": pa.array(hashes, pa.string()),
        "row": found.table["row"],
        "language": pa.chunked_array(strings_of(found.table["language"]), pa.string()),
        "predicted": pa.array(shares_UC.argmax(axis=1).astype(np.int16)),
        "probabilities": pa.FixedSizeListArray.from_arrays(pa.array(shares_UC.reshape(-1)), shares_UC.shape[1]),
        "trained": pa.array(trained_U),
    }
    parquet.write_table(pa.table(columns), path)


def seal(directory: RunDirectory, kept: Round, write: Callable[[Path], None]) -> None:
    """Keeps what a training left as a round, at once or not at all; `write` adds what its model says of the texts."""
    manifest = directory.read_manifest()
    said = {name: getattr(manifest, name) for name in said_of(None)}
    directory.rounds.mkdir(exist_ok=True)
    with whole_folder(directory.rounds / str(kept.number)) as folder:
        linked(directory.path, folder)
        write(folder / LABELS)
        write_atomically(folder / ENDED, Ended(round=kept, **said).model_dump_json(indent=1) + "\n")
    sync(directory.rounds)


def put_back(directory: RunDirectory, number: int) -> None:
    """What a round left, in the run directory again."""
    clear(directory)
    linked(directory.rounds / str(number), directory.path)


def clear(directory: RunDirectory) -> None:
    """Takes away what a training left; its checkpoints first, so that no other training goes on from them."""
    for path in (directory.checkpoints, *(directory.path / name for name in OF_A_ROUND)):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def drop_weights(directory: RunDirectory, apart_from: Round | None = None) -> None:
    """Takes away the models of rounds that the run can't end with; their answers stay."""
    for name in WEIGHTS:
        for folder in directory.rounds.glob(f"*/{name}"):
            if apart_from is None or folder.parent.name != str(apart_from.number):
                shutil.rmtree(folder)


def linked(source: Path, target: Path) -> None:
    """What a training left, in another folder too; weights are not copied where the file system has hard links."""
    for name in OF_A_ROUND:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name, copy_function=_link)
        elif (source / name).is_file():  # events are appended to: a copy
            shutil.copy2(source / name, target / name)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def trained_of(directory: RunDirectory, wall: dict[str, float]) -> dict[str, Any]:
    """What the run directory says of the training that it holds, for its `Round`."""
    history, manifest = read_history(directory.events()), directory.read_manifest()
    return {
        "metric": str(history.best["metric"]),
        "value": history.value_of_end(manifest.averaged),
        "steps": history.steps[-1].step,
        "verdict": None if manifest.verdict is None else manifest.verdict.status,
        "wall": {"train_seconds": round(step_time(directory).seconds, 6), **wall},
    }


def said_of(ended: Ended | None) -> dict[str, Any]:
    """What the manifest says of a training; None: nothing yet."""
    if ended is None:
        return {"changes": [], "best_step": None, "decision": None, "averaged": None, "verdict": None}
    return {name: getattr(ended, name) for name in Ended.model_fields if name != "round"}
