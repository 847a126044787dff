from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from networks import LADDER
from oracles import assert_relative, classification, cut, dense_hessian
from torch import nn

from landscape_fast.linearise import cuts
from landscape_fast.linearise.operators import HessianOperator
from landscape_fast.linearise.rules.curvature import CURVATURES


@pytest.mark.parametrize("name", LADDER)
def test_forms_equal_those_of_the_dense_hessian(name, monkeypatch):
    monkeypatch.setattr(cuts, "CACHED_ELEMENTS", 300)
    make, shape = LADDER[name]
    x, y = classification(40, shape)
    exact = dense_hessian(make(), lambda model: F.cross_entropy(model(x.double()), y))
    op = HessianOperator(make().double(), cut((x.double(), y), [33, 7]), engine="captured")
    for k in (1, 5, 16):  # the batch of 33 is cut into pieces
        v = torch.randn(k, op.shape[0], dtype=torch.float64)
        assert_relative(op.quadratic(v), ((v @ exact) * v).sum(1), 1e-11)
    assert op.products == 22


def test_an_operation_without_a_term_of_its_own_is_differentiated_twice():
    x, y = classification(6)

    def loss_fn(model, batch):
        return torch.special.erfcx(model(batch[0])).square().mean(1).mean()

    model = nn.Linear(5, 3).double()
    op = HessianOperator(model, [(x.double(), y)], loss_fn=loss_fn, engine="captured")
    assert torch.ops.aten.special_erfcx.default not in CURVATURES
    v = torch.randn(3, op.shape[0], dtype=torch.float64)
    assert_relative(op.quadratic(v), (v * op(v)).sum(1), 1e-11)


def test_what_the_caller_detached_is_a_constant():
    x, y = classification(6)

    def loss_fn(model, batch):
        out = model(batch[0])
        return (out.square() * out.detach()).sum(), len(out)

    model = nn.Linear(5, 3).double()
    with pytest.warns(UserWarning, match="stops gradients"):
        op = HessianOperator(model, [(x.double(), y)], loss_fn=loss_fn)
    plain = HessianOperator(model, [(x.double(), y)], loss_fn=loss_fn, engine="autograd")
    v = torch.randn(3, op.shape[0], dtype=torch.float64)
    assert_relative(op.quadratic(v), plain.quadratic(v), 1e-12)


def test_a_weight_spoiled_term_would_be_noticed(monkeypatch):
    term = CURVATURES[torch.ops.aten.convolution.default]
    monkeypatch.setitem(
        CURVATURES,
        torch.ops.aten.convolution.default,
        lambda *arguments: None if term(*arguments) is None else 1.001 * term(*arguments),
    )
    make, shape = LADDER["conv-bn"]
    op = HessianOperator(make(), [classification(4, shape)])
    assert op.engine == "autograd"
    assert "differs from double backward" in op.engine_note
