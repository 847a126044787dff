"""Sharpness of perturbed weights against quadratic losses, whose answers are known."""

from __future__ import annotations

import copy
import math
from functools import partial

import pytest
import torch
from oracles import assert_same_state, classification, conv_net, cut, dense_hessian, mlp, snapshot
from torch import nn

from landscape_fast import (
    edge_of_stability,
    langevin_local_entropy,
    linear_barrier,
    loss_growth,
    loss_surface,
)
from landscape_fast.metrics.perturbation import average_sharpness, worst_case_sharpness
from landscape_fast.store import Store


def least_squares(*, at_minimum=True):
    """A quadratic loss, its data and its Hessian (3, 3)."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Linear(3, 1, bias=False).double()
    model.weight.data = torch.tensor([[0.5, -2.0, 1.0]]).double()
    x = torch.randn(30, 3, generator=generator).double()
    y = model(x).detach() if at_minimum else torch.randn(30, 1, generator=generator).double()
    return model, [(x, y)], 2 * x.T @ x / len(x)


def test_the_worst_case_at_a_minimum_is_half_the_top_eigenvalue():
    model, data, hessian = least_squares()
    found = worst_case_sharpness(model, data, rho=0.3, criterion=nn.MSELoss(), steps=60)
    exact = 0.5 * 0.09 * float(torch.linalg.eigvalsh(hessian)[-1])
    assert found.value == pytest.approx(exact, rel=1e-6)
    assert found.loss == pytest.approx(0.0, abs=1e-12)


def test_the_adaptive_worst_case_is_that_of_the_scaled_hessian():
    model, data, hessian = least_squares()
    found = worst_case_sharpness(
        model, data, rho=0.3, adaptive=True, criterion=nn.MSELoss(), steps=60
    )
    scale = model.weight.detach()[0].abs()
    exact = 0.045 * float(torch.linalg.eigvalsh(scale[:, None] * hessian * scale)[-1])
    assert found.value == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("of", ["nothing", "a part"])
def test_a_loss_of_the_network_instead_of_its_argument_is_refused(of):
    net, (x, y) = mlp().double(), classification(8)
    data = [(x.double(), y)]

    def loss_fn(model, batch):
        scores = (net if of == "nothing" else model)(batch[0])
        penalty = sum(part.square().sum() for part in net.parameters())
        return nn.functional.cross_entropy(scores, batch[1]) + 0.1 * penalty

    for call in (
        average_sharpness,
        worst_case_sharpness,
        loss_surface,
        loss_growth,
        partial(langevin_local_entropy, gamma=1.0),
        partial(edge_of_stability, lr=0.1, steps=1),
    ):
        with pytest.raises(ValueError, match=r"loss_fn\(model, batch\) must use its own argument"):
            call(net, data, loss_fn=loss_fn)
    with pytest.raises(ValueError, match=r"loss_fn\(model, batch\) must use its own argument"):
        linear_barrier(net, mlp(seed=1).double(), data, loss_fn=loss_fn, points=3)


def test_the_worst_corner_of_a_box_is_found():
    model, data, hessian = least_squares()
    found = worst_case_sharpness(model, data, rho=0.1, norm="linf", criterion=nn.MSELoss())
    corners = torch.cartesian_prod(*[torch.tensor([-0.1, 0.1]).double()] * 3)
    assert found.value == pytest.approx(float((corners @ hessian * corners).sum(1).max()) / 2)


@pytest.mark.parametrize("adaptive", [False, True])
def test_one_step_is_the_perturbation_of_sam(adaptive):
    model, data, _ = least_squares(at_minimum=False)
    found = worst_case_sharpness(
        model, data, rho=0.05, adaptive=adaptive, steps=1, criterion=nn.MSELoss()
    )
    loss = nn.functional.mse_loss(model(data[0][0]), data[0][1])
    (gradient,) = torch.autograd.grad(loss, [model.weight])
    scale = model.weight.detach().abs() if adaptive else torch.ones(1, 3).double()
    moved = copy.deepcopy(model)
    moved.weight.data += 0.05 * scale**2 * gradient / (scale * gradient).norm()
    exact = nn.functional.mse_loss(moved(data[0][0]), data[0][1]) - loss
    assert found.value == pytest.approx(float(exact.detach()), rel=1e-10)


def test_adaptive_sharpness_does_not_see_a_rescaling_that_the_network_does_not():
    model = mlp(activation=nn.ReLU).double()
    other = copy.deepcopy(model)
    other[0].weight.data *= 4.0
    other[0].bias.data *= 4.0
    other[2].weight.data /= 4.0
    x, y = classification(20)
    data = [(x.double(), y)]
    for function in (worst_case_sharpness, average_sharpness):
        values = [function(m, data, rho=0.1, adaptive=True).value for m in (model, other)]
        assert values[0] == pytest.approx(values[1], rel=1e-8)
        plain = [function(m, data, rho=0.1).value for m in (model, other)]
        assert plain[0] != pytest.approx(plain[1], rel=0.1)


@pytest.mark.parametrize("adaptive", [False, True])
def test_the_mean_rise_is_half_the_trace(adaptive):
    model, data, hessian = least_squares()
    found = average_sharpness(
        model, data, rho=0.2, adaptive=adaptive, draws=64, criterion=nn.MSELoss()
    )
    scale = model.weight.detach()[0].abs() if adaptive else torch.ones(3).double()
    exact = 0.02 * float((scale**2 * hessian.diagonal()).sum())
    assert abs(found.value - exact) < 4 * found.stderr
    assert found.stderr < 0.2 * exact


def test_error_bars_of_the_mean_rise_cover():
    model, data, hessian = least_squares()
    exact = 0.02 * float(hessian.trace())
    inside = 0
    for seed in range(50):
        found = average_sharpness(model, data, rho=0.2, draws=12, criterion=nn.MSELoss(), seed=seed)
        low, high = found.interval(0.9)
        inside += low < exact < high
    assert inside >= 37  # of 50, with 45 expected and a standard deviation of 2


def test_the_slope_adds_no_noise_to_the_mean():
    x, y = classification(20)
    model, data = mlp().double(), [(x.double(), y)]
    small = average_sharpness(model, data, rho=1e-3, draws=64)
    hessian = dense_hessian(model, lambda m: nn.functional.cross_entropy(m(x.double()), y))
    assert small.value == pytest.approx(0.5e-6 * float(hessian.trace()), abs=4 * small.stderr)
    loss = nn.functional.cross_entropy(model(x.double()), y)
    slope = sum(g.square().sum() for g in torch.autograd.grad(loss, list(model.parameters())))
    assert small.stderr < 0.01 * 1e-3 * float(slope) ** 0.5 / 8  # what single draws would have


def test_batches_have_their_own_maxima_and_error():
    model, [(x, y)], _ = least_squares(at_minimum=False)
    data = cut((x, y), [20, 10])
    options = {"rho": 0.1, "criterion": nn.MSELoss()}
    found = worst_case_sharpness(model, data, **options)
    alone = [worst_case_sharpness(model, [batch], **options).value for batch in data]
    assert found.draws.tolist() == pytest.approx(alone)
    assert found.value == pytest.approx((2 * alone[0] + alone[1]) / 3)
    assert found.stderr == pytest.approx(
        abs(alone[0] - alone[1]) * 2 / 9 * math.sqrt(2) * math.sqrt(2)
    )
    whole = worst_case_sharpness(model, data, per_batch=False, **options)
    assert whole.value == pytest.approx(worst_case_sharpness(model, [(x, y)], **options).value)
    assert whole.value <= found.value


def test_models_come_back_untouched_and_results_from_the_store(tmp_path):
    model, data = conv_net().train(), cut(classification(12, (1, 6, 6)), [12])
    before = snapshot(model)
    found = worst_case_sharpness(model, data, steps=2)
    average_sharpness(model, data, draws=2)
    assert_same_state(model, before)
    assert not found.adaptive
    store = Store(tmp_path)
    store.save("model", "sharpness", found)
    assert store.load("model", "sharpness").value == found.value


@pytest.mark.parametrize(
    ("function", "options", "words"),
    [
        (worst_case_sharpness, {"rho": 0.0}, "rho"),
        (worst_case_sharpness, {"steps": 0}, "steps"),
        (worst_case_sharpness, {"norm": "l1"}, "norm"),
        (average_sharpness, {"draws": 0}, "draws"),
        (average_sharpness, {"rho": math.inf}, "rho"),
    ],
)
def test_errors_name_the_argument(function, options, words):
    with pytest.raises(ValueError, match=words):
        function(mlp(), cut(classification(4), [4]), **options)


@pytest.mark.parametrize("per_batch", [True, False])
def test_a_worst_case_without_a_number_is_none(per_batch):
    model = torch.nn.Linear(4, 3)
    x, y = torch.randn(12, 4), torch.arange(12) % 3
    spoiled = x.clone()
    spoiled[9, 1] = math.nan
    data = list(zip(spoiled.split(4), y.split(4), strict=True))
    assert math.isnan(worst_case_sharpness(model, data, steps=3, per_batch=per_batch).value)
    deep = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    far = worst_case_sharpness(deep, [(x, y)], rho=1e25, steps=3, per_batch=per_batch)
    assert not math.isfinite(far.value)


@pytest.mark.parametrize("adaptive", [False, True])
def test_a_worst_case_stays_in_its_ball_where_gradients_are_too_small_to_square(adaptive):
    model = nn.Linear(1, 2, bias=False)
    model.weight.data = torch.tensor([[30.0], [-30.0]])
    data = [(torch.ones(1, 1), torch.zeros(1, dtype=torch.long))]
    found = worst_case_sharpness(model, data, rho=0.05, adaptive=adaptive)
    assert 0 <= found.value < 1e-20
