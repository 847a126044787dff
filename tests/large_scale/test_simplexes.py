"""Trained vertices lie where their expected loss says, and volumes grow where nothing forbids."""

from __future__ import annotations

import math

import pytest
import torch
from oracles import classification, mlp
from torch import Tensor, nn

from landscape_fast.large_scale.simplexes import low_loss_simplex

SQUARES = nn.MSELoss()


def at(*weights: float) -> nn.Module:
    layer = nn.Linear(len(weights), 1, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([weights]))
    return layer


def rows(x: Tensor, copies: int = 1) -> list[tuple[Tensor, Tensor]]:
    return [(x.double().repeat(copies, 1), torch.zeros(len(x) * copies, 1).double())]


def test_the_first_vertex_minimises_the_expected_loss_on_its_two_segments():
    # L = |w|^2 / 2 from both ends p: E (1 - t)(t p + (1 - t) c) = p / 6 + c / 3 = 0 in the mean.
    ends = at(4.0, 0.0), at(0.0, 2.0)
    found = low_loss_simplex(
        ends, rows(torch.eye(2)), vertices=1, criterion=SQUARES, epochs=600, lr=0.1, momentum=0.5
    )
    wanted = torch.tensor([-1.0, -0.5], dtype=torch.float64)
    assert (found.vertices[0] - wanted).norm() < 0.15
    assert found.steps == 600


def test_volume_grows_along_directions_that_the_loss_does_not_see():
    valley = rows(torch.tensor([[1.0, 0.0, 0.0, 0.0]]))
    less, more = (
        low_loss_simplex(
            [at(0.0, 10.0, 0.0, 0.0)],
            valley,
            criterion=SQUARES,
            volume_weight=weight,
            epochs=60,
            lr=0.05,
        )
        for weight in (1e-3, 1e-1)
    )
    assert less.log_volumes[-1] < more.log_volumes[-1]
    moved = more.vertices - torch.tensor([0.0, 10.0, 0.0, 0.0])
    assert moved[:, 0].abs().max() < 0.05 * moved.norm(dim=1).min()
    assert more.barrier < 0.01


def test_losses_and_volumes_are_those_of_the_points_they_are_said_to_be_of():
    ends = [at(1.0, 0.0, 2.0), at(0.0, 3.0, 1.0)]
    found = low_loss_simplex(
        ends, rows(torch.eye(3)), criterion=SQUARES, epochs=2, points=7, volume_weight=1.0
    )
    own = torch.stack([end.weight.detach()[0] for end in ends])
    for model, weights, loss in zip(found.simplexes, found.weights, found.losses, strict=True):
        point = weights @ torch.cat([own[model][None], found.vertices])
        assert float(loss) == pytest.approx(float(point.square().mean()))
    assert torch.allclose(found.vertex_losses, found.vertices.square().mean(1))
    one, other = found.vertices - own[:, None]
    areas = [(v[0].square().sum() * v[1].square().sum() - (v[0] @ v[1]) ** 2).sqrt() / 2
             for v in (one, other)]  # fmt: skip
    assert float(found.log_volumes[1].exp()) == pytest.approx(float(sum(areas)))


def test_a_descent_that_diverges_ends_in_nan():
    found = low_loss_simplex(
        [at(1.0, 0.0), at(0.0, 1.0)], rows(torch.eye(2)), criterion=SQUARES, lr=1e30, vertices=2
    )
    assert math.isnan(found.barrier)
    assert found.log_volumes.isnan().all()


def test_what_does_not_fit_is_named():
    data = [classification(8)]
    with pytest.raises(ValueError, match="volume_weight must be at least 0"):
        low_loss_simplex([mlp()], data, volume_weight=-1.0)
    with pytest.raises(ValueError, match="vertices must be a whole number"):
        low_loss_simplex([mlp()], data, vertices=0)
    with pytest.raises(ValueError, match="vertices must be at most the 2 parameters, got 3"):
        low_loss_simplex([at(1.0, 2.0)], rows(torch.eye(2)), criterion=SQUARES, vertices=3)
    with pytest.raises(ValueError, match="models must hold at least 1"):
        low_loss_simplex([], data)
