"""One finished run as a row of a comparison: read from its small files alone, predictions only when asked for."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glotune.errors import UserError
from glotune.evidence.recipe_keys import Value, flat_keys, variant_key
from glotune.evidence.training_ends import TrainingEnds, read_ends
from glotune.run.directory import RunDirectory
from glotune.run.records import Manifest, Verdict

if TYPE_CHECKING:
    from glotune.stats.arrays import Outcomes


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
        """The predictions of one split and language, by source file and row.

        Raises:
            UserError: the run recorded none, or they can't be read.
        """
        key = f"{split}/{language}"
        if key not in self._cache:
            from glotune.run.predictions import read_predictions
            from glotune.stats.arrays import outcomes

            path = self.directory.predictions / f"{split}.{language}.parquet"
            if not path.is_file():
                raise UserError(
                    f"{self.path} holds no predictions for {key}", remedy="Write them with: glotune evaluate"
                )
            table = read_predictions(path)
            order = table.order_B
            self._cache[key] = outcomes(table.label_B[order], table.probabilities_BC[order], table.loss_B[order])
        found: Outcomes = self._cache[key]
        return found

    def stands_on_same_texts(self, other: RunSummary, split: str, languages: list[str]) -> bool:
        """Whether the scores of two runs are about the same texts with the same labels.

        They are where every prediction is keyed by the same file and row, or else where all texts are kept and equal
        (the same texts in another file).
        """
        mine, others = self._fingerprint(split, languages), other._fingerprint(split, languages)
        return mine[0] == others[0] or (mine[1] is not None and mine[1] == others[1])

    def _fingerprint(self, split: str, languages: list[str]) -> tuple[str, str | None]:
        key = f"fingerprint {split} {languages}"
        if key not in self._cache:
            self._cache[key] = _fingerprint(self.directory, split, languages)
        found: tuple[str, str | None] = self._cache[key]
        return found


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


def _fingerprint(directory: RunDirectory, split: str, languages: list[str]) -> tuple[str, str | None]:
    """Hashes over (file, row, label) and over (text, label) of all languages; the second None where texts lack."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    keys, texts = hashlib.sha256(), hashlib.sha256()
    has_texts = True
    for language in sorted(languages):
        path = directory.predictions / f"{split}.{language}.parquet"
        try:
            table = pq.read_table(path, columns=["data_hash", "row", "label", "text", "text_pair"])
        except (OSError, pa.ArrowException, KeyError) as error:
            raise UserError(
                f"{path} can't be read ({str(error).splitlines()[0]})",
                expected="the predictions of a finished run",
                remedy="Write them again with: glotune evaluate",
            ) from error
        rows = sorted(zip(*(table.column(name).to_pylist() for name in ("data_hash", "row", "label")), strict=True))
        keys.update(json.dumps([language, rows]).encode())
        named = list(zip(*(table.column(name).to_pylist() for name in ("text", "text_pair", "label")), strict=True))
        has_texts = has_texts and all(text is not None for text, _, _ in named)
        texts.update(json.dumps([language, named]).encode())
    return keys.hexdigest(), texts.hexdigest() if has_texts else None
