"""Penalties have the value of the dense Hessian, and the gradient of finite differences."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from oracles import assert_same_state, classification, conv_net, dense_hessian, mlp, snapshot
from torch import nn

from landscape_fast import HessianOperator
from landscape_fast.regularisers import differentiable_twice, hessian_trace, top_eigenvalue


def problem(make=mlp, shape=(5,)):
    model = make().double().eval()
    x, y = classification(15, shape)
    x = x.double()
    return model, lambda: F.cross_entropy(model(x), y), lambda m: F.cross_entropy(m(x), y)


def difference(model, value, direction, step=1e-5):
    """Central difference of ``value()`` along ``direction``, a list of parameter shapes."""
    sides = []
    for sign in (1.0, -2.0, 1.0):
        for part, move in zip(model.parameters(), direction, strict=True):
            part.data += sign * step * move
        sides.append(float(value().detach()))
    return (sides[0] - sides[1]) / (2 * step)


def slope_along(model, scalar, direction):
    parts = torch.autograd.grad(scalar, list(model.parameters()), materialize_grads=True)
    return float(sum((g * d).sum() for g, d in zip(parts, direction, strict=True)))


def random_direction(model):
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(p.shape, generator=generator).double() for p in model.parameters()]


@pytest.mark.parametrize(("make", "shape"), [(mlp, (5,)), (conv_net, (1, 6, 6))])
def test_the_gradient_of_the_trace_is_that_of_finite_differences(make, shape):
    model, loss, _ = problem(make, shape)
    direction = random_direction(model)
    found = slope_along(model, hessian_trace(loss(), model, draws=2, seed=5), direction)
    exact = difference(model, lambda: hessian_trace(loss(), model, draws=2, seed=5), direction)
    assert found == pytest.approx(exact, rel=1e-6)


def test_the_trace_is_unbiased():
    model, loss, whole = problem()
    exact = float(dense_hessian(model, whole).trace())
    draws = torch.stack([hessian_trace(loss(), model, seed=s).detach() for s in range(200)])
    stderr = float(draws.std()) / 200**0.5
    assert abs(float(draws.mean()) - exact) < 4 * stderr
    assert stderr < 0.2 * abs(exact)


def test_the_top_eigenvalue_and_its_gradient():
    model, loss, whole = problem()
    exact = float(torch.linalg.eigvalsh(dense_hessian(model, whole))[-1])
    found = top_eigenvalue(loss(), model, tol=1e-9, max_products=200)
    assert found.value.item() == pytest.approx(exact, rel=1e-9)
    assert found.residual <= 1e-8
    direction = random_direction(model)
    there = difference(
        model, lambda: torch.linalg.eigvalsh(dense_hessian(model, whole))[-1], direction
    )
    assert slope_along(model, found.value, direction) == pytest.approx(there, rel=1e-6)


def test_a_start_saves_products():
    model, loss, _ = problem()
    first = top_eigenvalue(loss(), model, tol=1e-4, max_products=200)
    again = top_eigenvalue(loss(), model, tol=1e-4, max_products=200, start=first.vector)
    assert again.products < first.products
    assert again.value.item() == pytest.approx(first.value.item(), rel=1e-4)


def test_a_linear_loss_has_no_curvature():
    w = torch.ones(3, requires_grad=True)
    assert hessian_trace((2 * w).sum(), [w]).item() == 0.0
    assert top_eigenvalue((2 * w).sum(), [w]).value.item() == 0.0


def test_a_penalty_in_a_training_loop_flattens_the_minimum():
    """Of all w1 w2 = 1 the flattest are (1, 1) and (-1, -1): the Hessian's trace is w1^2 + w2^2."""
    w = torch.tensor([3.0, 0.2], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.SGD([w], lr=0.05)
    for step in range(250):
        optimiser.zero_grad()
        loss = (w[0] * w[1] - 1) ** 2 / 2
        (loss + 0.1 * hessian_trace(loss, [w], seed=step)).backward()
        optimiser.step()
    one, other = w.tolist()
    assert abs(one - other) < 0.5
    assert 0.6 < one * other < 1.1  # loss and penalty balance at 0.8; signs add noise


@pytest.mark.parametrize("power", [0.5, 1.5])  # slope, or curvature alone, is infinite at 0
def test_a_training_loop_goes_on_past_a_loss_that_is_not_finite(power):
    w = torch.tensor([0.0, 1.0], requires_grad=True)
    start = torch.tensor([0.6, 0.8])
    found = top_eigenvalue((w.abs() ** power).sum(), [w], start=start)
    assert math.isnan(found.value.item())
    assert math.isnan(found.residual)
    assert torch.equal(found.vector, start)
    found.value.backward()
    assert w.grad.isnan().any()  # what a gradient scaler skips
    again = top_eigenvalue((w**4).sum(), [w], start=found.vector)
    assert again.value.item() == pytest.approx(12.0, rel=1e-3)
    assert math.isnan(top_eigenvalue((w * math.nan).sum(), [w]).value.item())


def test_nothing_of_the_callers_changes():
    model, loss, _ = problem()
    before = snapshot(model)
    hessian_trace(loss(), model)
    top_eigenvalue(loss(), model)
    assert_same_state(model, before)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda loss, model: hessian_trace(loss, model, draws=0), "draws"),
        (lambda loss, model: hessian_trace(loss.detach(), model), "loss"),
        (lambda loss, model: hessian_trace(loss, nn.ReLU()), "parameters"),
        (lambda loss, model: top_eigenvalue(loss, model, start=torch.ones(3)), "start"),
        (
            lambda loss, model: top_eigenvalue(
                loss, [model[0].weight], start=torch.full((model[0].weight.numel(),), math.nan)
            ),
            "start holds values that are not finite",
        ),
    ],
)
def test_errors_name_the_argument(call, words):
    model, loss, _ = problem()
    with pytest.raises(ValueError, match=words):
        call(loss(), model)


def test_weight_norm_is_refused_unless_it_is_differentiated_rightly():
    torch.manual_seed(0)
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(3, 4))
    model = nn.Sequential(layer, nn.Tanh(), nn.Linear(4, 2)).double()
    x, y = torch.randn(9, 3, dtype=torch.float64), torch.arange(9) % 2
    for penalty in (hessian_trace, top_eigenvalue):
        with pytest.raises(
            ValueError, match="weight_norm, whose second derivative torch has wrong"
        ):
            penalty(F.cross_entropy(model(x), y), model)
    with differentiable_twice(model):
        loss = F.cross_entropy(model(x), y)
    exact = HessianOperator(model, [(x, y)])(torch.eye(sum(p.numel() for p in model.parameters())))
    found = top_eigenvalue(loss, model, tol=1e-6, max_products=100)
    assert found.value.item() == pytest.approx(float(torch.linalg.eigvalsh(exact)[-1]), rel=1e-6)


def test_a_parameter_that_is_listed_twice_is_one():
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    assert hessian_trace(w.square().sum(), [w, w], draws=4).item() == pytest.approx(4.0)
    assert top_eigenvalue(w.square().sum(), [w, w]).value.item() == pytest.approx(2.0)
