"""Linear CKA of features that come block by block, without keeping their rows."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class Alignment:
    """Sums over rows from which linear CKA follows.

    For many rows of few features each, such as the distributions over a vocabulary at every
    position of every sentence. What is held is three matrices, (d1, d1), (d2, d2) and (d1, d2) in
    float64, however many rows come.

    Example:
        >>> sums, x = Alignment(), torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
        >>> for rows in x.split(3):
        ...     sums.add(rows, rows[:, :1])
        >>> sums.rows, round(sums.value(), 6)
        (4, 0.707107)
    """

    def __init__(self) -> None:
        self.rows = 0
        self._sides: list[_Side] = []
        self._pairings: list[_Pairing] = []  # of x with itself, y with itself, x with y

    def add(self, x: Tensor, y: Tensor) -> None:
        """Take in rows (m, d1) of one set and the same rows (m, d2) of the other."""
        if x.dim() != 2 or y.dim() != 2 or len(x) != len(y):
            raise ValueError(
                f"x and y must be matrices of equally many rows, got {tuple(x.shape)} and "
                f"{tuple(y.shape)}"
            )
        if len(x) == 0:
            return
        if not self._sides:
            self._sides = [_Side(x), _Side(y)]
            first, second = (side.start for side in self._sides)
            ways = ((first, first), (second, second), (first, second))
            self._pairings = [_Pairing(*way) for way in ways]
        one, other = (side.take(part) for side, part in zip(self._sides, (x, y), strict=True))
        for pairing, parts in zip(
            self._pairings, ((one, one), (other, other), (one, other)), strict=True
        ):
            pairing.add(*parts)
        self.rows += len(x)

    def value(self, *, debiased: bool = False) -> float:
        """The alignment :func:`~landscape_fast.metrics.similarity.linear_cka` of all rows.

        Args:
            debiased: As there.

        Returns:
            Equal but for rounding; nan where that is nan, or without rows.

        Raises:
            ValueError: There are fewer than four rows with ``debiased``.
        """
        if debiased and self.rows < 4:
            raise ValueError(f"debiased needs at least 4 rows, got {self.rows}")
        if not self._sides or not all(side.varies(self.rows) for side in self._sides):
            return math.nan
        of_x, of_y, cross = (pairing.hsic(self.rows, debiased) for pairing in self._pairings)
        if not min(of_x, of_y) > 0:
            return math.nan
        return cross / (math.sqrt(of_x) * math.sqrt(of_y))


class _Side:
    """One set of features, taken from the mean of its first block so that little cancels."""

    def __init__(self, first: Tensor) -> None:
        self.start = first.double().mean(0)
        self._rounding = 8 * torch.finfo(first.dtype).eps
        self._total = torch.zeros_like(self.start)
        self._squares = torch.zeros_like(self.start)
        self._plain_squares = torch.zeros_like(self.start)  # of the features as they came

    def take(self, features: Tensor) -> Tensor:
        exact = features.double()
        moved = exact - self.start
        self._plain_squares += exact.square().sum(0)
        self._squares += moved.square().sum(0)
        self._total += moved.sum(0)
        return moved

    def varies(self, rows: int) -> bool:
        """Whether some feature varies by more than its rounding."""
        centred = (self._squares - self._total.square() / rows).clamp(min=0).sqrt()
        return bool((centred > self._rounding * self._plain_squares.sqrt()).any())


class _Pairing:
    r"""Sums over rows of two sets x and y, and their HSIC times :math:`m^2` or :math:`m (m - 3)`.

    With rows centred, :math:`a_i = \lVert x_i \rVert^2` and :math:`b_i = \lVert y_i \rVert^2`,
    equation 4 of Song et al. (2012) for linear kernels is :math:`\lVert X^\top Y \rVert_F^2 -
    \frac{m}{m-2} \sum_i a_i b_i + \frac{\sum_i a_i \sum_i b_i}{(m-1)(m-2)}`. The mean is known only
    after the last row, so what the sums need to be centred is summed too.
    """

    def __init__(self, like_x: Tensor, like_y: Tensor) -> None:
        self._products = like_x.new_zeros(len(like_x), len(like_y))
        self._x, self._y = torch.zeros_like(like_x), torch.zeros_like(like_y)
        self._x_by_b, self._y_by_a = torch.zeros_like(like_x), torch.zeros_like(like_y)
        self._a, self._b, self._ab = (like_x.new_zeros(()) for _ in range(3))

    def add(self, x: Tensor, y: Tensor) -> None:
        a, b = x.square().sum(1), y.square().sum(1)
        self._products.addmm_(x.T, y)
        self._x += x.sum(0)
        self._y += y.sum(0)
        self._x_by_b += b @ x
        self._y_by_a += a @ y
        self._a += a.sum()
        self._b += b.sum()
        self._ab += a @ b

    def hsic(self, m: int, debiased: bool) -> float:
        p, q = self._x / m, self._y / m  # the means
        cross = float((self._products - torch.outer(self._x, q)).square().sum())
        if not debiased:
            return cross
        pp, qq = p @ p, q @ q
        # The sum over rows of (a - 2 x.p + p.p) (b - 2 y.q + q.q).
        ab = (
            self._ab
            - 2 * (self._y_by_a @ q + self._x_by_b @ p)
            + 4 * (p @ self._products @ q)
            + qq * self._a
            + pp * self._b
            - 3 * m * pp * qq
        )
        spread = (self._a - m * pp) * (self._b - m * qq)
        return cross - float(ab) * m / (m - 2) + float(spread) / ((m - 1) * (m - 2))
