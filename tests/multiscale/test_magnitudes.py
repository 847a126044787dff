"""Data of different magnitudes give a two-layer network the scales and exponents predicted."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from oracles import dense_hessian
from torch import nn

from landscape_fast import loss_growth
from landscape_fast.multiscale.magnitudes import magnitude_problem, power_law_magnitudes


def growth_of(problem, **options):
    return loss_growth(
        problem.model,
        problem.data,
        directions=problem.direction,
        criterion=problem.criterion,
        **options,
    )


def test_the_loss_along_the_line_is_the_closed_form():
    problem = magnitude_problem([10.0, 0.5, 3.0], inputs=2, width=5)
    found = growth_of(problem, span=(1e-4, 1e2), per_decade=3)
    exact = problem.line.value(found.radii.numpy())
    np.testing.assert_allclose(found.rises[0].numpy(), exact, rtol=1e-9, atol=1e-18)
    np.testing.assert_array_equal(found.sides[0, 0].numpy(), found.sides[0, 1].numpy())
    assert found.loss == 0.0
    assert found.slopes.item() == 0.0
    assert found.curvatures.item() == pytest.approx(problem.scales[0][1], rel=1e-12)


@pytest.mark.parametrize("linear", [False, True])
def test_slope_and_curvature_of_the_line_are_derivatives(linear):
    line = magnitude_problem([10.0, 0.5], linear=linear).line
    t, step = np.linspace(-3, 3, 25), 1e-5
    slope = (line.value(t + step) - line.value(t - step)) / (2 * step)
    bend = (line.slope(t + step) - line.slope(t - step)) / (2 * step)
    np.testing.assert_allclose(line.slope(t), slope, atol=1e-5)
    np.testing.assert_allclose(line.curvature(t), bend, atol=1e-5)


def test_the_first_scale_is_the_largest_eigenvalue_of_the_hessian():
    problem = magnitude_problem([7.0, 2.0], inputs=3, width=4)
    x, y = problem.data[0]
    hessian = dense_hessian(problem.model, lambda model: nn.functional.mse_loss(model(x), y))
    top = torch.linalg.eigvalsh(hessian)[-1]
    assert float(top) == pytest.approx(problem.scales[0][1], rel=1e-9)
    along = problem.direction @ hessian @ problem.direction
    assert float(along) == pytest.approx(float(top), rel=1e-9)


def test_separate_magnitudes_are_separate_plateaus():
    problem = magnitude_problem([1e4, 1e2, 1.0])
    found = growth_of(problem, span=(1e-6, 1e2), per_decade=12)
    plateaus = found.plateaus(tolerance=0.25, decades=0.5)
    assert len(plateaus) == len(problem.scales) == 3
    for plateau, (radius, curvature) in zip(plateaus, problem.scales, strict=True):
        assert plateau.low * (1 - 1e-6) <= curvature <= plateau.high * (1 + 1e-2)
        assert plateau.stop < radius


@pytest.mark.parametrize("alpha", [1.5, 2.0, 2.5])
def test_a_power_law_of_magnitudes_is_growth_of_exponent_alpha_less_one(alpha):
    r = power_law_magnitudes(100_000, alpha, low=1.0, high=1e4)
    problem = magnitude_problem(r, width=1)
    t = torch.logspace(-2.6, -1.4, 40, dtype=torch.float64)
    p = np.polyfit(t.log(), np.log(problem.line.value(t.numpy()[:, None])[:, 0]), 1)[0]
    assert p == pytest.approx(alpha - 1, abs=0.1)


def test_a_linear_network_has_one_scale_whatever_the_magnitudes():
    problem = magnitude_problem([300.0, 10.0, 0.3], linear=True)
    found = growth_of(problem, per_decade=8)
    assert found.exponent().exponent == pytest.approx(2.0, abs=1e-6)
    (only,) = found.plateaus()
    assert only.curvature == pytest.approx(problem.scales[0][1], rel=1e-6)
    assert found.quadratic_radius().value == math.inf


def test_power_law_magnitudes_have_their_density():
    r = power_law_magnitudes(10_000, 2.5, low=0.1, high=10.0)
    assert r.min() > 0.1
    assert r.max() < 10.0
    share = float((r < 1.0).double().mean())
    exact = (0.1**-1.5 - 1.0) / (0.1**-1.5 - 10.0**-1.5)
    assert share == pytest.approx(exact, abs=1e-3)


def test_wrong_magnitudes_are_named():
    with pytest.raises(ValueError, match="magnitudes must be positive"):
        magnitude_problem([1.0, -1.0])
    with pytest.raises(ValueError, match="magnitudes must be positive"):
        magnitude_problem([])
    with pytest.raises(ValueError, match="width"):
        magnitude_problem([1.0], width=0)
    with pytest.raises(ValueError, match="low and high"):
        power_law_magnitudes(3, 2.0, low=1.0, high=1.0)
