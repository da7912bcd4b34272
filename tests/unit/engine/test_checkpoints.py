"""Checkpoints that can't be half."""

import os
import stat
from pathlib import Path

import pytest
import torch
from torch import nn

from glotune.engine import checkpoints
from glotune.engine.checkpoints import WEIGHTS, CheckpointStore, damage, restore_optimizer, restore_weights, snapshot
from glotune.engine.state import EpochSums, TrainingState
from glotune.errors import RunError


def network(seed: int = 0) -> tuple[dict[str, nn.Parameter], torch.optim.AdamW]:
    generator = torch.Generator().manual_seed(seed)
    trainable = {name: nn.Parameter(torch.randn(3, 2, generator=generator)) for name in ("a", "b")}
    optimizer = torch.optim.AdamW(trainable.values(), lr=0.1)
    step(trainable, optimizer)
    return trainable, optimizer


def step(trainable: dict[str, nn.Parameter], optimizer: torch.optim.AdamW) -> None:
    for value in trainable.values():
        value.grad = value.detach() * 0.5 + 1.0
    optimizer.step()


def save(store: CheckpointStore, step: int, best: int | None = None, with_optimizer: bool = True) -> None:
    trainable, optimizer = network(step)
    state = TrainingState(step=step, best_step=best, best_value=0.1 + step / 3)
    store.save(snapshot(trainable, optimizer if with_optimizer else None, state))
    store.wait()


def test_a_restored_optimizer_goes_on_bit_for_bit(tmp_path: Path) -> None:
    trainable, optimizer = network()
    store = CheckpointStore(tmp_path, keep=2)
    store.save(snapshot(trainable, optimizer, TrainingState(step=1, best_value=1 / 3)))
    store.wait()
    step(trainable, optimizer)

    found = CheckpointStore(tmp_path, keep=2).latest() or pytest.fail("no checkpoint")
    again, fresh = network(seed=9)
    restore_weights(found.folder, again)
    restore_optimizer(found.folder, again, fresh)
    step(again, fresh)
    assert found.damaged == []
    assert found.state == TrainingState(step=1, best_value=1 / 3)
    assert all(torch.equal(trainable[name], again[name]) for name in trainable)


@pytest.mark.parametrize("together", [1, 5, 1 << 20])
def test_weights_come_back_whole_whatever_is_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    monkeypatch.setattr(checkpoints, "READ_TOGETHER", together)
    trained = {
        "matrix": nn.Parameter(torch.randn(7, 3)),
        "bias": nn.Parameter(torch.randn(4)),
        "scale": nn.Parameter(torch.tensor(2.5)),
        "empty": nn.Parameter(torch.zeros(0, 3)),
    }
    store = CheckpointStore(tmp_path, keep=1)
    store.save(snapshot(trained, None, TrainingState(step=3)))
    store.wait()
    again = {name: nn.Parameter(torch.full_like(value, -1)) for name, value in trained.items()}
    restore_weights(store.best(3), again)
    assert all(torch.equal(trained[name], again[name]) for name in trained)
    with pytest.raises(RunError, match="differ in name or shape"):
        restore_weights(store.best(3), {**again, "bias": nn.Parameter(torch.zeros(1))})


@pytest.mark.parametrize("harm", ["truncate", "flip", "missing", "manifest"])
def test_a_damaged_newest_checkpoint_falls_back_and_says_so(tmp_path: Path, harm: str) -> None:
    store = CheckpointStore(tmp_path, keep=3)
    save(store, 1)
    save(store, 2)
    weights = tmp_path / "step-00000002" / WEIGHTS
    content = bytearray(weights.read_bytes())
    if harm == "truncate":
        weights.write_bytes(content[:-3])
    elif harm == "flip":
        content[-1] ^= 1
        weights.write_bytes(content)
    elif harm == "missing":
        weights.unlink()
    else:
        (tmp_path / "step-00000002" / "manifest.json").write_text('{"files": [')
    found = store.latest() or pytest.fail("no checkpoint")
    assert found.folder.name == "step-00000001"
    assert len(found.damaged) == 1
    assert "step-00000002 is damaged" in found.damaged[0]


