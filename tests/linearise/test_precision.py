"""Lower precision stays inside the products, says so, and leaves torch's switches alone."""

from __future__ import annotations

import pytest
import torch
from networks import LADDER
from oracles import classification, conv_net, mlp

from landscape_fast import GGNOperator, HessianOperator, top_eigs
from landscape_fast.linearise.rules import precision


@pytest.mark.parametrize("name", ["conv-bn", "tanh", "attention"])
@pytest.mark.parametrize("kind", [HessianOperator, GGNOperator])
def test_bfloat16_products_are_close_and_come_in_float32(name, kind):
    make, shape = LADDER[name]
    model, loader = make().eval(), [classification(12, shape)]
    full, low = kind(model, loader), kind(model, loader, precision="bfloat16")
    v = torch.randn(5, full.shape[0])
    exact, rounded = full(v), low(v)
    assert rounded.dtype == torch.float32
    error = float((rounded - exact).norm() / exact.norm())
    assert 1e-5 < error < 3e-2
    forms = full.quadratic(v)
    assert ((low.quadratic(v) - forms).abs() <= 5e-2 * forms.abs().max()).all()


def test_the_result_records_the_precision():
    found = top_eigs(mlp(), [classification(8)], precision="bfloat16", tol=0.05)
    assert found.precision == "bfloat16"
    assert top_eigs(mlp(), [classification(8)]).precision == "float32"
    data = [(x.double(), y) for x, y in [classification(8)]]
    assert top_eigs(mlp().double(), data).precision == "float64"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"precision": "float16"}, "must be 'float32', 'tf32' or 'bfloat16'"),
        ({"precision": "tf32"}, "needs a CUDA device"),
        ({"precision": "bfloat16", "engine": "autograd"}, "captured engine"),
    ],
)
def test_what_cannot_be_had_is_refused_by_name(options, words):
    with pytest.raises(ValueError, match=f"precision.*{words}"):
        HessianOperator(conv_net(), [classification(4, (1, 6, 6))], **options)
    data = [(x.double(), y) for x, y in [classification(8)]]
    with pytest.raises(ValueError, match="float32 parameters"):
        HessianOperator(mlp().double(), data, precision="bfloat16")


def test_torchs_switches_are_restored_also_after_an_exception():
    switches = [torch.backends.cuda.matmul, torch.backends.cudnn.conv]
    before = [switch.fp32_precision for switch in switches]

    def interrupted():
        with precision.products_in("tf32"):
            assert [switch.fp32_precision for switch in switches] == ["tf32", "tf32"]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [switch.fp32_precision for switch in switches] == before
    with precision.products_in("bfloat16"):
        assert precision.reduced()
    assert not precision.reduced()
