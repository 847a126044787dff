from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from oracles import classification, conv_net, mlp
from torch import nn
from torch.func import functional_call

from landscape_fast.linearise.objective import Objective
from landscape_fast.metrics.curve import BezierCurve
from landscape_fast.metrics.curve_fit import (
    fit_bends,
    rate_factor,
    starting_curve,
)
from landscape_fast.metrics.minibatches import Minibatches
from landscape_fast.metrics.placed import PlacedNetwork


def flat(model):
    return torch.cat([p.detach().reshape(-1) for p in model.parameters() if p.requires_grad])


def basis(kind, t, d):
    """What the points of a curve of degree d, or of d segments, count at t."""
    if kind == "bezier":
        return [math.comb(d, j) * t**j * (1 - t) ** (d - j) for j in range(d + 1)]
    return [max(0.0, 1.0 - abs(d * t - j)) for j in range(d + 1)]


def reference_fit(model, points, data, rng, kind, *, epochs, lr, momentum, weight_decay):
    """The same training with autograd through the curve and torch's own SGD and functional call."""
    bends = points[1:-1].clone().requires_grad_()
    optimizer = torch.optim.SGD([bends], lr=lr, momentum=momentum)
    model = copy.deepcopy(model).train()
    for epoch in range(epochs):
        for group in optimizer.param_groups:
            group["lr"] = lr * rate_factor((epoch + 1) / epochs)
        for inputs, targets in data.shuffled(rng):
            t = rng.random()
            control = torch.cat([points[:1], bends, points[-1:]])
            weights = basis(kind, t, len(control) - 1)
            theta = torch.tensor(weights, dtype=control.dtype) @ control
            parts, offset = {}, 0
            for name, parameter in model.named_parameters():
                part = theta[offset : offset + parameter.numel()]
                parts[name], offset = part.view_as(parameter), offset + parameter.numel()
            loss = F.cross_entropy(functional_call(model, parts, (inputs,)), targets)
            loss = loss + 0.5 * weight_decay * theta.square().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return bends.detach()


@pytest.mark.parametrize("kind", ["bezier", "polychain"])
@pytest.mark.parametrize("bends", [1, 2])
@pytest.mark.parametrize("build", [mlp, conv_net])
def test_training_equals_autograd_through_the_curve_with_torchs_sgd(build, bends, kind):
    one, other = (build(seed=seed).double() for seed in (0, 1))
    inputs, targets = classification(30, (5,) if build is mlp else (1, 6, 6))
    data = Minibatches([(inputs.double(), targets)], 8)
    options = {"epochs": 5, "lr": 0.1, "momentum": 0.9, "weight_decay": 0.05}
    network = PlacedNetwork(one)
    curve = starting_curve(network, (flat(one), flat(other)), "linear", bends, kind)
    start = curve.points.clone()
    steps = fit_bends(curve, network, data, Objective(), np.random.default_rng(3), **options)
    wanted = reference_fit(one, start, data, np.random.default_rng(3), kind, **options)
    assert steps == 20
    assert torch.allclose(curve.points[1:-1], wanted, rtol=1e-10, atol=1e-12)
    assert (curve.points[1:-1] - start[1:-1]).norm() > 0.1
    assert torch.equal(curve.points[[0, -1]], start[[0, -1]])


def test_the_learning_rate_is_constant_then_falls_then_rests():
    factors = [rate_factor(epoch / 50) for epoch in range(1, 51)]
    assert factors[:25] == [1.0] * 25
    assert factors[34] == pytest.approx(1 - 0.2 / 0.4 * 0.99)
    assert factors[44:] == pytest.approx([0.01] * 6)
    # Yang et al.'s 50 epochs amount to 34.65 at the full rate (methods of the published archive).
    assert sum(factors) == pytest.approx(34.65, abs=0.01)


@pytest.mark.parametrize("bends", [1, 3])
def test_a_linear_start_is_the_straight_line(bends):
    one, other = mlp(seed=0), mlp(seed=1)
    curve = starting_curve(PlacedNetwork(one), (flat(one), flat(other)), "linear", bends)
    assert len(curve.points) == bends + 2
    assert torch.allclose(curve(0.3), torch.lerp(flat(one), flat(other), 0.3), atol=1e-6)


