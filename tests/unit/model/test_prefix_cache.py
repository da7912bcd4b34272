"""C5: the cached prefix = the same prefix recomputed; what is damaged or another's is never trusted."""

from __future__ import annotations

import multiprocessing
import shutil
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from glotune.data.batches import collate
from glotune.data.tokenization import TokenStore
from glotune.engine.forward import forward
from glotune.model import prefix_cache
from glotune.model.card import Card
from glotune.model.cpu import packed_weights
from glotune.model.families import MEAN_POOLED
from glotune.model.network import Network
from glotune.model.prefix_cache import FILE, Filling, States, Use, cache_prefixes, decide, fixed_cut, open_or_fill
from glotune.model.surgery.operate import operate
from glotune.recipe.schema import Freeze, Lora, Model, Speed
from packed_batches import gradients, load, random_ids

CPU = torch.device("cpu")
LENGTHS = (3, 40, 7, 7, 128, 1, 22)


def make_store(seed: int = 0) -> TokenStore:
    texts = random_ids(LENGTHS, seed)
    count = len(texts)
    return TokenStore(
        tokens=np.array([index for text in texts for index in text], dtype=np.int32),
        token_types=None,
        offsets=np.concatenate([[0], np.cumsum(LENGTHS)]).astype(np.int64),
        labels=(np.arange(count) % 3).astype(np.int16),
        languages=np.zeros(count, dtype=np.int16),
        language_names=["en"],
        rows=np.arange(count, dtype=np.int32),
        raw_lengths=np.array(LENGTHS, dtype=np.int32),
    )


def make_filling(folder: Path, family: str = "xlm-roberta", **model: Any) -> Filling:
    hf = load(folder, family)
    model = model or {"freeze": Freeze(embeddings=True, layers=2)}
    network = operate(hf, Model(name=str(folder), **model), Speed(), used_ids=None).network
    return filling_of(network)


def filling_of(network: Network) -> Filling:
    return Filling(network, states_of(network), "fp32", CPU)


def states_of(network: Network, precision: str = "fp32") -> States:
    return partial(forward, network=network, device=CPU, precision=precision, through=network.prefix)


@pytest.mark.parametrize(
    "model",
    [
        {"freeze": Freeze(embeddings=True)},
        {"freeze": Freeze(embeddings=True, layers=1)},
        {"lora": Lora(rank=2, layers=1)},
        {"freeze": Freeze(embeddings=True, layers=1), "lora": Lora(rank=2, layers=2)},
        {"freeze": Freeze(embeddings=True, layers=1), "lora": Lora(rank=2)},
    ],
    ids=["embeddings", "one layer", "upper lora", "both", "lora above what is frozen"],
)
@pytest.mark.parametrize("family", ["xlm-roberta", "bert", "modernbert"])
def test_cached_equals_afresh(tmp_path: Path, family: str, model: dict[str, Any]) -> None:
    filling, store = make_filling(tmp_path / "encoder", family, **model), make_store()
    prefix = open_or_fill(filling, store, precision="fp32", cache=tmp_path / "cache")
    network = filling.network.eval()
    rows = np.array([4, 0, 2, 6])
    batch = collate(store, rows)
    logits, wanted = gradients(network, batch)
    cached, found = gradients(network, batch, prefix.rows(rows))
    assert (cached - logits).abs().max() < 1e-5
    assert found.keys() == wanted.keys()
    assert all((found[name] - wanted[name]).abs().max() < 1e-4 for name in wanted)


def test_warm_is_cold_bit_for_bit(tmp_path: Path) -> None:
    filling, store = make_filling(tmp_path / "encoder"), make_store()
    cold = open_or_fill(filling, store, precision="fp32", cache=tmp_path / "one")
    warm = open_or_fill(filling, store, precision="fp32", cache=tmp_path / "one")
    other = open_or_fill(filling, store, precision="fp32", cache=tmp_path / "two")
    assert (cold.warm, warm.warm, other.warm) == (False, True, False)
    rows = np.arange(len(LENGTHS))
    assert torch.equal(cold.rows(rows), warm.rows(rows))
    assert torch.equal(cold.rows(rows), other.rows(rows))


def test_bf16_store_is_half_the_size_and_close(tmp_path: Path) -> None:
    filling, store = make_filling(tmp_path / "encoder"), make_store()
    exact = open_or_fill(filling, store, precision="fp32", cache=tmp_path)
    rounded = open_or_fill(filling, store, precision="bf16", cache=tmp_path)
    rows = np.array([1, 5])
    assert rounded.rows(rows).dtype == torch.float32
    assert torch.equal(rounded.rows(rows), exact.rows(rows).bfloat16().float())
    assert 2 * rounded.hidden.nbytes == exact.hidden.nbytes


