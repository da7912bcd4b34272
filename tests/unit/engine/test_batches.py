"""Effective batches and their cuts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.xlm_roberta.modeling_xlm_roberta import XLMRobertaEmbeddings

from encoders import make_tokenizer
from glotune.data.batches import collate, cut, effective_batches, epoch_order, shard
from glotune.data.encoding import Encoding
from glotune.recipe.data_keys import Data

LENGTHS = st.lists(st.integers(1, 64), min_size=1, max_size=60).map(lambda values: np.array(values, dtype=np.int64))


@given(st.integers(1, 200), st.integers(0, 5), st.integers(0, 5))
def test_an_epoch_visits_every_text_once_and_is_a_function_of_seed_and_epoch(n: int, seed: int, epoch: int) -> None:
    languages = np.zeros(n, dtype=np.int16)
    order = epoch_order(languages, seed, epoch, None)
    assert sorted(order.tolist()) == list(range(n))
    assert order.tolist() == epoch_order(languages, seed, epoch, None).tolist()


def test_another_epoch_has_another_order() -> None:
    languages = np.zeros(100, dtype=np.int16)
    assert epoch_order(languages, 0, 0, None).tolist() != epoch_order(languages, 0, 1, None).tolist()


@given(st.lists(st.integers(1, 80), min_size=1, max_size=5), st.floats(0, 1))
def test_sampling_alpha_shares_visits_by_size_to_a_power(sizes: list[int], alpha: float) -> None:
    languages = np.repeat(np.arange(len(sizes)), sizes).astype(np.int16)
    order = epoch_order(languages, 0, 0, alpha)
    assert len(order) == len(languages)
    weights = np.array(sizes, dtype=float) ** alpha
    visits = np.bincount(languages[order], minlength=len(sizes))
    assert np.abs(visits - weights / weights.sum() * len(languages)).max() <= 1.0
    for code, size in enumerate(sizes):
        times = np.bincount(order[languages[order] == code], minlength=len(languages))[languages == code]
        assert times.max() - times.min() <= 1, f"language {code} of {size} texts repeats some more than others"


@given(LENGTHS, st.integers(1, 300), st.sampled_from(["packed", "dynamic", "fixed"]))
def test_a_cut_holds_every_text_once_within_the_budget(lengths: np.ndarray, budget: int, batching: str) -> None:
    rows = np.arange(len(lengths))
    pieces = list(cut(rows, lengths, budget, batching, max_length=64))  # type: ignore[arg-type]
    assert sorted(np.concatenate([piece for piece, _ in pieces]).tolist()) == rows.tolist()
    for piece, pad_to in pieces:
        padded = {"packed": int(lengths[piece].max()), "dynamic": int(lengths[piece].max()), "fixed": 64}[batching]
        assert len(piece) == 1 or len(piece) * padded <= budget
        assert pad_to == (None if batching == "packed" else padded)


@given(LENGTHS, st.integers(1, 5))
def test_shards_partition_the_batch(lengths: np.ndarray, ranks: int) -> None:
    rows = np.arange(len(lengths))
    shards = [shard(rows, lengths, rank, ranks) for rank in range(ranks)]
    assert sorted(np.concatenate(shards).tolist()) == rows.tolist()
    if len(rows) >= ranks:
        tokens = [int(lengths[part].sum()) for part in shards]
        assert max(tokens) - min(tokens) <= int(lengths.max())


def test_the_last_uneven_batch_is_kept() -> None:
    assert [len(batch) for batch in effective_batches(np.arange(10), 4)] == [4, 4, 2]


@pytest.mark.parametrize("windows", [False, True])
@pytest.mark.parametrize("trimmed", [False, True])
def test_positions_are_counted_past_padding_as_transformers_counts_them(trimmed: bool, windows: bool) -> None:
    """Beside `create_position_ids_from_input_ids`, on each sequence alone; the padding's row may be another."""
    texts = ["a good room <pad> bad", "<pad><pad>good", "bad room", "good <pad>", "a <pad> b " * 8]
    keys = {"windows": {"stride": 4, "most": 5}} if windows else {}
    data = Data.model_validate({"train": "none.csv", "max_length": 12, **keys})
    tokenizer = make_tokenizer("xlm-roberta")
    store, moved = Encoding(tokenizer, data).store(texts), np.random.default_rng(0).permutation(len(tokenizer))
    padding = int(moved[tokenizer.pad_token_id]) if trimmed else tokenizer.pad_token_id
    id_map = (lambda ids: moved[ids].astype(np.int32)) if trimmed else None
    rows = np.array([4, 1, 0, 2, 3])
    batch, plain = collate(store, rows, id_map=id_map, uncounted=padding), collate(store, rows, id_map=id_map)
    assert int((batch.input_ids == padding).sum()) > 4
    for ids, found in zip(
        *(each.split(list(batch.lengths)) for each in (batch.input_ids, batch.position_ids)), strict=True
    ):
        wanted = XLMRobertaEmbeddings.create_position_ids_from_input_ids(ids.unsqueeze(0), padding)[0]
        assert found.tolist() == (wanted - padding - 1).tolist()
    assert not torch.equal(batch.position_ids, plain.position_ids)
    ordinary = np.array([2])
    assert torch.equal(collate(store, ordinary, uncounted=padding).position_ids, collate(store, ordinary).position_ids)