class Partly(nn.Module):
    """A layer with a default initialisation, normalisation, and a parameter that has none."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(3))
        self.linear = nn.Linear(3, 200)
        self.norm = nn.BatchNorm1d(200)


def test_a_random_start_is_fresh_where_a_module_can_reset_itself_and_central_elsewhere():
    one, other = Partly(), Partly()
    other.scale.data.fill_(2.0)
    for model in (one, other):
        model.linear.weight.data.fill_(100.0)
    network = PlacedNetwork(one)
    torch.manual_seed(5)
    curve = starting_curve(network, (flat(one), flat(other)), "random", 1)
    parts = network.space.to_dict(curve.points[1])
    assert parts["scale"].tolist() == [1.0] * 3
    assert parts["norm.weight"].tolist() == [1.0] * 200
    assert 0.3 < parts["linear.weight"].std() * 3 < 0.36 * 3  # uniform on +- 1/sqrt(3): 1/3
    torch.manual_seed(5)
    again = starting_curve(network, (flat(one), flat(other)), "random", 2)
    assert torch.equal(again.points[1][3:], curve.points[1][3:])
    assert not torch.equal(again.points[1][3:603], again.points[2][3:603])
    assert torch.equal(network.model.linear.weight, one.linear.weight)


def test_a_network_moves_without_moving_the_callers():
    model = conv_net()
    before = flat(model)
    network = PlacedNetwork(model)
    network.place(torch.zeros_like(before))
    assert torch.equal(flat(network.model), torch.zeros_like(before))
    assert torch.equal(flat(model), before)


def test_tied_parameters_move_together_and_frozen_ones_stay():
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4), nn.Linear(4, 2))
    model[1].weight = model[0].weight
    model[2].requires_grad_(False)
    network = PlacedNetwork(model)
    network.place(torch.zeros(20))
    assert network.model[1].weight is network.model[0].weight
    assert torch.equal(network.model[1].weight, torch.zeros(4, 4))
    assert torch.equal(network.model[2].weight, model[2].weight)


def test_training_ends_with_the_epoch_in_which_a_bend_diverges():
    one, other = mlp(seed=0), mlp(seed=1)
    network = PlacedNetwork(one)
    curve = starting_curve(network, (flat(one), flat(other)), "linear", 1)
    options = {"epochs": 50, "lr": 1e30, "momentum": 0.9, "weight_decay": 1.0}
    data = Minibatches([classification(30)], 10)
    steps = fit_bends(curve, network, data, Objective(), np.random.default_rng(0), **options)
    assert steps == 3
    assert not curve.points[1].isfinite().all()


def test_a_batch_without_valid_targets_leaves_the_penalty_alone():
    one = mlp()
    start = flat(one)
    curve = BezierCurve(torch.stack([start, start, start]))
    data = Minibatches([(torch.randn(4, 5), torch.zeros(4))], 4)
    options = {"epochs": 1, "lr": 100.0, "momentum": 0.0, "weight_decay": 0.1}

    def masked(model, batch):
        return (model(batch[0]).sum(1) * batch[1]).sum(), batch[1].sum()

    objective = Objective(loss_fn=masked)
    fit_bends(curve, PlacedNetwork(one), data, objective, np.random.default_rng(0), **options)
    shrunk = curve.points[1] / start
    assert torch.allclose(shrunk, shrunk[0].expand_as(shrunk), rtol=1e-5)
    assert 0 < shrunk[0] < 1


def test_a_loss_of_another_model_is_refused():
    elsewhere, batch = mlp(), classification(4)
    objective = Objective(loss_fn=lambda _, b: F.cross_entropy(elsewhere(b[0]), b[1]).detach())
    curve = BezierCurve(flat(elsewhere).expand(3, -1).clone())
    options = {"epochs": 1, "lr": 1.0, "momentum": 0.0, "weight_decay": 0.0}
    with pytest.raises(ValueError, match="does not depend on any trainable parameter"):
        fit_bends(
            curve,
            PlacedNetwork(elsewhere),
            Minibatches([batch], 4),
            objective,
            np.random.default_rng(0),
            **options,
        )
