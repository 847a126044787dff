"""Volumes of simplexes in parameter space, and how they grow with a vertex."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def log_volume(vertices: Tensor) -> float:
    r"""Logarithm of the k-dimensional volume of a simplex with k + 1 ``vertices`` (k + 1, n).

    :math:`V = \sqrt{\det E E^T} / k!` with the edges E from the first vertex, which is what the
    Cayley-Menger determinant of the distances gives. A single vertex has volume 1, a degenerate
    simplex 0, whose logarithm is minus infinity.

    Raises:
        ValueError: There are more vertices than dimensions allow, or none.

    Example:
        >>> round(math.exp(log_volume(torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]]))), 6)
        6.0
    """
    if vertices.dim() != 2 or not 0 < len(vertices) <= vertices.shape[1] + 1:
        raise ValueError(
            f"vertices must be (k + 1, n) with 0 <= k <= n, got {tuple(vertices.shape)}"
        )
    edges = (vertices[1:] - vertices[0]).double()
    lengths = torch.linalg.qr(edges.T, mode="r").R.diagonal().abs()
    return float(lengths.log().sum()) - math.lgamma(len(vertices))


class SummedVolume:
    """Volume of the simplexes that one more vertex makes with each of several bases.

    Args:
        bases: Vertices (k, n) each; their faces stay.

    Example:
        The area of a triangle over the edge of length 2 grows by 1 per height:

        >>> volume = SummedVolume([torch.tensor([[0.0, 0.0], [2.0, 0.0]])])
        >>> volume.log_slope(torch.tensor([1.0, 5.0]), offset=0.0)
        tensor([0.0000, 0.2000])
    """

    def __init__(self, bases: Sequence[Tensor]) -> None:
        self._bases = []
        for base in bases:
            frame = torch.linalg.qr((base[1:] - base[0]).double().T).Q.to(base.dtype)
            # Not by math.exp, which raises where a descent diverged.
            volume = torch.tensor(log_volume(base), dtype=torch.float64).exp()
            by_height = float(volume) / len(base)
            self._bases.append((base[0], frame, by_height))

    def log_slope(self, vertex: Tensor, offset: float) -> Tensor:
        """Gradient (n,) of log(V + offset) by the ``vertex`` (n,)."""
        total, slope = offset, torch.zeros_like(vertex)
        for corner, frame, by_height in self._bases:
            height = vertex - corner
            for _ in range(2):  # the second pass takes off what rounding left
                height = height - frame @ (frame.T @ height)
            length = float(height.norm())
            total += by_height * length
            slope.add_(height, alpha=by_height / max(length, 1e-30))
        return slope / total
