"""Exponents, radii and plateaus, and how they are read off a rise over distance."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from landscape_fast.results.interval import half_width

_FEWEST = 4  # points of a fit


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerLaw:
    r"""A straight line through the logarithms: the rise is close to c r^exponent in the window.

    ``stderr`` holds for residuals that hang together as an autoregression of first order: n points
    with lag-one correlation rho count as n (1 - rho) / (1 + rho) (Santer et al. 2000,
    doi:10.1029/1999JD901105), so that denser radii make no smaller error. Rounding is added.
    """

    exponent: float
    stderr: float
    freedom: float  # points that count, less two; at least 1
    window: tuple[float, float]  # first and last radius
    points: int

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Confidence interval of the exponent, by Student's t."""
        half = half_width(self.stderr, level, self.freedom)
        return self.exponent - half, self.exponent + half


@dataclass(frozen=True, slots=True, kw_only=True)
class QuadraticRadius:
    """Where the loss leaves its second-order expansion."""

    value: float  # interpolated; nan without positive curvature, inf if beyond all radii
    lower: float  # the last radius where the expansion holds; 0 if it never does
    upper: float  # the next one, where it does not
    ratio: float  # loss rise over v^T H v r^2 / 2 at `upper`: below 1 is slower than quadratic


@dataclass(frozen=True, slots=True, kw_only=True)
class Plateau:
    """A stretch of radii over which the effective curvature hardly changes: one scale."""

    curvature: float  # geometric mean
    low: float  # smallest and largest value on the stretch
    high: float
    start: float  # radii
    stop: float


def power_law(
    radii: Tensor,
    rises: Tensor,
    *,
    between: tuple[float, float],
    floor: float = 0.0,
) -> PowerLaw:
    """Fit a power law to ``rises`` (m,) at ``radii`` (m,); see :meth:`Growth.exponent`.

    Raises:
        ValueError: ``between`` is no positive interval, or fewer than four radii lie in it.
    """
    low, high = between
    if not 0 < low < high:
        raise ValueError(f"between must be (low, high) with 0 < low < high, got {between}")
    reached = (rises >= low).nonzero()
    first = int(reached[0]) if len(reached) else len(rises)
    beyond = (~((rises[first:] > 0) & (rises[first:] <= high))).nonzero()
    last = first + int(beyond[0]) if len(beyond) else len(rises)
    n = last - first
    if n < _FEWEST:
        raise ValueError(
            f"between={between} holds {n} radii, at least {_FEWEST} are needed: widen it, or take "
            "more radii"
        )
    x, y = radii[first:last].log(), rises[first:last].log()
    x = x - x.mean()
    spread = float(x.square().sum())
    exponent = float(x @ y) / spread
    residuals = y - y.mean() - exponent * x
    squares = float(residuals.square().sum())
    lagged = float(residuals[1:] @ residuals[:-1]) / squares if squares > 0 else 0.0
    counted = n * (1 - max(lagged, 0.0)) / (1 + max(lagged, 0.0))
    freedom = max(counted - 2, 1.0)
    rounding = float((x / spread * floor / rises[first:last]).square().sum())
    return PowerLaw(
        exponent=exponent,
        stderr=math.sqrt(squares / freedom / spread + rounding),
        freedom=freedom,
        window=(float(radii[first]), float(radii[last - 1])),
        points=n,
    )


def plateaus(
    radii: Tensor, values: Tensor, *, factor: float, decades: float
) -> tuple[Plateau, ...]:
    """Stretches of ``radii`` (m,) where ``values`` (m,) lie within ``factor``; as of a Growth."""
    x, h = radii.log10().tolist(), values.tolist()
    free = [math.isfinite(value) and value > 0 for value in h]
    found: list[Plateau] = []
    while True:
        start, stop = _longest(x, h, free, factor)
        if start == stop or x[stop] - x[start] < decades:
            return tuple(sorted(found, key=lambda plateau: plateau.start))
        part = values[start : stop + 1]
        found.append(
            Plateau(
                curvature=float(part.log().mean().exp()),
                low=float(part.min()),
                high=float(part.max()),
                start=float(radii[start]),
                stop=float(radii[stop]),
            )
        )
        free[start : stop + 1] = [False] * (stop + 1 - start)


def _longest(x: list[float], h: list[float], free: list[bool], factor: float) -> tuple[int, int]:
    """First and last index of the longest free stretch whose values lie within ``factor``."""
    best = (0, 0)
    for start in range(len(x)):
        low = high = h[start]
        for stop in range(start, len(x)):
            low, high = min(low, h[stop]), max(high, h[stop])
            if not free[stop] or high > factor * low:
                break
            if x[stop] - x[start] > x[best[1]] - x[best[0]]:
                best = (start, stop)
    return best
