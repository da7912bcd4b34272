"""oneDNN's products: the same sums, only where no gradient is wanted."""

import pytest
import torch
from torch import nn

from glotune.model.cpu import fast_linear
from glotune.model.cpu.fast_linear import FastLinear, FastLinearGelu, use_fast_linear


@pytest.fixture
def faster(monkeypatch: pytest.MonkeyPatch) -> None:
    if not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        pytest.skip("torch was built without oneDNN")
    monkeypatch.setattr(fast_linear, "onednn_is_faster", lambda: True)


@pytest.mark.usefixtures("faster")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(7, 24), (2, 5, 24), (1, 24)])
def test_the_product_is_that_of_torch(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Linear(24, 40, bias=bias)
    values = torch.randn(shape)
    wanted = plain(values).detach()
    assert use_fast_linear(nn.Sequential(plain))
    with torch.no_grad():
        assert torch.allclose(plain(values), wanted, atol=1e-6)
    with torch.inference_mode():
        assert torch.allclose(plain(values), wanted, atol=1e-6)


@pytest.mark.usefixtures("faster")
def test_gradients_and_other_precisions_go_torchs_way() -> None:
    layer = nn.Linear(8, 8)
    use_fast_linear(nn.Sequential(layer))
    layer(torch.randn(3, 8)).sum().backward()
    assert layer.weight.grad is not None
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(3, 8)).dtype == torch.bfloat16
    with torch.no_grad():
        assert layer.double()(torch.randn(3, 8).double()).dtype == torch.float64


@pytest.mark.usefixtures("faster")
def test_a_feed_forward_takes_its_gelu_along() -> None:
    from transformers import XLMRobertaConfig
    from transformers.models.xlm_roberta.modeling_xlm_roberta import XLMRobertaIntermediate

    torch.manual_seed(0)
    part = XLMRobertaIntermediate(XLMRobertaConfig(hidden_size=24, intermediate_size=40))
    values = torch.randn(2, 5, 24)
    wanted = part(values).detach()
    assert use_fast_linear(nn.ModuleList([part]))
    assert type(part.dense) is FastLinearGelu
    assert torch.allclose(part(values), wanted, atol=1e-6)  # with gradients: torch's way
    with torch.no_grad():
        assert torch.allclose(part(values), wanted, atol=1e-6)


@pytest.mark.usefixtures("faster")
def test_another_activation_stays() -> None:
    from transformers import XLMRobertaConfig
    from transformers.models.xlm_roberta.modeling_xlm_roberta import XLMRobertaIntermediate

    part = XLMRobertaIntermediate(XLMRobertaConfig(hidden_size=8, intermediate_size=8, hidden_act="gelu_new"))
    kept = part.intermediate_act_fn
    use_fast_linear(nn.ModuleList([part]))
    assert part.intermediate_act_fn is kept
    assert type(part.dense) is FastLinear


@pytest.mark.usefixtures("faster")
def test_a_weight_that_changes_is_seen() -> None:
    layer = nn.Linear(4, 4)
    use_fast_linear(nn.Sequential(layer))
    with torch.no_grad():
        layer(torch.ones(1, 4))
        layer.weight.zero_()
        assert torch.equal(layer(torch.ones(1, 4)), layer.bias[None])


def test_nothing_changes_where_it_is_not_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_linear, "onednn_is_faster", lambda: False)
    layer = nn.Linear(4, 4)
    assert not use_fast_linear(nn.Sequential(layer))
    assert type(layer) is nn.Linear
    assert not isinstance(layer, FastLinear)


@pytest.mark.parametrize(
    ("maker", "flags", "slow"),
    [
        ("AuthenticAMD", "avx2 avx512f avx512_bf16", True),
        ("AuthenticAMD", "avx2", False),  # both reach the same there, and MKL is faster for a short text
        ("GenuineIntel", "avx2 avx512f", False),
        ("HygonGenuine", "avx512f", True),
    ],
)
def test_mkl_is_left_where_it_misses_the_widest_instructions(maker: str, flags: str, slow: bool) -> None:
    info = f"vendor_id\t: {maker}\nmodel name\t: some processor\nflags\t\t: fpu {flags}\n"
    assert fast_linear.mkl_is_slow(info) == slow
