from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import zoo
from networks import Attention, Tied, layer_norm_net
from oracles import classification, conv_net, dense_hessian, mlp
from torch import nn

from landscape_fast.linearise.objective import Objective
from landscape_fast.linearise.params import ParameterSpace
from landscape_fast.linearise.samplewise.diagonal import add_tables
from landscape_fast.linearise.samplewise.network import SampledNetwork
from landscape_fast.linearise.samplewise.table import tables
from landscape_fast.linearise.state import evaluation


class Gate(nn.Module):
    """Piecewise linear in every operation, and a product of two branches."""

    def __init__(self):
        super().__init__()
        self.first, self.gate, self.out = nn.Linear(5, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        x = F.relu(self.first(x))
        return self.out(x * F.hardtanh(self.gate(x)))


CASES = {
    "gate": (Gate, (5,), {"gate.weight", "gate.bias", "out.weight", "out.bias"}),
    "conv-bn-relu": (conv_net, (1, 6, 6), "all"),
    "residual": (lambda: zoo.images(zoo.Residual(2), nn.MaxPool2d(2)), (1, 6, 6), "all"),
    "leaky": (lambda: zoo.vectors(nn.LeakyReLU(), nn.Linear(4, 4), nn.Hardtanh()), (5,), "all"),
    "relu": (lambda: mlp(activation=nn.ReLU), (5,), "all"),
    # The gate multiplies two values that depend on the first filters; on its own they bend.
    "squeeze-excite": (
        lambda: zoo.images(zoo.SqueezeExcite(2)),
        (1, 6, 6),
        {"3.weight", "3.bias"},
    ),
    "tied": (Tied, (3,), {"second.bias"}),
    "gelu": (lambda: mlp(activation=nn.GELU), (5,), {"2.weight", "2.bias"}),
    "gelu by tanh": (lambda: mlp(activation=lambda: nn.GELU("tanh")), (5,), {"2.weight", "2.bias"}),
    "layer norm": (layer_norm_net, (5,), {"3.weight", "3.bias"}),
    "attention": (Attention, (12,), {"out.weight", "out.bias"}),
}


@pytest.mark.parametrize("name", CASES)
def test_parameters_called_exact_have_one_diagonal_in_both_matrices_and_no_others_do(name):
    make, shape, wanted = CASES[name]
    torch.manual_seed(0)
    model = make().double()
    x, y = classification(12, shape)
    batch = (x.double(), y)
    with evaluation(model):
        space = ParameterSpace(model)
        network = SampledNetwork(model, Objective(), space, batch)
        parts = [torch.zeros(shape, dtype=torch.float64) for shape in space.shapes]
        add_tables(lambda _: network, tables([batch], 0), 0.0, parts)
    exact = {space.names[index] for index in network.exact}
    assert exact == (set(space.names) if wanted == "all" else wanted)
    hessian = dense_hessian(model, lambda m: F.cross_entropy(m(batch[0]), y, reduction="sum"))
    for name, part, diagonal in zip(
        space.names,
        parts,
        hessian.diagonal().split([p.numel() for p in space.tensors]),
        strict=True,
    ):
        apart = float((part.reshape(-1) - diagonal).abs().max() / hessian.diagonal().abs().max())
        assert apart < 1e-12 if name in exact else apart > 1e-9
