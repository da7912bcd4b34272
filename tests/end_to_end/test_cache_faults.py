"""A cache that is full, corrupt, half-written or of other weights changes no number: it is seen and rebuilt."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from encoders import TEXTS, make_encoder
from glotune.evidence.equality import OWN_TO_AN_ATTEMPT, differences
from glotune.verbs.train import Run, train
from small_runs import WORDS, sentences, small_recipe

Damage = Callable[[Path, Path], None]
"""Does harm to an entry, given another one of the same kind with other content."""


def flip(entry: Path, other: Path) -> None:
    """One bit of the content."""
    file = content_of(entry)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def cut(entry: Path, other: Path) -> None:
    """What a crash of the machine leaves of a file."""
    file = content_of(entry)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def without_end(entry: Path, other: Path) -> None:
    """Files without the manifest that is written last."""
    (entry / "cache.json").unlink()


def of_others(entry: Path, other: Path) -> None:
    """Whole in itself, but computed from other weights or texts."""
    shutil.rmtree(entry)
    shutil.copytree(other, entry)


DAMAGES = [flip, cut, without_end, of_others]


def content_of(entry: Path) -> Path:
    return max(entry.glob("*.bin"), key=lambda file: file.stat().st_size)


def entries(kind: str, cache: Path) -> list[Path]:
    return sorted(cache.glob("prefix-*" if kind == "prefix" else "tokens/*"))


class Made:
    """The same recipe again and again, over one cache."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.cache = cache
        self.recipe = small_recipe(folder, model__freeze={"embeddings": True, "layers": 1}, train__batch_size=4)
        self.folder, self.count = folder, 0

    def run(self, encoder: Path | None = None) -> Run:
        self.count += 1
        model = {"model.name": str(encoder)} if encoder else {}
        return train(self.recipe, model, out=self.folder / f"run{self.count}", report=False, command=[])


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    monkeypatch.setenv("GLOTUNE_CACHE", str(tmp_path / "own"))
    return Made(tmp_path, tmp_path / "own")


def assert_same(first: Run, second: Run) -> None:
    assert differences(first.directory, second.directory, apart_from=(*OWN_TO_AN_ATTEMPT, "warning")) == []


def warnings_of(run: Run) -> list[str]:
    return [event.data["message"] for event in run.directory.events() if event.kind == "warning"]


@pytest.mark.parametrize("kind", ["prefix", "tokens"])
@pytest.mark.extras
def test_damage_is_rebuilt_and_changes_nothing(made: Made, kind: str) -> None:
    first = made.run()
    whole = entries(kind, made.cache)
    made.run(make_other_encoder(made.folder / "other"))
    others = [entry for entry in entries(kind, made.cache) if entry not in whole] or [*whole[1:], whole[0]]
    kept = [shutil.copytree(entry, made.folder / "kept" / entry.name) for entry in others]
    assert len(whole) == len(kept) >= 2
    for damage in DAMAGES:
        for entry, foreign in zip(whole, kept, strict=True):
            damage(entry, foreign)
        again = made.run()
        assert_same(first, again)
        told = [line for line in warnings_of(again) if "rebuilt" in line]
        assert len(told) == len(whole), (damage.__name__, told)
    assert not warnings_of(made.run()), "and whole again"


def make_other_encoder(folder: Path) -> Path:
    """The same tokenizer, other weights."""
    texts = [row["text"] for language in WORDS for row in sentences(language, 40)]
    return make_encoder(folder, "xlm-roberta", texts=[*TEXTS, *texts], seed=1)


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """The kernel refuses to write more into any one file, as a full disk or quota does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_no_room_for_the_prefix_trains_without_it(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found while filling, when the decision to cache was taken: a quota is seen by nobody before it bites."""
    from glotune.model.prefix_cache import Filling

    plain = Filling.fill

    def within_quota(self: Filling, *given: object) -> None:
        with no_file_larger_than(4096):
            plain(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Filling, "fill", within_quota)
    full = made.run()
    assert not entries("prefix", made.cache), "nothing half-written stays"
    assert any("recomputed" in line for line in warnings_of(full))
    monkeypatch.setattr(Filling, "fill", plain)
    cached = made.run()
    assert entries("prefix", made.cache)
    losses = [
        [event.data["loss"] for event in run.directory.events() if event.kind == "step"] for run in (full, cached)
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