def test_half_written_leftovers_are_no_checkpoint_and_get_cleared(tmp_path: Path) -> None:
    (tmp_path / ".step-00000005.tmp").mkdir()
    (tmp_path / ".step-00000005.tmp" / WEIGHTS).write_bytes(b"half")
    store = CheckpointStore(tmp_path, keep=2)
    assert store.latest() is None
    save(store, 1)
    assert not (tmp_path / ".step-00000005.tmp").exists()


def test_a_checkpoint_has_the_permissions_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        save(CheckpointStore(tmp_path, keep=1), 1)
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "step-00000001").iterdir()} == {0o640}


def test_pruning_keeps_the_newest_and_the_best_they_refer_to(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=1)
    save(store, 1, best=1, with_optimizer=False)
    save(store, 1, best=1)
    save(store, 2, best=1)
    save(store, 3, best=3, with_optimizer=False)
    assert (tmp_path / "best-00000001").exists(), "the kept checkpoint still refers to it"
    save(store, 3, best=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best-00000003", "step-00000003"]
    assert damage(store.best(3)) is None


def test_what_follows_the_resumed_step_is_dropped(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=9)
    save(store, 1, best=1, with_optimizer=False)
    save(store, 1, best=1)
    save(store, 2, best=2, with_optimizer=False)
    store.drop_after(1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best-00000001", "step-00000001"]


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=1)
    save(store, 1)
    with pytest.raises(RunError, match="another model"):
        restore_weights(tmp_path / "step-00000001", {"c": nn.Parameter(torch.zeros(3, 2))})
    with pytest.raises(RunError, match="can't be used"):
        store.best(7)


def test_a_failed_write_is_raised_at_the_next_wait(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    store = CheckpointStore(blocked / "checkpoints", keep=1)
    trainable, optimizer = network()
    store.save(snapshot(trainable, optimizer, TrainingState(step=1)))
    with pytest.raises(RunError, match="could not be written"):
        store.wait()


@pytest.mark.parametrize("error", [OSError("full"), UnicodeEncodeError("ascii", "x", 0, 1, "why"), MemoryError()])
def test_nothing_half_written_is_left_whatever_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def failing(*arguments: object) -> None:
        raise error

    monkeypatch.setattr("glotune.engine.checkpoints.sync", failing)
    store = CheckpointStore(tmp_path, keep=2)
    with pytest.raises(RunError if isinstance(error, OSError) else type(error)):
        save(store, 1)

    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_whose_best_weights_are_damaged_falls_back_to_one_before_them(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=9)
    save(store, 1)
    save(store, 2, best=2, with_optimizer=False)
    save(store, 2, best=2)
    weights = tmp_path / "best-00000002" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1])
    found = store.latest() or pytest.fail("no checkpoint")
    assert found.folder.name == "step-00000001"
    assert "best weights so far" in found.damaged[0]


def test_a_checkpoint_takes_the_place_of_one_of_its_name(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    save(store, 1)
    save(store, 1, best=None)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    assert damage(tmp_path / "step-00000001") is None


def test_a_state_of_an_earlier_version_opens() -> None:
    content = TrainingState(step=3, best_value=1 / 3).to_json()
    del content["epoch_sums"]
    content["epoch_figures"] = {"loss_sum": 2.5, "texts": 4, "tokens": 40, "confusion": [[1, 2], [0, 1]]}
    state = TrainingState.from_json(content)
    assert (state.step, state.best_value) == (3, 1 / 3)
    assert state.epoch_sums == EpochSums(loss_sum=2.5, texts=4, tokens=40, sums=[1.0, 2.0, 0.0, 1.0])
    assert TrainingState.from_json(state.to_json()) == state
    content["epoch_figures"]["confusion"] = []  # between two epochs
    assert TrainingState.from_json(content).epoch_sums.sums == []
