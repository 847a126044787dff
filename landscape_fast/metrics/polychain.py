"""Polygonal chains through parameter space, and the elastic band that a chain can be."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from landscape_fast.metrics.curve import Curve


class PolyChain(Curve):
    r"""Straight segments between points, point j at :math:`t = k_j`.

    Args:
        points: (d + 1, n), as of any :class:`~landscape_fast.metrics.curve.Curve`.
        knots: k, ascending from 0 to 1, one for each point; None for equal steps of t.

    Raises:
        ValueError: ``points`` or ``knots`` are no chain.

    Example:
        >>> import torch
        >>> chain = PolyChain(torch.tensor([[0.0, 0.0], [1.0, 2.0], [2.0, 0.0]]))
        >>> chain(0.5), chain(0.75)
        (tensor([1., 2.]), tensor([1.5000, 1.0000]))
        >>> chain.weights(0.75)
        (0.0, 0.5, 0.5)
    """

    def __init__(self, points: Tensor, knots: Sequence[float] | None = None) -> None:
        super().__init__(points)
        d = len(points) - 1
        self.knots = tuple(j / d for j in range(d + 1)) if knots is None else tuple(knots)
        rising = all(b > a for a, b in zip(self.knots, self.knots[1:], strict=False))
        if len(self.knots) != d + 1 or (self.knots[0], self.knots[-1]) != (0.0, 1.0) or not rising:
            raise ValueError(
                f"knots must be {d + 1} numbers that ascend from 0 to 1, got {self.knots}"
            )

    def weights(self, t: float) -> tuple[float, ...]:
        """Derivatives of ``gamma(t)`` by its points: the two at the ends of the segment count."""
        segment, share = self._place(t)
        found = [0.0] * len(self.points)
        found[segment], found[segment + 1] = 1.0 - share, share
        return tuple(found)

    def tangent(self, j: int) -> Tensor:
        """Unit vector (n,) along the chain at bend ``j``, between its two segments; or zero.

        References:
            Jonsson, Mills and Jacobsen (1998), doi:10.1142/9789812839664_0016.
        """
        sides = self.points[j : j + 2] - self.points[j - 1 : j + 1]
        return _unit(_unit(sides[0]) + _unit(sides[1]))

    def respace(self) -> None:
        """Move the bends along the chain until lengths between points are as steps of t.

        An elastic band whose springs are infinitely stiff. Nothing moves where the chain has no
        length or a bend is not finite.
        """
        old = self.points.clone()
        edges = torch.linalg.vector_norm(self.points.diff(dim=0), dim=1, dtype=torch.float64)
        along = torch.cat([edges.new_zeros(1), edges.cumsum(0)])
        if not 0 < float(along[-1]) < torch.inf:
            return
        shares = (along / along[-1]).tolist()
        for j, share in enumerate(self.knots[1:-1], 1):
            segment = sum(share >= start for start in shares[1:-1])
            low, high = shares[segment : segment + 2]
            part = (share - low) / (high - low) if high > low else 0.0
            self.points[j] = torch.lerp(old[segment], old[segment + 1], part)

    def with_bends_at(self, positions: Sequence[float]) -> PolyChain:
        """The same curve with more bends, one at each of ``positions`` that is no knot yet."""
        knots = sorted({*self.knots, *positions})
        return PolyChain(torch.stack([self(t) for t in knots]), knots)

    def _inside(self, t: float) -> Tensor:
        segment, share = self._place(t)
        return torch.lerp(self.points[segment], self.points[segment + 1], share)

    def _place(self, t: float) -> tuple[int, float]:
        """Segment that holds ``t``, and how far along it that is."""
        segment = sum(t >= knot for knot in self.knots[1:-1])
        low, high = self.knots[segment : segment + 2]
        return segment, (t - low) / (high - low)


def _unit(vector: Tensor) -> Tensor:
    length = torch.linalg.vector_norm(vector, dtype=torch.float64)
    return vector / length.clamp_min(torch.finfo(vector.dtype).tiny).to(vector.dtype)
