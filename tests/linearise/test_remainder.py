"""Forms of H - G by rows against the dense matrices."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from networks import LADDER
from oracles import assert_relative, classification, dense_gauss_newton, dense_hessian
from torch import nn

from landscape_fast.linearise.objective import Objective
from landscape_fast.linearise.params import ParameterSpace
from landscape_fast.linearise.remainder import Remainder
from landscape_fast.linearise.samplewise.network import SampledNetwork
from landscape_fast.linearise.state import evaluation


def remainder_of(model, batch, **loss):
    space = ParameterSpace(model)
    layout = SampledNetwork(model, Objective(**loss), space, batch).layout
    return Remainder(model, Objective(**loss), space, layout, batch), space


@pytest.mark.parametrize("name", ["tanh", "relu", "layer norm", "attention", "tied", "pooled"])
def test_rows_count_with_their_weights(name):
    make, shape = LADDER[name]
    x, y = classification(6, shape)
    weights = torch.tensor([1.0, 0.0, 3.0, 0.5, 2.0, 1.0], dtype=torch.float64)

    def loss(z):
        return (weights * F.cross_entropy(z, y, reduction="none")).sum()

    exact = dense_hessian(make(), lambda m: loss(m(x.double())))
    exact = exact - dense_gauss_newton(make(), lambda m: m(x.double()), loss)
    model = make().double()
    batch = (x.double(), y)
    with evaluation(model):
        remainder, space = remainder_of(model, batch)
        generator = torch.Generator().manual_seed(3)
        block = torch.randn(4, space.size, generator=generator, dtype=torch.float64)
        forms = remainder.forms(batch, weights, space.split(block))
    wanted = torch.einsum("ki,ij,kj->k", block, exact, block)
    scale = torch.einsum("ki,ij,kj->k", block.abs(), exact.abs(), block.abs()).max()
    assert float((forms - wanted).abs().max()) <= 1e-12 * float(scale) + 1e-13


def test_the_slope_of_a_row_is_that_of_its_loss():
    make, shape = LADDER["tanh"]
    x, y = classification(6, shape)
    model = make().double()
    batch = (x.double(), y)
    with evaluation(model):
        remainder, _ = remainder_of(model, batch)
        slopes = remainder.slopes(batch)
        wanted = (model(batch[0]).softmax(1) - F.one_hot(y, 3)).norm(dim=1)
    assert_relative(slopes, wanted, 1e-12)


def test_a_backward_pass_that_leaves_the_graph_is_refused():
    class Halved(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return torch.tanh(x)

        @staticmethod
        def backward(ctx, slope):
            (x,) = ctx.saved_tensors
            return slope * (1 - torch.tanh(x.detach()) ** 2)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.first, self.last = nn.Linear(5, 4), nn.Linear(4, 3)

        def forward(self, x):
            return self.last(Halved.apply(self.first(x)))

    x, y = classification(6)
    model = Net().double()
    batch = (x.double(), y)
    with evaluation(model):
        space = ParameterSpace(model)
        layout = SampledNetwork(model, Objective(), space, batch).layout
        with pytest.raises(ValueError, match="off from differences|differs by"):
            Remainder(model, Objective(), space, layout, batch)
