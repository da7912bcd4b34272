"""One finished run as a row of a comparison: read from its small files alone, predictions only when asked for."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glotune.comparison.recipe_keys import Value, flat_keys, variant_key
from glotune.comparison.training_ends import TrainingEnds, read_ends
from glotune.errors import UserError
from glotune.records import Manifest, Verdict
from glotune.run_dir import RunDirectory

if TYPE_CHECKING:
    from glotune.metrics.arrays import Outcomes


@dataclass(frozen=True, eq=False)
class RunSummary:
    """One run. Scores are raw: shares in 0 .. 1, loss in nats per text."""

    directory: RunDirectory
    manifest: Manifest
    recipe: str
    """recipe.yaml as it stands."""
    variant: str
    """Equal for runs that differ in their seed alone."""
    metrics: dict[str, Any]
    _cache: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def path(self) -> Path:
        return self.directory.path

    @property
    def verdict(self) -> Verdict | None:
        return self.manifest.verdict

    @property
    def is_sound(self) -> bool:
        """Whether a comparison with this run means something."""
        return self.verdict is not None and self.verdict.is_sound

    def languages(self, split: str) -> list[str]:
        """Languages with scores on a split."""
        entries = self.metrics.get(split)
        return list(entries) if isinstance(entries, dict) else []

    def score(self, split: str, metric: str, languages: list[str]) -> float | None:
        """The plain mean of a metric over languages; None where one of them has none."""
        entries = self.metrics.get(split)
        if not isinstance(entries, dict) or not languages:
            return None
        values = [entries.get(language, {}).get(metric) for language in languages]
        return None if any(value is None for value in values) else float(sum(values) / len(values))

    def texts(self, split: str, languages: list[str]) -> int:
        """How many texts the scores stand on."""
        return sum(int(self.metrics.get(split, {}).get(language, {}).get("n") or 0) for language in languages)

    @cached_property
    def keys(self) -> dict[str, Value]:
        """The recipe as flat keys."""
        return flat_keys(self.recipe)

    @cached_property
    def ends(self) -> TrainingEnds:
        """Figures of the last epoch, from the end of the event file."""
        return read_ends(self.directory.events_path)

    def outcomes(self, split: str, language: str) -> Outcomes:
        """The predictions of one split and language, by source row.

        Raises:
            UserError: the run recorded none, or they can't be read.
        """
        key = f"{split}/{language}"
        if key not in self._cache:
            import numpy as np

            from glotune.metrics.arrays import outcomes
            from glotune.report.prediction_table import read_predictions

            path = self.directory.predictions / f"{split}.{language}.parquet"
            if not path.is_file():
                raise UserError(
                    f"{self.path} holds no predictions for {key}", remedy="Write them with: glotune evaluate"
                )
            table = read_predictions(path)
            order = np.argsort(table.row_B, kind="stable")
            self._cache[key] = outcomes(table.label_B[order], table.probabilities_BC[order], table.loss_B[order])
        found: Outcomes = self._cache[key]
        return found

    def test_fingerprint(self, split: str, languages: list[str]) -> str:
        """A hash over the texts that the scores stand on: language, row, label, and the text where it was kept."""
        key = f"fingerprint {split} {languages}"
        if key not in self._cache:
            self._cache[key] = _fingerprint(self.directory, split, languages)
        return str(self._cache[key])


def read_summary(run: RunDirectory | str | Path) -> RunSummary:
    """Reads the small files of a run.

    Raises:
        UserError: it is no run directory, or a file of it can't be read.
    """
    directory = run if isinstance(run, RunDirectory) else RunDirectory.open(run)
    try:
        recipe = directory.recipe.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{directory.recipe} can't be read ({error})") from error
    return RunSummary(directory, directory.read_manifest(), recipe, variant_key(recipe), directory.read_metrics())


def find_runs(folder: Path) -> list[RunDirectory]:
    """The run directories in a folder or one level below, sorted by path; the folder itself where it is a run."""
    if (folder / "manifest.json").is_file():
        return [RunDirectory(folder)]
    found = {path.parent for pattern in ("*/manifest.json", "*/*/manifest.json") for path in folder.glob(pattern)}
    return [RunDirectory(path) for path in sorted(found)]


def _fingerprint(directory: RunDirectory, split: str, languages: list[str]) -> str:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    digest = hashlib.sha256()
    for language in sorted(languages):
        path = directory.predictions / f"{split}.{language}.parquet"
        try:
            table = pq.read_table(path, columns=["row", "label", "text"]).sort_by("row")
        except (OSError, pa.ArrowException, KeyError) as error:
            raise UserError(
                f"{path} can't be read ({str(error).splitlines()[0]})",
                expected="the predictions of a finished run",
                remedy="Write them again with: glotune evaluate",
            ) from error
        digest.update(json.dumps([language, len(table)]).encode())
        for name in ("row", "label"):
            digest.update(np.ascontiguousarray(table.column(name).to_numpy(), dtype=np.int64).tobytes())
        texts = table.column("text").to_pylist()
        if all(text is not None for text in texts):
            digest.update("\0".join(texts).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
