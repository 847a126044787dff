"""Gradient descent on losses of one parameter settles where the closed form says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from landscape_fast.multiscale.scalar import (
    descend,
    hyperbola,
    log_cosh,
    quartic,
    rippled,
    two_cycle,
)


@pytest.mark.parametrize("loss", [log_cosh(3.0), hyperbola(2.0), rippled(0.5, 0.1, 7), quartic(1)])
def test_slopes_and_curvatures_are_derivatives(loss):
    x, step = np.linspace(-2, 2, 41), 1e-5
    slope = (loss.value(x + step) - loss.value(x - step)) / (2 * step)
    bend = (loss.slope(x + step) - loss.slope(x - step)) / (2 * step)
    np.testing.assert_allclose(loss.slope(x), slope, atol=1e-8)
    np.testing.assert_allclose(loss.curvature(x), bend, atol=1e-7)
    assert loss.value(0.0) == 0.0
    np.testing.assert_allclose(loss.value(-x), loss.value(x))


def test_a_loss_slower_than_quadratic_holds_descent_at_the_edge():
    """log cosh 3x at lr 2.6 / 9: curvature 9 at the centre, 6.92 on average, 3.91 at the places."""
    loss, lr = log_cosh(3.0), 2.6 / 9
    cycle = two_cycle(loss, lr)
    assert cycle.stable
    assert cycle.curvature < 2 / lr < loss.curvature(0.0)
    places = descend(loss, [lr] * 400, start=0.01)
    assert abs(places[-1]) == pytest.approx(cycle.amplitude, rel=1e-9)
    assert places[-1] == pytest.approx(-places[-2], rel=1e-9)
    assert loss.value(places[-1]) == pytest.approx(cycle.level, rel=1e-9)
    assert loss.slope(places[-1]) / places[-1] == pytest.approx(2 / lr, rel=1e-9)


@pytest.mark.parametrize("lr", [0.6, 1.0, 3.0])
def test_the_cycle_of_a_hyperbola_is_explicit(lr):
    """h(a) = k^2 / sqrt(1 + k^2 a^2) = 2 / lr: the level is lr k^2 / 2 - 1."""
    k = 2.0
    cycle = two_cycle(hyperbola(k), lr)
    assert cycle.level == pytest.approx(lr * k**2 / 2 - 1, rel=1e-9)
    assert cycle.amplitude == pytest.approx(math.sqrt((lr * k**2 / 2) ** 2 - 1) / k, rel=1e-9)


def test_a_deviation_shrinks_by_the_multiplier_over_two_steps():
    loss, lr = hyperbola(2.0), 0.7
    cycle = two_cycle(loss, lr)
    off = 1e-6
    places = descend(loss, [lr] * 2, start=cycle.amplitude + off)
    assert (places[2] - cycle.amplitude) / off == pytest.approx(cycle.multiplier, rel=1e-3)


def test_a_loss_faster_than_quadratic_repels_its_cycle():
    loss, lr = quartic(1.0), 1.0
    cycle = two_cycle(loss, lr)
    assert not cycle.stable
    inside, outside = (descend(loss, [lr] * 300, start=cycle.amplitude * f) for f in (0.99, 1.01))
    assert abs(inside[-1]) < 0.01 * cycle.amplitude
    assert not np.isfinite(outside[-1])


def test_below_the_threshold_there_is_no_cycle():
    with pytest.raises(ValueError, match="no two-cycle"):
        two_cycle(log_cosh(3.0), 1.9 / 9)
    with pytest.raises(ValueError, match="lr must be positive"):
        two_cycle(log_cosh(3.0), 0.0)


def test_learning_rate_decay_lowers_the_level():
    """Hyperbola: the level is lr k^2 / 2 - 1 above lr = 2 / k^2, and 0 below."""
    k = 2.0
    loss, rates = hyperbola(k), np.array([0.3, 0.45, 0.6, 1.0, 2.0])
    places = descend(loss, np.tile(rates, (3000, 1)), start=0.3)
    levels = loss.value(places[-100:]).mean(0)
    np.testing.assert_allclose(levels, np.maximum(rates * k**2 / 2 - 1, 0.0), atol=1e-6)


def test_decay_takes_descent_into_the_ripples_that_small_steps_never_leave():
    """Above lr = 2 / (a + b w^2) descent sees the bowl alone and stays at a level of order b."""
    coarse, height, frequency = 1.0, 0.05, 40.0
    loss = rippled(coarse, height, frequency)
    threshold = 2 / (coarse + height * frequency**2)
    spread = np.linspace(0.95, 1.05, 100)
    fast = descend(loss, np.tile(3 * threshold * spread, (2000, 1)), start=1.0)
    decayed, slow = (
        descend(loss, np.tile(0.5 * threshold * spread, (2000, 1)), start=start)
        for start in (fast[-1], 1.0)
    )
    level, after, stuck = (
        loss.value(fast[-500:]).mean(),
        *map(np.mean, (loss.value(decayed[-1]), loss.value(slow[-1]))),
    )
    assert height < level < 4 * height
    assert after < level / 2
    assert after < stuck / 4
    assert np.abs(loss.slope(decayed[-1])).max() < 1e-9
