"""Random planes in parameter space: orthonormal frames, sparse ones, and the whole space."""

from __future__ import annotations

import math
from typing import Literal, Protocol

import torch
from torch import Tensor

Basis = Literal["orthonormal", "sparse"]


class Plane(Protocol):
    """A linear map M (n, d) whose columns have norm 1."""

    dimension: int

    def move(self, u: Tensor) -> Tensor:
        """``M u`` (n,) for coordinates (d,)."""

    def coordinates(self, gradient: Tensor) -> Tensor:
        """``M^T g`` (d,) for a gradient (n,)."""


def orthonormal_rows(count: int, size: int, generator: torch.Generator) -> Tensor:
    """A random orthonormal frame (count, size), float64 on the CPU, from Gaussian vectors."""
    draw = torch.randn(size, count, generator=generator, dtype=torch.float64)
    frame, triangle = torch.linalg.qr(draw)
    # With positive diagonals the decomposition is unique, and the frame uniform over all.
    return (frame * triangle.diagonal().sign()).T.contiguous()


class OrthonormalPlane:
    """Orthonormal columns, uniform over all such frames: (d, n) numbers.

    Args:
        size: n.
        dimension: d.
        generator: Of the draw, on the CPU.
        like: Its dtype and device are those of the plane.
    """

    def __init__(self, size: int, dimension: int, generator: torch.Generator, like: Tensor) -> None:
        self.dimension = dimension
        self._rows = orthonormal_rows(dimension, size, generator).to(like)

    def move(self, u: Tensor) -> Tensor:
        """``M u`` (n,)."""
        return u @ self._rows

    def coordinates(self, gradient: Tensor) -> Tensor:
        """``M^T g`` (d,)."""
        return self._rows @ gradient


class SparsePlane:
    r"""Columns with a few random signs, nearly orthogonal: 2 d sqrt(n) numbers by default.

    Args:
        size: n.
        dimension: d.
        generator: Of the draw, on the CPU.
        like: Its dtype and device are those of the plane.
        density: Share of the entries of a column that are not zero, at least 1 / n; None for
            :math:`1 / \sqrt n`.

    References:
        Li, Hastie and Church (2006), doi:10.1145/1150402.1150436.
    """

    def __init__(
        self,
        size: int,
        dimension: int,
        generator: torch.Generator,
        like: Tensor,
        density: float | None = None,
    ) -> None:
        self.dimension = dimension
        self._size = size
        count = round(size * (density or 1 / math.sqrt(size)))
        places = [torch.randperm(size, generator=generator)[:count] for _ in range(dimension)]
        self._places = torch.stack(places).to(like.device)  # (d, count)
        signs = 2.0 * torch.randint(2, (dimension, count), generator=generator) - 1
        self._entries = (signs / math.sqrt(count)).to(like)

    def move(self, u: Tensor) -> Tensor:
        """``M u`` (n,)."""
        out = torch.zeros(self._size, dtype=u.dtype, device=u.device)
        return out.index_add_(0, self._places.flatten(), (u[:, None] * self._entries).flatten())

    def coordinates(self, gradient: Tensor) -> Tensor:
        """``M^T g`` (d,)."""
        return (gradient[self._places] * self._entries).sum(1)


class WholeSpace:
    """No plane: every parameter is a coordinate.

    Args:
        size: n.
    """

    def __init__(self, size: int) -> None:
        self.dimension = size

    def move(self, u: Tensor) -> Tensor:
        """``u`` itself."""
        return u

    def coordinates(self, gradient: Tensor) -> Tensor:
        """``g`` itself."""
        return gradient
