"""The folder of a study: where its recipes, runs, results and report lie."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from glotune.errors import UserError
from glotune.recipe import yaml
from glotune.run import trials
from glotune.run.directory import write_atomically


class StudyDirectory:
    """Paths and small files of one study."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.study = self.path / "study.yaml"
        self.recipes = self.path / "recipes"
        self.runs = self.path / "runs"
        self.search = self.path / trials.FOLDER
        self.logs = self.path / "logs"
        self.folds = self.path / "folds"
        self.out_of_fold = self.path / "out_of_fold"
        self.results = self.path / "results.jsonl"
        self.report = self.path / "report"
        self.plan = self.path / "plan.json"
        self.lock = self.path / ".lock"

    def create(self) -> None:
        """Makes the folders.

        Raises:
            UserError: the place holds something else, or can't be written.
        """
        own = {path.name for path in vars(self).values() if path != self.path}
        foreign = self.path.exists() and not (
            self.path.is_dir() and {child.name for child in self.path.iterdir()} <= own
        )
        if foreign and not self.study.exists():
            raise UserError(
                f"{self.path} exists and is no study",
                expected="a new or empty folder, or that of a study to go on with",
                remedy="Name another one with --out",
            )
        try:
            for folder in (self.recipes, self.runs, self.logs):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"the study's folder {self.path} can't be written ({error.strerror or error})",
                expected="a place with write permission and free space",
                remedy="Name another one with --out",
            ) from error

    def write_study(self, content: dict[str, Any]) -> None:
        """Writes ``study.yaml``, every default written out."""
        write_atomically(self.study, yaml.dump(content))

    def append_result(self, result: dict[str, Any]) -> None:
        """Appends one line to ``results.jsonl``."""
        append_line(self.results, json.dumps(result, ensure_ascii=False))

    def read_results(self) -> dict[str, dict[str, Any]]:
        """Run name -> its last result; a torn line (a crash while writing) is skipped."""
        found: dict[str, dict[str, Any]] = {}
        if not self.results.exists():
            return found
        for line in self.results.read_bytes().splitlines():
            try:
                result = json.loads(line)
            except ValueError:
                continue
            if isinstance(result, dict) and isinstance(result.get("run"), str):
                found[result["run"]] = result
        return found


def append_line(path: Path, line: str) -> None:
    """Appends one line, in one write and alone, so that several processes and nodes may.

    A lock makes a network file system look where the file ends now.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)
