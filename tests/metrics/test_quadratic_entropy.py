"""Local entropy of quadratic losses, whose integral is Gaussian."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from oracles import assert_same_state, classification, conv_net, cut, dense_hessian, mlp, snapshot
from torch import nn

from landscape_fast.metrics.quadratic_entropy import quadratic_local_entropy
from landscape_fast.store import Store

SQUARES = nn.MSELoss()


def least_squares(n=12, *, diagonal=False, offset=0.0):
    """A quadratic loss, its data, its Hessian (n, n) and its gradient (n,) at the model."""
    generator = torch.Generator().manual_seed(1)
    model = nn.Linear(n, 1, bias=False).double()
    model.weight.data = torch.randn(1, n, generator=generator).double()
    x = torch.randn(2 * n, n, generator=generator).double()
    if diagonal:
        x = torch.diag(torch.linspace(0.5, 4, n)).double()
    y = model(x).detach() + offset
    hessian = 2 * x.T @ x / len(x)
    return model, [(x, y)], hessian, -2 * offset * x.mean(0)


def exact(loss, hessian, gradient, gamma):
    """The log of the mean of exp(-L) under N(0, 1 / gamma), from the Gaussian integral."""
    n = len(hessian)
    shifted = hessian + gamma * torch.eye(n).double()
    determinant = float(torch.linalg.slogdet(shifted / gamma)[1])
    return -loss - determinant / 2 + float(gradient @ torch.linalg.solve(shifted, gradient)) / 2


@pytest.mark.parametrize("gamma", [0.3, 10.0])
def test_a_diagonal_quadratic_is_exact_to_rounding(gamma):
    model, data, hessian, gradient = least_squares(diagonal=True, offset=0.7)
    found = quadratic_local_entropy(model, data, gamma=gamma, criterion=SQUARES, starts=2)
    wanted = exact(0.49, hessian, gradient, gamma)
    assert found.value == pytest.approx(wanted, rel=1e-10)
    assert found.stderr < 1e-12  # sign vectors read a diagonal without error
    assert found.loss == pytest.approx(0.49)


@pytest.mark.slow
def test_the_stated_error_covers_the_truth_of_rotated_quadratics():
    model, data, hessian, gradient = least_squares(offset=0.4)
    wanted, held = exact(0.16, hessian, gradient, 0.5), 0
    for seed in range(60):
        found = quadratic_local_entropy(
            model, data, gamma=0.5, criterion=SQUARES, starts=6, seed=seed
        )
        low, high = found.interval(0.9)
        held += low <= wanted <= high
    assert held >= 46  # of 60 at 90%: fewer happen once in 500


def test_the_gradients_part_is_bounded_from_below_and_by_what_it_lacks():
    model, data, hessian, gradient = least_squares(40, offset=2.0)
    shifted = hessian + 0.1 * torch.eye(40).double()
    wanted = float(gradient @ torch.linalg.solve(shifted, gradient)) / 2
    for steps in (2, 4, 8):
        found = quadratic_local_entropy(model, data, gamma=0.1, criterion=SQUARES, steps=steps)
        lacking = wanted - found.gradient_part
        assert 0 < lacking <= found.gradient_bound
    full = quadratic_local_entropy(model, data, gamma=0.1, criterion=SQUARES)
    assert full.gradient_part == pytest.approx(wanted, rel=1e-9)


def test_a_network_has_the_entropy_of_its_dense_hessian():
    model, (x, y) = mlp().double(), classification(20)
    data = cut((x.double(), y), [8, 12])

    def whole(network):
        return nn.functional.cross_entropy(network(x.double()), y)

    hessian = dense_hessian(model, whole)
    slopes = torch.autograd.grad(whole(model), list(model.parameters()))
    gradient = torch.cat([slope.reshape(-1) for slope in slopes])
    found = quadratic_local_entropy(model, data, gamma=2.0, starts=60)
    wanted = exact(float(whole(model).detach()), hessian, gradient, 2.0)
    assert abs(found.value - wanted) < 4 * found.stderr
    assert found.stderr < 0.2
    assert found.dimension == 57


def test_a_smaller_neighbourhood_than_the_most_negative_curvature_allows_is_asked_for():
    model, (x, y) = mlp(), classification(20)
    with pytest.raises(ValueError, match="gamma must exceed minus the smallest eigenvalue"):
        quadratic_local_entropy(model, [(x, y)], gamma=1e-9)


def test_the_integral_differs_by_the_gaussians_norm():
    model, data, hessian, _ = least_squares(3, diagonal=True)
    found = quadratic_local_entropy(model, data, gamma=2.0, criterion=SQUARES)
    # log of the integral of exp(-w' (H + gamma) w / 2)
    shifted = hessian + 2.0 * torch.eye(3).double()
    wanted = 1.5 * math.log(2 * math.pi) - float(torch.logdet(shifted)) / 2
    assert found.integral == pytest.approx(wanted)


def test_sharper_minima_have_less():
    flat, data, _, _ = least_squares()
    sharp = [(2 * data[0][0], 2 * data[0][1])]
    values = [
        quadratic_local_entropy(flat, batch, gamma=1.0, criterion=SQUARES).value
        for batch in (data, sharp)
    ]
    assert values[0] > values[1]


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_comes_back_as_it_went_in(fails):
    model = conv_net()
    before = snapshot(model)
    images = classification(12, (1, 6, 6))
    if fails:
        with pytest.raises(ValueError, match="gamma"):
            quadratic_local_entropy(model, [images], gamma=1e-9, starts=2, steps=20)
    else:
        quadratic_local_entropy(model, [images], gamma=100.0, starts=2, steps=5)
    assert_same_state(model, before)


def test_the_result_is_kept(tmp_path):
    model, data, _, _ = least_squares(3)
    saved = quadratic_local_entropy(copy.deepcopy(model), data, gamma=2.0, criterion=SQUARES)
    Store(tmp_path).save("key", "entropy", saved)
    found = Store(tmp_path).load("key", "entropy")
    assert (found.value, found.integral) == (saved.value, saved.integral)
    assert found.interval() == saved.interval()


@pytest.mark.parametrize(
    "options", [{"gamma": 0.0}, {"gamma": math.nan}, {"starts": 0}, {"steps": 0}, {"seed": -1}]
)
def test_wrong_arguments_are_named(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} must"):
        quadratic_local_entropy(mlp(), [classification(5)], **{"gamma": 1.0, **options})


def test_few_steps_do_not_hide_a_curvature_that_gamma_does_not_exceed():
    model, (x, y) = mlp().double(), classification(20)
    data = [(x.double(), y)]
    found = dense_hessian(model, lambda m: nn.functional.cross_entropy(m(x.double()), y))
    lowest = float(torch.linalg.eigvalsh(found)[0])
    assert lowest < 0
    for steps in (4, 8, 40):
        with pytest.raises(ValueError, match=f"after {steps} steps"):
            quadratic_local_entropy(model, data, gamma=-0.95 * lowest, steps=steps, starts=4)
