"""Modules that a model holds under several names, and parameters of unusual sizes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from oracles import assert_relative, classification, cut, dense_hessian
from torch import nn

from landscape_fast import GGNOperator, diagonal, top_eigs, trace
from landscape_fast.linearise.operators import HessianOperator


class TwoNames(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = self.first
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.second(self.first(x).tanh()).tanh())


class Scaled(nn.Module):
    """As a logit scale: a parameter without a dimension, and one without an entry."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.scale = nn.Parameter(torch.tensor(0.7))
        self.nothing = nn.Parameter(torch.zeros(0))

    def forward(self, x):
        return self.linear(x).tanh() * self.scale.exp()


def same_layer_twice():
    layer = nn.Linear(4, 4)
    return nn.Sequential(layer, nn.Tanh(), layer, nn.Tanh(), nn.Linear(4, 3))


def same_block_twice():
    block = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Tanh())
    return nn.Sequential(block, block, nn.Linear(4, 3))


MODELS = {
    "two names": TwoNames,
    "layer twice": same_layer_twice,
    "block twice": same_block_twice,
    "scalar": Scaled,
}


@pytest.mark.parametrize("name", MODELS)
def test_parts_that_a_model_holds_twice_and_scalars_are_measured_and_stay(name):
    torch.manual_seed(0)
    model = MODELS[name]().double().eval()
    x, y = classification(12, (4,))
    x = x.double()
    data = cut((x, y), [7, 5])
    owned = [*model.parameters(), *model.buffers()]
    values = [tensor.detach().clone() for tensor in owned]
    exact = dense_hessian(model, lambda m: F.cross_entropy(m(x), y))
    op = HessianOperator(model, data)
    assert op.engine == "captured", op.engine_note
    eye = torch.eye(op.shape[0], dtype=torch.float64)
    assert_relative(op(eye), exact, 1e-12)
    assert_relative(op.quadratic(eye), exact.diag(), 1e-12)
    plain = HessianOperator(model, data, engine="autograd")
    assert_relative(plain.quadratic(eye), exact.diag(), 1e-12)
    assert torch.isfinite(GGNOperator(model, data)(eye)).all()
    assert trace(model, data, rtol=0).value == pytest.approx(float(exact.trace()), rel=1e-9)
    assert_relative(diagonal(model, data, rtol=0).values, exact.diag(), 1e-6)
    assert float(top_eigs(model, data, 1).values[0]) == pytest.approx(
        float(torch.linalg.eigvalsh(exact)[-1]), rel=1e-4
    )
    now = [*model.parameters(), *model.buffers()]
    assert all(one is other for one, other in zip(now, owned, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(now, values, strict=True))


def nothing_labelled(model, batch):
    """Only batches of four rows are labelled."""
    if len(batch[1]) != 4:
        return torch.zeros(()), 0
    return F.cross_entropy(model(batch[0]), batch[1], reduction="sum"), 4


@pytest.mark.parametrize("sizes", [[4, 2], [2, 4]])
def test_a_batch_in_which_nothing_depends_on_the_model_counts_as_nothing(sizes):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    x, y = classification(6, (4,))
    data = cut((x.double(), y), sizes)
    four = next(batch for batch in data if len(batch[1]) == 4)
    exact = dense_hessian(model, lambda m: F.cross_entropy(m(four[0]), four[1]))
    for engine in ("auto", "autograd"):
        op = HessianOperator(model, data, loss_fn=nothing_labelled, engine=engine)
        assert_relative(op(torch.eye(op.shape[0], dtype=torch.float64)), exact, 1e-12)
    found = trace(model, data, loss_fn=nothing_labelled, rtol=0)
    assert found.value == pytest.approx(float(exact.trace()), rel=1e-9)
    largest = top_eigs(model, data, 1, loss_fn=nothing_labelled).values[0]
    assert float(largest) == pytest.approx(float(torch.linalg.eigvalsh(exact)[-1]), rel=1e-4)


def test_a_loss_that_no_batch_makes_depend_on_the_model_is_named():
    with pytest.raises(ValueError, match="does not depend on any selected parameter"):
        HessianOperator(
            nn.Linear(4, 3), [classification(6, (4,))], loss_fn=lambda _m, _b: (torch.ones(()), 1)
        )