@pytest.mark.skipif(not packed_weights.onednn_packs_bf16(), reason="this processor or this torch has no bf16 products")
@pytest.mark.parametrize("family", ["xlm-roberta", "bert", "modernbert"])
def test_weights_packed_for_the_fill_change_no_bit_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    monkeypatch.setattr(packed_weights, "NARROW", 1)
    filling, store = make_filling(tmp_path / "encoder", family), make_store()
    assert packed_weights.use_packed_weights(filling.network, "cpu", "bf16")
    filling = replace(filling, states=states_of(filling.network, "bf16"), compute="bf16")
    monkeypatch.setattr(prefix_cache, "FILL_TOKENS", 64)  # several batches, of single texts too
    packed = open_or_fill(filling, store, precision="fp32", cache=tmp_path / "packed").hidden
    monkeypatch.setattr(packed_weights.PackedWeights, "in_use", nullcontext)
    plain = open_or_fill(filling, store, precision="fp32", cache=tmp_path / "plain").hidden
    assert np.array_equal(packed, plain)


def test_key_names_what_the_content_depends_on(tmp_path: Path) -> None:
    filling, store = make_filling(tmp_path / "encoder"), make_store()
    key = filling.key(store, "fp32")
    assert key == make_filling(tmp_path / "again").key(make_store(), "fp32")
    assert key != filling.key(store, "bf16"), "precision"
    assert key != filling.key(make_store(seed=1), "fp32"), "texts"
    shallower = make_filling(tmp_path / "depth", freeze=Freeze(embeddings=True, layers=1))
    assert key != shallower.key(store, "fp32"), "depth"
    filling.network.anatomy.config.model_type += MEAN_POOLED
    assert key == filling.key(store, "fp32"), "what the head reads doesn't matter"
    with torch.no_grad():
        filling.network.anatomy.layers[2].output.dense.weight.add_(1.0)
        assert key == filling.key(store, "fp32"), "layers above the prefix don't matter"
        filling.network.anatomy.layers[1].output.dense.weight[0, 0] += 1e-3
    assert key != filling.key(store, "fp32"), "weights"


def test_gpus_of_one_model_share_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filling, store, names = make_filling(tmp_path), make_store(), {"cuda:0": "A100", "cuda:1": "A100", "cuda:2": "T4"}
    monkeypatch.setattr(Card, "of", lambda device: Card("cuda", names[str(device)]))
    keys = [replace(filling, device=torch.device(name)).key(store, "fp32") for name in names]
    assert keys[0] == keys[1], "the rank's number changes nothing"
    assert keys[0] != keys[2], "another model of GPU adds up in another order"


def test_trimming_changes_no_key(tmp_path: Path) -> None:
    store, model = make_store(), Model(name=str(tmp_path), freeze=Freeze(embeddings=True, layers=2))
    full = filling_of(operate(load(tmp_path, "bert"), model, Speed(), used_ids=None).network)
    operated = operate(load(tmp_path, "bert"), model, Speed(), used_ids=np.unique(store.tokens))
    assert operated.vocabulary is not None
    states = states_of(operated.network)
    trimmed = Filling(operated.network, states, "fp32", CPU, operated.vocabulary.to_trimmed)
    assert trimmed.key(store, "fp32") == full.key(store, "fp32")


@pytest.mark.parametrize("damage", ["flip", "cut", "manifest", "foreign", "gone"])
def test_damaged_store_is_rebuilt(tmp_path: Path, damage: str) -> None:
    filling, store, cache = make_filling(tmp_path / "encoder"), make_store(), tmp_path / "cache"
    rows = np.arange(len(LENGTHS))
    expected = open_or_fill(filling, store, precision="fp32", cache=cache).rows(rows)
    entry = cache / filling.key(store, "fp32")
    if damage == "flip":
        with (entry / FILE).open("r+b") as file:
            file.seek(100)
            byte = file.read(1)
            file.seek(100)
            file.write(bytes([byte[0] ^ 1]))
    elif damage == "cut":
        with (entry / FILE).open("r+b") as file:
            file.truncate(64)
    elif damage == "manifest":
        (entry / "cache.json").unlink()
    elif damage == "foreign":
        other = make_filling(tmp_path / "other", freeze=Freeze(embeddings=True, layers=1))
        open_or_fill(other, store, precision="fp32", cache=cache)
        shutil.rmtree(entry)
        shutil.copytree(cache / other.key(store, "fp32"), entry)
    else:
        shutil.rmtree(entry)
    warnings: list[str] = []
    rebuilt = open_or_fill(filling, store, precision="fp32", cache=cache, on_warning=warnings.append)
    assert not rebuilt.warm
    assert torch.equal(rebuilt.rows(rows), expected)
    assert bool(warnings) == (damage != "gone")


