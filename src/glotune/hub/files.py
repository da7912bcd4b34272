"""Which files of a run are published, and what each one says about the machine that made it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from glotune.errors import RunError, UserError
from glotune.hub.card import FIGURES, model_card
from glotune.hub.metadata import base_model
from glotune.hub.paths import public_path, public_recipe
from glotune.run.data import RunData, load_run
from glotune.run.directory import RunDirectory

PATH_KEYS = ("_name_or_path", "name_or_path", "base_model_name_or_path")
"""Keys of Hugging Face's configuration files that hold where a model was loaded from."""


@dataclass(frozen=True)
class Choice:
    """What goes beside model, tokenizer, card, recipe and scores."""

    adapter: bool = False
    """The adapter and its tokenizer instead of the whole model."""
    checkpoints: bool = False
    """To go on training elsewhere."""
    logs: bool = False
    """Events, log, manifest and report; the report page shows texts of the data."""
    license: str | None = None


@dataclass(frozen=True)
class Upload:
    """One file as it will lie in the repository."""

    name: str
    content: Path | bytes

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size


def uploads(run: RunDirectory, repository: str, choice: Choice) -> list[Upload]:
    """The files to publish, the card first.

    Raises:
        UserError: no adapter, or one that nobody else could load.
        RunError: the run has no saved model or no verdict yet.
    """
    folder = run.require_model()
    data = load_run(run)
    card = model_card(run, repository, adapter=choice.adapter, license=choice.license)
    found = [Upload("README.md", str(card).encode()), Upload("recipe.yaml", public_recipe(data.recipe_yaml).encode())]
    if choice.adapter:
        found += [_made_public(path, path.name, data) for path in _files(_adapter_of(data)) if path.name != "README.md"]
        found += [_made_public(path, path.name, data) for path in _files(folder) if _is_tokenizer(path)]
    else:
        found += [_made_public(path, path.name, data) for path in _files(folder) if path.name != "README.md"]
    found += [Upload(path.name, path) for path in (run.metrics_path, run.calibration) if path.is_file()]
    for name in FIGURES:
        picture = run.report / "figures" / f"{name}.png"
        if picture.is_file():
            found.append(Upload(f"figures/{name}.png", picture))
    if choice.checkpoints:
        found += _below(run.checkpoints, "checkpoints")
    if choice.logs:
        logs = (run.manifest_path, run.events_path, run.log, run.data_profile)
        found += [Upload(f"logs/{path.name}", path) for path in logs if path.is_file()]
        found += _below(run.report, "report")
    return found


def _adapter_of(data: RunData) -> Path:
    folder = data.directory.adapter
    if not (folder / "adapter_config.json").is_file():
        raise UserError(f"{data.directory.path} has no adapter", remedy="Push the whole model: leave --adapter out")
    if data.manifest.needs_code:
        raise UserError(
            f"the head of {data.directory.path} reads the mean of all tokens: PEFT would load its adapter under one "
            "that reads the first, and answer otherwise",
            remedy="Push the whole model, with the adapter merged: leave --adapter out",
        )
    base = base_model(data)
    cut = any(change.kind == "truncate" for change in data.manifest.changes)
    if base is None or cut:
        what = f"{base} with some layers left out" if base else "an encoder that is not on the Hub"
        raise UserError(
            f"the adapter of {data.directory.path} is for {what}: nobody else could load it",
            remedy="Push the whole model, with the adapter merged: leave --adapter out",
        )
    return folder


def _is_tokenizer(path: Path) -> bool:
    return path.name.startswith(("tokenizer", "special_tokens", "vocab", "sentencepiece", "merges", "added_tokens"))


def _made_public(path: Path, name: str, data: RunData) -> Upload:
    """A configuration without the folders of this machine; every other file as it is."""
    if path.suffix != ".json" or path.stat().st_size > 1_000_000:
        return Upload(name, path)
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise RunError(f"{path} is not JSON ({error}); the model was not saved whole") from error
    if not isinstance(content, dict) or not any(key in content for key in PATH_KEYS):
        return Upload(name, path)
    base = base_model(data)
    for key in PATH_KEYS:
        if isinstance(content.get(key), str):
            content[key] = base or public_path(content[key])
    return Upload(name, (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode())


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith("."))


def _below(folder: Path, name: str) -> list[Upload]:
    if not folder.is_dir():
        return []
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    inside = [(path, path.relative_to(folder).as_posix()) for path in paths]
    return [Upload(f"{name}/{place}", path) for path, place in inside if not place.startswith(".")]
