"""The toy landscape of n-wedges, whose predictions have closed forms."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Wedges:
    r"""Loss of a point: its distance from the nearest of all axis-aligned wedges.

    A wedge is the subspace of ``long`` = n of the D axes; every choice of n axes is one, and all
    meet at the origin. So the loss is :math:`\sqrt{\sum x_i^2}` over the D - n entries of the
    smallest magnitude, a function of degree 1: along a ray from the origin it grows linearly, and
    along the ray through an optimum it is 0. It does not change with the order or the signs of the
    entries.

    Args:
        size: D, dimensions of the space.
        long: n, long directions of each wedge; 0 < n < D.

    Attributes:
        short: D - n, directions in which the loss rises: what an affine cut needs as dimensions to
            meet a wedge.

    Raises:
        ValueError: ``long`` does not lie between 0 and ``size``.

    References:
        Fort and Jastrzebski (2019), arXiv:1906.04724, for the landscape; its closed forms are ours.

    Example:
        >>> wedges = Wedges(4, 2)
        >>> point = torch.tensor([3.0, -5.0, 9.0, 4.0])
        >>> float(wedges.loss(point)), wedges.nearest(point).tolist()
        (5.0, [0.0, -5.0, 9.0, 0.0])
    """

    def __init__(self, size: int, long: int) -> None:
        if not 0 < long < size:
            raise ValueError(f"long must lie between 0 and size={size}, got {long}")
        self.size, self.long, self.short = size, long, size - long

    def loss(self, points: Tensor) -> Tensor:
        """Losses (...) of ``points`` (..., D), whose gradients have norm 1, and 0 on the wedges."""
        return torch.linalg.vector_norm(self._shortest(points).values, dim=-1)

    def nearest(self, points: Tensor) -> Tensor:
        """The closest point (..., D) of the nearest wedge: an optimum of loss 0."""
        return points.scatter(-1, self._shortest(points).indices, 0.0)

    def lowest_on_cut(self, origin: Tensor, directions: Tensor) -> tuple[float, Tensor]:
        """A local minimum of the loss on an affine cut, and where it is.

        From ``origin``, the point of the cut that is closest to the wedge now nearest, in turns
        until the wedge stays: the loss falls in every turn.

        Args:
            origin: (D,), a point of the cut.
            directions: (d, D), what spans it.

        Returns:
            The loss and the point (D,).

        Raises:
            ValueError: The shapes do not fit.
        """
        if origin.shape != (self.size,) or directions.shape[1:] != (self.size,):
            raise ValueError(
                f"origin must be ({self.size},) and directions (d, {self.size}), got "
                f"{tuple(origin.shape)} and {tuple(directions.shape)}"
            )
        point, loss = origin, float(self.loss(origin))
        while len(directions):
            short = self._shortest(point).indices
            moves = torch.linalg.lstsq(
                directions[:, short].T, -origin[short, None], driver="gelsd"
            ).solution
            there = origin + (directions.T @ moves)[:, 0]
            lower = float(self.loss(there))
            if not lower < loss:
                break
            point, loss = there, lower
        return loss, point

    def start_loss(self, scale: float = 1.0) -> float:
        r"""Root mean square of the loss at Gaussian starts of standard deviation ``scale``.

        In the limit of many dimensions: with p = (D - n) / D and q such that a standard normal lies
        in (-q, q) with probability p, it is :math:`\sqrt{D (p - 2 q \varphi(q))}`.
        """
        share = self.short / self.size
        q = math.sqrt(2.0) * float(torch.erfinv(torch.tensor(share, dtype=torch.float64)))
        density = math.exp(-q * q / 2) / math.sqrt(2 * math.pi)
        return scale * math.sqrt(self.size * (share - 2 * q * density))

    def cut_distance(self, dimension: int, scale: float = 1.0) -> float:
        """Root mean square distance of one wedge from a random cut through a Gaussian start.

        Exactly ``scale * sqrt(D - n - d)``, and 0 from d = D - n on. The nearest of all wedges is
        closer, but no wedge is met before that dimension.
        """
        return scale * math.sqrt(max(self.short - dimension, 0))

    def angular_width(self, radius: float, threshold: float) -> float:
        r"""Angle in radians at which the loss passes ``threshold`` on the sphere of an optimum.

        In a random direction orthogonal to the optimum, while the nearest wedge stays the same:
        :math:`\sin \varphi = \tau / (R \sqrt{(D - n) / (D - 1)})`. Infinite where it never does.
        """
        sine = threshold / (radius * math.sqrt(self.short / (self.size - 1)))
        return math.asin(sine) if sine <= 1 else math.inf

    def network(self, point: Tensor) -> nn.Module:
        """A module with the parameter ``point`` (D,) that returns its loss, for other measures.

        Example:
            >>> from landscape_fast import quality
            >>> module = Wedges(3, 1).network(torch.tensor([3.0, 4.0, 9.0]))
            >>> one_row = [(torch.zeros(1),)]
            >>> quality(module, one_row, loss_fn=lambda module, batch: module()).loss
            5.0
        """
        return _Placed(self, point)

    def _shortest(self, points: Tensor) -> torch.return_types.topk:
        if points.shape[-1:] != (self.size,):
            raise ValueError(f"points must be (..., {self.size}), got {tuple(points.shape)}")
        magnitudes = points.abs()
        return magnitudes.topk(self.short, dim=-1, largest=False)


class _Placed(nn.Module):
    def __init__(self, wedges: Wedges, point: Tensor) -> None:
        super().__init__()
        self.point = nn.Parameter(point.detach().clone())
        self._wedges = wedges

    def forward(self) -> Tensor:
        return self._wedges.loss(self.point)
