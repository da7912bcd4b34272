"""C1: packed = padded, dropout off: logits and every gradient, fp32, to 1e-5, for each family."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from encoders import FALLBACK_FAMILIES, PACKED_FAMILIES
from glotune.model.cpu.tune import tune
from glotune.model.network import Network
from glotune.model.packed.kernels import PADDED, Kernels
from glotune.model.packed.walk import project_fused
from glotune.model.surgery.lora import add_lora
from glotune.recipe.schema import Lora
from packed_batches import LENGTHS, gradients, largest_difference, load, packed, random_ids, tuned
from varlen_reference import kernels_on_the_cpu

POOLINGS = [(family, "cls") for family in PACKED_FAMILIES] + [("modernbert", "mean")]


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize(("family", "pooling"), POOLINGS)
def test_logits_and_gradients(tmp_path: Path, family: str, pooling: str, pooled: bool) -> None:
    config = {"classifier_pooling": pooling} if family == "modernbert" else {}
    hf = load(tmp_path, family, **config)
    texts, pairs = random_ids(), family == "bert"
    expected, wanted = gradients(Network(hf, packed=False), packed(texts, pairs=pairs, pad_to=128))
    network = Network(hf, pooled_last_layer=pooled)
    assert network.pooled_last_layer == (pooled and pooling == "cls")
    logits, found = gradients(network, packed(texts, pairs=pairs))
    assert (logits - expected).abs().max() < 1e-5
    assert largest_difference(found, wanted) < 1e-5


@pytest.mark.parametrize("kernels", [Kernels("flash", "flash"), Kernels("flash", "efficient"), PADDED])
@pytest.mark.parametrize("family", PACKED_FAMILIES)
def test_as_on_a_gpu(tmp_path: Path, family: str, kernels: Kernels) -> None:
    """One product for query, key and value, and the kernels that read the texts' bounds (here their stand-in)."""
    hf = load(tmp_path, family)
    texts = random_ids()
    expected, wanted = gradients(Network(hf, packed=False), packed(texts, pad_to=128))
    network = Network(hf)
    tune(network, "cuda", "fp32", training=True)
    assert family == "modernbert" or network.walk.project is project_fused
    network.kernels = kernels
    with kernels_on_the_cpu():
        logits, found = gradients(network, packed(texts))
    assert (logits - expected).abs().max() < 1e-5
    assert largest_difference(found, wanted) < 1e-5


@pytest.mark.parametrize("family", [*PACKED_FAMILIES, *FALLBACK_FAMILIES])
def test_activations_computed_twice_are_the_same(tmp_path: Path, family: str) -> None:
    """With dropout: the second time under the same masks."""
    rates = {"attention_dropout": 0.3, "mlp_dropout": 0.3} if family == "modernbert" else {}
    network = Network(load(tmp_path, family, **rates)).train()
    batch = packed(random_ids())

    def drawn() -> tuple[Tensor, dict[str, Tensor]]:
        torch.manual_seed(5)
        return gradients(network, batch)

    logits, wanted = drawn()
    assert network.checkpoint_activations()
    again, found = drawn()
    assert torch.equal(again, logits)
    assert largest_difference(found, wanted) < 1e-6
    assert not network.checkpoint_activations(), "it does already"


@pytest.mark.parametrize("family", PACKED_FAMILIES)
def test_each_text_alone(tmp_path: Path, family: str) -> None:
    """No text sees another: each has the same logits in a batch and alone."""
    network = Network(load(tmp_path, family))
    texts = random_ids()
    with torch.no_grad():
        together = network(packed(texts))
        alone = torch.cat([network(packed([text])) for text in texts])
    assert (together - alone).abs().max() < 1e-5


@pytest.mark.parametrize("family", PACKED_FAMILIES)
def test_plain_forward_of_transformers(tmp_path: Path, family: str) -> None:
    """The padded side is transformers' own: positions and masks that it derives itself."""
    hf = load(tmp_path, family)
    texts = random_ids((7, 7, 3))
    pad = hf.config.pad_token_id
    ids = torch.tensor([text + [pad] * (7 - len(text)) for text in texts])
    with torch.no_grad():
        expected = hf(input_ids=ids, attention_mask=(ids != pad).long()).logits
        assert (Network(hf)(packed(texts)) - expected).abs().max() < 1e-5
        assert torch.equal(Network(hf, packed=False)(packed(texts)), expected)


