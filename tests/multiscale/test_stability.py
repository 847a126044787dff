"""Thresholds are where quadratics diverge; runs are plain SGD and hover at their threshold."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from oracles import assert_same_state, classification, cut, mlp, snapshot
from torch import nn

from landscape_fast import edge_of_stability, stability_threshold
from landscape_fast.multiscale.magnitudes import magnitude_problem
from landscape_fast.multiscale.scalar import descend, two_cycle
from landscape_fast.store import Store

RULES = [
    {},
    {"momentum": 0.5},
    {"momentum": 0.9},
    {"momentum": 0.9, "dampening": 0.3},
    {"momentum": 0.5, "nesterov": True},
    {"momentum": 0.9, "nesterov": True},
]


def radius_of_torch(curvature, lr, **rule):
    """Spectral radius of one step of torch's own SGD on a quadratic: (weight, buffer) to itself."""
    columns = []
    for start in ((1.0, 0.0), (0.0, 1.0)):
        weight = nn.Parameter(torch.tensor(start[0], dtype=torch.float64))
        sgd = torch.optim.SGD([weight], lr=lr, **rule)
        sgd.state[weight]["momentum_buffer"] = torch.tensor(start[1], dtype=torch.float64)
        weight.grad = curvature * weight.detach()
        sgd.step()
        columns.append([weight.item(), sgd.state[weight]["momentum_buffer"].item()])
    return np.abs(np.linalg.eigvals(np.array(columns).T)).max()


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_torchs_sgd_is_stable_just_below_the_threshold_and_not_above(rule):
    lr = 0.07
    threshold = stability_threshold(lr, **rule)
    if not rule:
        assert threshold == pytest.approx(2 / lr)
        return
    assert radius_of_torch(0.999 * threshold, lr, **rule) < 1
    assert radius_of_torch(1.001 * threshold, lr, **rule) > 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lr": 0.0}, "lr"),
        ({"lr": 1.0, "momentum": 1.0}, "momentum"),
        ({"lr": 1.0, "dampening": -0.1}, "dampening"),
        ({"lr": 1.0, "nesterov": True}, "nesterov needs momentum"),
        ({"lr": 1.0, "momentum": 0.5, "dampening": 0.1, "nesterov": True}, "nesterov needs"),
    ],
)
def test_rules_that_torch_has_not_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        stability_threshold(**options)


