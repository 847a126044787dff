"""Losses of one parameter: where gradient descent settles on them, in closed form and by trying."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from landscape_fast.arguments import require_number

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ScalarLoss:
    """An even loss f of one parameter with f(0) = 0, and its derivatives, of numbers or arrays."""

    value: Callable[[Any], Any]
    slope: Callable[[Any], Any]
    curvature: Callable[[Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoCycle:
    """Gradient descent that jumps between +amplitude and -amplitude."""

    amplitude: float  # where f'(a) / a = 2 / lr
    level: float  # f(a), the loss it stays at
    curvature: float  # f''(a); below 2 / lr where the loss grows slower than quadratic
    multiplier: float  # (1 - lr f''(a))^2, of a small deviation over two steps

    @property
    def stable(self) -> bool:
        """Whether descent from nearby stays."""
        return self.multiplier < 1


def log_cosh(k: float) -> ScalarLoss:
    """Log cosh(k x): quadratic with curvature k^2 near 0, of slope k far out."""
    return ScalarLoss(
        value=lambda x: np.logaddexp(k * x, -k * x) - math.log(2),
        slope=lambda x: k * np.tanh(k * x),
        curvature=lambda x: k**2 * (1 - np.tanh(k * x) ** 2),
    )


def hyperbola(k: float) -> ScalarLoss:
    """Square root of 1 + (k x)^2, less 1: curvature k^2 at 0, of slope k far out."""
    return ScalarLoss(
        value=lambda x: np.hypot(1.0, k * x) - 1.0,
        slope=lambda x: k**2 * x / np.hypot(1.0, k * x),
        curvature=lambda x: k**2 / np.hypot(1.0, k * x) ** 3,
    )


def rippled(coarse: float, height: float, frequency: float) -> ScalarLoss:
    """A bowl of curvature ``coarse`` with ripples: a x^2 / 2 + b (1 - cos w x), two scales."""
    return ScalarLoss(
        value=lambda x: coarse * x**2 / 2 + height * (1 - np.cos(frequency * x)),
        slope=lambda x: coarse * x + height * frequency * np.sin(frequency * x),
        curvature=lambda x: coarse + height * frequency**2 * np.cos(frequency * x),
    )


def quartic(q: float) -> ScalarLoss:
    """x^2 / 2 + q x^4: grows faster than quadratic, the counter-example."""
    return ScalarLoss(
        value=lambda x: x**2 / 2 + q * x**4,
        slope=lambda x: x + 4 * q * x**3,
        curvature=lambda x: 1 + 12 * q * x**2,
    )


def two_cycle(loss: ScalarLoss, lr: float, *, farthest: float = 1e6) -> TwoCycle:
    r"""The pair of points between which gradient descent jumps, :math:`f'(a) / a = 2 / \eta`.

    Of an even f, a step from a leads to -a exactly there. Where f'(x) / x falls with x, growth
    slower than quadratic, and f''(0) is above :math:`2 / \eta`, so that the minimum is unstable,
    there is one such pair and it is stable where f is convex: descent neither settles nor diverges,
    and the mean curvature f'(a) / a hovers at the threshold. Where f'(x) / x grows the pair repels.

    Args:
        loss: An even loss; f'(x) / x is taken to be monotone up to ``farthest``.
        lr: Learning rate.
        farthest: Largest amplitude that is looked for.

    Raises:
        ValueError: ``lr`` is not positive, or no pair lies between 0 and ``farthest``.

    References:
        Ma, Kunin, Wu and Ying (2022), doi:10.4208/jml.220404, for the explanation of the edge of
        stability by growth slower than quadratic; the condition of stability follows from the chain
        rule over two steps.

    Example:
        >>> cycle = two_cycle(log_cosh(3.0), 2.6 / 9)
        >>> cycle.stable, round(cycle.curvature, 2)
        (True, 3.91)
    """
    from scipy.optimize import brentq

    require_number(above=0, lr=lr, farthest=farthest)

    def excess(log_x: float) -> float:
        x = math.exp(log_x)
        return float(loss.slope(np.float64(x))) / x - 2 / lr

    low, high = math.log(1e-12), math.log(farthest)
    if excess(low) * excess(high) >= 0:
        raise ValueError(
            f"no two-cycle at lr={lr}: f'(x) / x does not pass {2 / lr:.6g} up to {farthest:.3g}"
        )
    a = np.float64(math.exp(brentq(excess, low, high, xtol=1e-14, rtol=1e-14)))
    curvature = float(loss.curvature(a))
    return TwoCycle(
        amplitude=float(a),
        level=float(loss.value(a)),
        curvature=curvature,
        multiplier=(1 - lr * curvature) ** 2,
    )


def descend(loss: ScalarLoss, rates: ArrayLike, *, start: ArrayLike) -> Array:
    """The places of gradient descent, (t + 1,) or (t + 1, p).

    Args:
        loss: What is descended.
        rates: Learning rate of every step (t,), or of p runs beside each other (t, p).
        start: Where every run starts, one place for all or (p,).

    Returns:
        Places before every step and after the last; infinite or nan where a run diverged.

    Example:
        >>> descend(quartic(0.0), [0.5, 0.5], start=1.0)
        array([1.  , 0.5 , 0.25])
    """
    rates = np.asarray(rates, dtype=np.float64)
    places = np.empty((len(rates) + 1, *rates.shape[1:]))
    places[0] = start
    with np.errstate(over="ignore", invalid="ignore"):
        for step, rate in enumerate(rates):
            places[step + 1] = places[step] - rate * loss.slope(places[step])
    return places