@pytest.mark.parametrize("family", FALLBACK_FAMILIES)
def test_fallback_runs_padded_and_says_so(tmp_path: Path, family: str) -> None:
    network = Network(load(tmp_path, family))
    assert not network.packed
    assert network.prefix_depth is None
    (change,) = network.changes()
    assert change.details == {"packed": False}
    assert "padded" in change.description
    texts = random_ids((9, 4))
    with torch.no_grad():
        logits = network(packed(texts, pairs=True))
        alone = torch.cat([network(packed([text], pairs=True)) for text in texts])
    assert (logits - alone).abs().max() < 1e-5


@pytest.mark.parametrize("order", [sorted(LENGTHS), sorted(LENGTHS, reverse=True), [8] * 6, [1] * 4, [128], [1]])
def test_every_order_of_lengths(tmp_path: Path, order: list[int]) -> None:
    hf = load(tmp_path, "modernbert")
    texts = random_ids(order)
    expected, wanted = gradients(Network(hf, packed=False), packed(texts, pad_to=128))
    logits, found = gradients(Network(hf), packed(texts))
    assert (logits - expected).abs().max() < 1e-5
    assert largest_difference(found, wanted) < 1e-5


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("family", PACKED_FAMILIES)
def test_with_adapters(tmp_path: Path, family: str, dora: bool) -> None:
    hf = load(tmp_path, family)
    wrapped, _ = add_lora(hf, Lora(rank=4, target_modules=["query", "key", "value", "dense"], dora=dora))
    torch.manual_seed(0)
    with torch.no_grad():
        for name, value in wrapped.named_parameters():
            if "lora_B" in name:
                value.normal_(0.0, 0.1)
    wrapped.eval()
    texts = random_ids()
    expected, wanted = gradients(Network(wrapped, packed=False), packed(texts, pad_to=128))
    logits, found = gradients(tuned(Network(wrapped)), packed(texts))
    assert (logits - expected).abs().max() < 1e-5
    assert largest_difference(found, wanted) < 1e-5


@pytest.mark.parametrize("family", PACKED_FAMILIES)
def test_bf16_autocast_stays_close(tmp_path: Path, family: str) -> None:
    """The bf16 path of the product is another one: it must agree with fp32 to bf16's precision."""
    network = Network(load(tmp_path, family))
    batch = packed(random_ids())
    with torch.no_grad():
        exact = network(batch)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = network(batch).float()
    assert (rounded - exact).abs().max() < 0.1 * exact.abs().max()


@pytest.mark.parametrize("mode", ["fp32", "bf16", "dropout"])
@pytest.mark.parametrize("family", PACKED_FAMILIES)
def test_gradients_stay_finite(tmp_path: Path, family: str, mode: str) -> None:
    """Also where padded queries are so far from their text that local attention shows them no key at all."""
    rates = {"attention_dropout": 0.1} if family == "modernbert" else {}
    network = Network(load(tmp_path, family, **(rates if mode == "dropout" else {})), pooled_last_layer=False)
    network.train(mode == "dropout")
    batch = packed(random_ids((28, 30, 23, 2)))
    with torch.autocast("cpu", torch.bfloat16, enabled=mode == "bf16"):
        logits, found = gradients(network, batch)
    assert torch.isfinite(logits).all()
    assert all(torch.isfinite(value).all() for value in found.values())


@pytest.mark.parametrize("family", PACKED_FAMILIES)
def test_dropout_acts_in_training_only(tmp_path: Path, family: str) -> None:
    rates = {"attention_dropout": 0.3, "mlp_dropout": 0.3} if family == "modernbert" else {}
    network = Network(load(tmp_path, family, **rates))
    batch = packed(random_ids())
    with torch.no_grad():
        assert torch.equal(network(batch), network(batch))
        network.train()
        torch.manual_seed(0)
        first, second = network(batch), network(batch)
        torch.manual_seed(0)
        again = network(batch)
    assert not torch.equal(first, second)
    assert torch.equal(first, again)


def test_attention_dropout_is_unbiased() -> None:
    """The mean over many draws approaches the product without dropout: the plain path scales what it keeps."""
    from glotune.model.packed.attention import attend
    from glotune.model.packed.packing import Packing

    torch.manual_seed(0)
    lengths = (3, 7, 7)
    packing = Packing(lengths, torch.tensor([0, 3, 10, 17], dtype=torch.int32), torch.device("cpu"))
    query, key, value = torch.randn(3, 17, 2, 8)
    expected = attend(query, key, value, packing)
    mean = torch.stack([attend(query, key, value, packing, dropout=0.2) for _ in range(3000)]).mean(0)
    assert (mean - expected).abs().max() < 0.1
