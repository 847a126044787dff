"""The gradient of local entropy on a quadratic loss, where the integral is known."""

from __future__ import annotations

import math

import pytest
import torch
from oracles import assert_same_state, classification, mlp, snapshot, symmetric_matrix
from torch.nn.functional import cross_entropy

from landscape_fast.regularisers import local_entropy

GAMMA = 0.7


def quadratic():
    """A loss w^T H w / 2 in five dimensions with its parameters."""
    hessian = symmetric_matrix(torch.tensor([0.1, 0.5, 1.0, 2.0, 4.0]))
    w = torch.linspace(-1, 2, 5, dtype=torch.float64, requires_grad=True)
    return hessian, w, lambda: w @ hessian @ w / 2


def negative_entropy(hessian, w):
    """-F(w) up to a constant, from the Gaussian integral."""
    inverse = torch.linalg.inv(hessian + GAMMA * torch.eye(5).double())
    return GAMMA / 2 * w @ w - GAMMA**2 / 2 * w @ inverse @ w


def test_the_gradient_is_that_of_finite_differences_of_the_integral():
    hessian, w, closure = quadratic()
    penalty = local_entropy(closure, [w], gamma=GAMMA, steps=400, noise=0.0)
    (found,) = torch.autograd.grad(penalty, [w])
    here = w.detach()
    for index in range(5):
        step = 1e-5 * torch.eye(5).double()[index]
        sides = [float(negative_entropy(hessian, here + s)) for s in (step, -step)]
        assert float(found[index]) == pytest.approx((sides[0] - sides[1]) / 2e-5, rel=1e-6)


def test_noise_leaves_the_mean_gradient():
    hessian, w, closure = quadratic()
    gradients = []
    for seed in range(60):
        penalty = local_entropy(
            closure, [w], gamma=GAMMA, steps=60, noise=1.0, memory=0.9, seed=seed
        )
        gradients.append(torch.autograd.grad(penalty, [w])[0])
    found = torch.stack(gradients)
    (exact,) = torch.autograd.grad(negative_entropy(hessian, w), [w])
    stderr = found.std(0) / math.sqrt(60)
    assert ((found.mean(0) - exact).abs() < 4.5 * stderr + 0.02).all()
    assert (stderr > 0).all()


def test_parameters_come_back_also_after_an_error_and_graphs_stay_valid():
    model, (x, y) = mlp(), classification(9)
    loss = cross_entropy(model(x), y)
    before = snapshot(model)
    local_entropy(lambda: cross_entropy(model(x), y), model, gamma=1.0)
    assert_same_state(model, before)

    calls = []

    def fails():
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("on purpose")
        return cross_entropy(model(x), y)

    with pytest.raises(RuntimeError, match="on purpose"):
        local_entropy(fails, model, gamma=1.0)
    assert_same_state(model, before)
    loss.backward()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gamma": 0.0}, "gamma"),
        ({"gamma": 1.0, "steps": 0}, "steps"),
        ({"gamma": 1.0, "lr": -1.0}, "lr"),
        ({"gamma": 1.0, "noise": -1.0}, "noise"),
        ({"gamma": 1.0, "memory": 1.0}, "memory"),
    ],
)
def test_errors_name_the_argument(options, words):
    _, w, closure = quadratic()
    with pytest.raises(ValueError, match=words):
        local_entropy(closure, [w], **options)
    with pytest.raises(ValueError, match="parameters"):
        local_entropy(closure, [w.detach()], gamma=1.0)
    with pytest.raises(ValueError, match="closure"):
        local_entropy(lambda: 1.0, [w], gamma=1.0)
