"""The copy in the bucket: whole at every moment, and enough to make the run again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from glotune.launch import mirror as mirror_module
from glotune.launch.mirror import Mirror


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    checkpoint(run, 4)
    (run / "manifest.json").write_text("{}")
    (run / "events.jsonl").write_text("1\n")
    (run / ".lock").write_text(json.dumps({"pid": 1, "host": "spot", "since": "now"}))
    (run / "predictions").mkdir()
    (run / "predictions" / "test.bn.parquet").write_bytes(b"p")
    (run / ".events.9.tmp").write_text("half")
    (run / "checkpoints" / ".step-00000008.tmp").mkdir()
    (run / "checkpoints" / ".step-00000008.tmp" / "weights.safetensors").write_bytes(b"half")
    return run


def checkpoint(run: Path, step: int) -> None:
    folder = run / "checkpoints" / f"step-{step:08d}"
    folder.mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(b"w" * step)
    (folder / "manifest.json").write_text("{}")


def test_the_run_comes_back_without_its_lock_and_without_halves(run: Path, tmp_path: Path) -> None:
    Mirror(run, tmp_path / "bucket").update()
    again = tmp_path / "elsewhere" / "run"
    assert Mirror(again, tmp_path / "bucket").restore()
    expected = {name: data for name, data in content(run).items() if ".tmp" not in name and name != ".lock"}
    assert content(again) == expected
    assert (tmp_path / "bucket" / ".lock").exists(), "watchers see where it runs"


def test_an_empty_bucket_restores_nothing(tmp_path: Path) -> None:
    assert not Mirror(tmp_path / "run", tmp_path / "bucket").restore()
    assert Mirror(tmp_path / "run", tmp_path / "bucket").update() == 0
    assert not (tmp_path / "run").exists()


def test_only_what_changed_is_copied_and_dropped_checkpoints_go(run: Path, tmp_path: Path) -> None:
    mirror = Mirror(run, tmp_path / "bucket")
    assert mirror.update() == 6
    assert mirror.update() == 0
    checkpoint(run, 8)
    (run / "events.jsonl").write_text("1\n2\n")
    assert mirror.update() == 3
    for path in (run / "checkpoints" / "step-00000004").iterdir():
        path.unlink()
    (run / "checkpoints" / "step-00000004").rmdir()
    assert mirror.update() == 0
    assert [path.name for path in (tmp_path / "bucket" / "checkpoints").iterdir()] == ["step-00000008"]


def test_a_machine_that_vanishes_at_any_copy_leaves_a_usable_bucket(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = mirror_module._copy
    for vanishes in range(12):
        bucket = tmp_path / f"bucket-{vanishes}"
        mirror = Mirror(run, bucket)
        done: list[Path] = []

        def failing(source: Path, target: Path, done: list[Path] = done, limit: int = vanishes) -> None:
            if len(done) == limit:
                raise OSError("the machine is gone")
            done.append(target)
            copy(source, target)

        monkeypatch.setattr(mirror_module, "_copy", failing)
        if vanishes < 6:
            with pytest.raises(OSError, match="gone"):
                mirror.update()
        else:
            mirror.update()
        monkeypatch.setattr(mirror_module, "_copy", copy)
        if (bucket / "manifest.json").exists():
            assert set(content(bucket)) >= {"events.jsonl", "predictions/test.bn.parquet"}
        if (bucket / "checkpoints" / "step-00000004" / "manifest.json").exists():
            assert (bucket / "checkpoints" / "step-00000004" / "weights.safetensors").exists()
            assert (bucket / "events.jsonl").read_text() == "1\n", "a run goes on from here and keeps its records"


def test_a_checkpoint_that_comes_during_the_copy_waits_for_its_records(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, bucket = mirror_module._copy, tmp_path / "bucket"

    def training_goes_on(source: Path, target: Path) -> None:
        copy(source, target)
        if source.name == "events.jsonl":
            (run / "events.jsonl").write_text("1\n2\n")
            checkpoint(run, 8)

    monkeypatch.setattr(mirror_module, "_copy", training_goes_on)
    mirror = Mirror(run, bucket)
    mirror.update()
    assert not (bucket / "checkpoints" / "step-00000008").exists()
    monkeypatch.setattr(mirror_module, "_copy", copy)
    mirror.update()
    assert (bucket / "checkpoints" / "step-00000008" / "manifest.json").exists()
    assert (bucket / "events.jsonl").read_text() == "1\n2\n"


def test_a_bucket_that_cannot_rename_is_written_in_place(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError("not supported")

    monkeypatch.setattr(Path, "replace", refuse)
    Mirror(run, tmp_path / "bucket").update()
    assert (tmp_path / "bucket" / "manifest.json").read_text() == "{}"
    assert not list((tmp_path / "bucket").glob(".*.tmp"))


def test_checkpoints_go_before_a_manifest_that_no_longer_knows_them(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round of self-training has ended: whatever moment the copy ends at, its checkpoints never meet the next one."""
    mirror = Mirror(run, tmp_path / "bucket")
    mirror.update()
    (run / "rounds" / "0").mkdir(parents=True)
    (run / "rounds" / "0" / "round.json").write_text("{}")
    shutil.rmtree(run / "checkpoints")
    (run / "manifest.json").write_text('{"rounds": 1}')
    copy = mirror_module._copy

    def until_the_manifest(source: Path, target: Path) -> None:
        if source == run / "manifest.json":
            raise ConnectionError
        copy(source, target)

    monkeypatch.setattr(mirror_module, "_copy", until_the_manifest)
    with pytest.raises(ConnectionError):
        mirror.update()
    found = content(tmp_path / "bucket")
    assert "rounds/0/round.json" in found
    assert not [name for name in found if name.startswith("checkpoints")]
    assert found["manifest.json"] == b"{}"
