"""Curves through parameter space, and a number for what happens along them."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor


class Curve(ABC):
    r"""Curve :math:`\gamma(t) = \sum_j w_j(t) p_j`, t from 0 to 1, with weights that sum to 1.

    Args:
        points: (d + 1, n), the first end, the bends and the last end, one point per row. Kept, not
            copied: moving a row moves the curve.
    """

    def __init__(self, points: Tensor) -> None:
        if points.dim() != 2 or len(points) < 2:
            raise ValueError(f"points must be (d + 1, n) with d >= 1, got {tuple(points.shape)}")
        self.points = points

    def __call__(self, t: float) -> Tensor:
        """Point (n,) of the curve at ``t``; its ends are exact, whatever became of the bends."""
        if t in (0.0, 1.0):
            return self.points[0 if t == 0.0 else -1].clone()
        return self._inside(t)

    @abstractmethod
    def _inside(self, t: float) -> Tensor:
        """Point (n,) between the ends."""

    @abstractmethod
    def weights(self, t: float) -> tuple[float, ...]:
        """Derivatives of ``gamma(t)`` by its points: their d + 1 weights, which sum to 1."""

    def lengths(self, positions: Sequence[float]) -> Tensor:
        """Lengths (p,) float64 of the chords that end at ``positions``; the first one is 0."""
        # From differences of the points: those of curve points would lose what the points share.
        edges = self.points[1:] - self.points[0]
        lengths = [0.0]
        for before, after in itertools.pairwise(positions):
            weights = zip(self.weights(after)[1:], self.weights(before)[1:], strict=True)
            chord = torch.zeros_like(edges[0])
            for edge, (new, old) in zip(edges, weights, strict=True):
                chord.add_(edge, alpha=new - old)
            lengths.append(float(torch.linalg.vector_norm(chord, dtype=torch.float64)))
        return torch.tensor(lengths, dtype=torch.float64)


class BezierCurve(Curve):
    r"""Curve :math:`\gamma(t) = \sum_j \binom{d}{j} t^j (1 - t)^{d - j} p_j`, t from 0 to 1.

    Args:
        points: (d + 1, n), as of any :class:`Curve`.

    Example:
        >>> import torch
        >>> curve = BezierCurve(torch.tensor([[0.0, 0.0], [1.0, 2.0], [2.0, 0.0]]))
        >>> curve(0.5)
        tensor([1., 1.])
        >>> curve.weights(0.5)
        (0.25, 0.5, 0.25)
    """

    def _inside(self, t: float) -> Tensor:
        level = self.points
        while len(level) > 1:  # de Casteljau: stable, and exact where all points agree
            level = torch.lerp(level[:-1], level[1:], t)
        return level[0]

    def weights(self, t: float) -> tuple[float, ...]:
        """Derivatives of ``gamma(t)`` by its points: their d + 1 weights, which sum to 1."""
        d = len(self.points) - 1
        return tuple(math.comb(d, j) * t**j * (1.0 - t) ** (d - j) for j in range(d + 1))


def mode_connectivity(values: Sequence[float]) -> tuple[float, int | None]:
    """Largest deviation of a loss or error along a curve from the mean of its ends.

    Args:
        values: Along the curve, ends included.

    Returns:
        ``(values[0] + values[-1]) / 2 - values[i]`` and ``i``, where the magnitude is largest:
        negative for a barrier, positive for a valley. Where barrier and valley are equal, as at
        very unequal ends, the barrier counts, so that the value does not depend on the direction of
        the curve. ``(nan, None)`` where a value is not finite.

    References:
        Yang et al. (2021), arXiv:2107.11228, section 2.

    Example:
        >>> mode_connectivity([1.0, 2.0, 9.0, 2.0, 3.0])
        (-7.0, 2)
    """
    if not all(math.isfinite(value) for value in values):
        return math.nan, None
    ends = (values[0] + values[-1]) / 2
    barrier, valley = max(values) - ends, ends - min(values)
    if valley > barrier * (1 + 1e-12):  # beyond rounding
        return valley, values.index(min(values))
    return -barrier, values.index(max(values))