def _fill(folder: Path, cache: Path, queue: Any) -> None:
    torch.set_num_threads(1)
    prefix = open_or_fill(make_filling(folder), make_store(), precision="fp32", cache=cache)
    queue.put((prefix.warm, prefix.rows(np.arange(len(LENGTHS))).numpy().tobytes()))


def test_two_processes_fill_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    torch.set_num_threads(1)
    processes = [context.Process(target=_fill, args=(tmp_path / f"{n}", tmp_path / "cache", queue)) for n in range(2)]
    for process in processes:
        process.start()
    results = [queue.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(timeout=60)
    assert sorted(warm for warm, _ in results) == [False, True]
    assert results[0][1] == results[1][1]


def test_decisions_say_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, store = make_filling(tmp_path / "a").network, make_store()
    asked = {"use": Use(visits=10), "precision": "fp32", "cache": tmp_path}
    taken = decide(network, store, **asked)  # type: ignore[arg-type]
    assert taken.use
    assert "2 of 3 layers" in taken.reason
    assert taken.size == sum(LENGTHS) * 32 * 4
    once = decide(network, store, **(asked | {"use": Use(visits=1)}))  # type: ignore[arg-type]
    assert not once.use
    assert "read once" in once.reason
    shared = decide(network, store, **(asked | {"use": Use(visits=1, by_other_runs=True)}))  # type: ignore[arg-type]
    assert shared.use
    assert shared.reason.startswith("2 of 3 layers computed once for all runs that read these texts")
    moved = decide(network, store, **(asked | {"use": Use(10, True, is_fixed=False)}))  # type: ignore[arg-type]
    assert not moved.use
    assert "another one at every visit" in moved.reason
    shallow = make_filling(tmp_path / "b", freeze=Freeze(embeddings=True)).network
    refused = decide(shallow, store, **asked)  # type: ignore[arg-type]
    assert not refused.use
    assert "embeddings" in refused.reason
    monkeypatch.setattr(prefix_cache, "_room", lambda cache: 1000)
    full = decide(network, store, **asked)  # type: ignore[arg-type]
    assert not full.use
    assert "free" in full.reason


def test_a_full_disk_is_found_before_anything_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filling, store = make_filling(tmp_path / "encoder"), make_store()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(prefix_cache.os, "posix_fallocate", full)
    monkeypatch.setattr(filling.network, "prefix", lambda batch: pytest.fail("computed"))
    with pytest.raises(OSError, match="No space"):
        filling.fill(store, "fp32", tmp_path / "file", None)


def test_old_prefixes_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = [0]
    for number, age in enumerate((300, 100, 200)):
        entry = tmp_path / f"prefix-{number}"
        entry.mkdir()
        (entry / FILE).write_bytes(b"x" * 10)
        prefix_cache.os.utime(entry, (1000 - age, 1000 - age))

    def disk_usage(path: Path) -> Any:
        held = sum(10 for entry in tmp_path.glob("prefix-*"))
        return type("Usage", (), {"free": free[0] + 30 - held})

    monkeypatch.setattr(prefix_cache.shutil, "disk_usage", disk_usage)
    prefix_cache._make_room(tmp_path, 15, keep="prefix-2")
    assert [path.name for path in tmp_path.iterdir()] == ["prefix-2"], "the oldest goes first, the wanted one never"


def test_all_splits_at_once(tmp_path: Path) -> None:
    filling = make_filling(tmp_path / "encoder")
    stores = {"train": make_store(), "test": make_store(1)}
    uses = {"train": Use(5), "test": Use(1)}
    found = cache_prefixes(filling, stores, uses, precision="fp32", cache=tmp_path / "cache")
    assert set(found.stores) == {"train"}
    assert found.change is not None
    assert found.change.details["splits"] == {"train": True, "test": False}
    trained = make_filling(tmp_path / "free", layers=2)
    assert cache_prefixes(trained, stores, uses, precision="fp32", cache=tmp_path).change is None


def test_the_cut_depends_on_lengths_alone() -> None:
    lengths = np.random.default_rng(0).integers(1, 200, 500)
    pieces = list(fixed_cut(lengths))
    assert sorted(np.concatenate(pieces).tolist()) == list(range(500))
    assert all(len(piece) * lengths[piece].max() <= prefix_cache.FILL_TOKENS for piece in pieces)