@pytest.mark.parametrize("rule", [{}, {"momentum": 0.9, "nesterov": True}], ids=str)
def test_a_run_is_torchs_sgd_on_the_whole_data(rule):
    model = mlp().double()
    x, y = classification(12)
    data = (x.double(), y)
    run = edge_of_stability(model, cut(data, [7, 5]), lr={0: 0.3, 4: 0.05}, steps=6, **rule)
    plain = copy.deepcopy(model)
    sgd = torch.optim.SGD(plain.parameters(), lr=0.3, **rule)
    losses, places = [], []
    for step in range(7):
        loss = F.cross_entropy(plain(data[0]), data[1])
        losses.append(float(loss.detach()))
        places.append(torch.cat([p.detach().reshape(-1).clone() for p in plain.parameters()]))
        sgd.param_groups[0]["lr"] = 0.3 if step < 4 else 0.05
        sgd.zero_grad()
        loss.backward()
        sgd.step()
    assert run.losses.tolist() == pytest.approx(losses, rel=1e-12)
    torch.testing.assert_close(run.end, places[6], rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(run.move, places[6] - places[5], rtol=1e-9, atol=1e-14)
    assert run.rates.tolist() == [0.3] * 4 + [0.05] * 2
    assert run.steps.tolist() == [0, 6]
    assert run.thresholds.tolist() == [stability_threshold(rate, **rule) for rate in (0.3, 0.05)]
    assert not run.diverged


def sampled_line(start=1e-3):
    """The magnitude problem off its minimum, so that descent moves along its line."""
    problem = magnitude_problem([3.0], width=4)
    weight = problem.model[0].weight
    with torch.no_grad():
        weight += start * problem.direction.view_as(weight)
    return problem


def test_a_network_that_grows_slower_than_quadratic_hovers_at_the_edge():
    """Along the line it is a loss of one parameter, with a two-cycle in closed form."""
    problem = sampled_line()
    lr = 2.2 / problem.scales[0][1]
    cycle = two_cycle(problem.line, lr, farthest=5.0)
    assert cycle.stable
    run = edge_of_stability(
        problem.model, problem.data, lr=lr, steps=300, every=50, criterion=problem.criterion
    )
    place = float(run.end @ problem.direction)
    assert abs(place) == pytest.approx(cycle.amplitude, rel=1e-6)
    assert float(run.losses[-1]) == pytest.approx(cycle.level, rel=1e-6)
    assert float(run.move.norm()) == pytest.approx(2 * cycle.amplitude, rel=1e-6)
    assert run.crossing == 0
    assert float(run.ratios[0]) == pytest.approx(1.1, rel=1e-2)
    plain = descend(problem.line, [lr] * 300, start=1e-3)
    np.testing.assert_allclose(run.losses, problem.line.value(plain[:, None])[:, 0], atol=1e-12)
    assert float(run.losses[-1]) > 1e3 * float(run.losses[0])  # a rise that is no divergence
    assert not run.diverged


def test_decay_below_the_threshold_ends_the_hovering():
    problem = sampled_line()
    top = problem.scales[0][1]
    run = edge_of_stability(
        problem.model,
        problem.data,
        lr={0: 2.2 / top, 200: 1.0 / top},
        steps=230,
        every=10,
        criterion=problem.criterion,
    )
    assert float(run.losses[200]) > 1e-2
    assert float(run.losses[-1]) < 1e-12
    before, after = run.hovering(0, 200), run.hovering(210)
    assert after[0] < 0.6 < before[0]


@pytest.mark.parametrize(("ratio", "last"), [(1.5, 60), (1e6, 1)])
def test_a_quadratic_above_the_threshold_diverges_and_says_so(ratio, last):
    """Its loss grows by (2 ratio - 1)^2 in a step: slowly until it overflows, or at a leap."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    data = [(torch.full((1, 1), ratio**0.5), torch.zeros(1, 1))]
    run = edge_of_stability(model, data, lr=1.0, steps=100, criterion=nn.MSELoss())
    assert run.diverged
    assert last < len(run.losses) < last + 10
    assert len(run.rates) == len(run.losses) - 1
    assert run.rising_share > 0.8


def test_steps_far_too_long_are_a_divergence_though_the_loss_stays_finite():
    run = edge_of_stability(mlp(), cut(classification(12), [12]), lr=1e6, steps=20, every=5)
    assert run.diverged
    assert len(run.losses) == 2
    assert math.isfinite(run.losses[-1])
    with pytest.raises(ValueError, match="fewer than two"):
        run.hovering()


def test_below_the_threshold_nothing_is_crossed():
    run = edge_of_stability(mlp(), cut(classification(12), [12]), lr=1e-3, steps=4, every=2)
    assert run.crossing is None
    assert math.isnan(run.rising_share)
    with pytest.raises(ValueError, match="never reached"):
        run.hovering()
    with pytest.raises(ValueError, match="fewer than two"):
        run.hovering(3)
    assert len(run.sharpness) == 3


def test_a_run_leaves_the_model_and_comes_back_from_the_store(tmp_path):
    model, data = mlp().train(), cut(classification(12), [12])
    before = snapshot(model)
    run = edge_of_stability(model, data, lr=0.1, steps=2, every=1)
    assert_same_state(model, before)
    store = Store(tmp_path)
    store.save("key", "run", run)
    assert torch.equal(store.load("key", "run").sharpness, run.sharpness)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lr": {1: 0.1}, "steps": 3}, "no rate for step 0"),
        ({"lr": {0: 0.1, 2: 0.0}, "steps": 3}, "lr from step 2 must be positive"),
        ({"lr": {0: 0.1, 500: 0.2}, "steps": 3}, "step 500 of lr must be .* at most 2, got 500"),
        ({"lr": 0.1, "steps": 0}, "steps"),
        ({"lr": 0.1, "steps": 3, "every": 0}, "every"),
        ({"lr": 0.1, "steps": 3, "nesterov": True}, "nesterov needs momentum"),
    ],
)
def test_a_wrong_argument_is_named(options, said):
    with pytest.raises(ValueError, match=said):
        edge_of_stability(mlp(), cut(classification(4), [4]), **options)
