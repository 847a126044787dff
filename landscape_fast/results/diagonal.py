"""A diagonal, what of it is exact, and the errors of the rest."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Self

from torch import Tensor

from landscape_fast.results.brief import brief
from landscape_fast.results.convergence import NotConverged


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagonal:
    """Diagonal of the Hessian or of the Gauss-Newton matrix."""

    values: Tensor  # (n,) float64 on the CPU, in parameter order
    stderr: Tensor  # (n,) float64, 0 where all was summed
    names: tuple[str, ...]  # of the parameters
    shapes: tuple[tuple[int, ...], ...]  # theirs
    exact: tuple[str, ...]  # parameters whose block of H - G has a zero diagonal
    omitted: float  # share of the output curvature left to draws, whose error is in `stderr`
    converged: bool  # norm of `stderr` is at most max(rtol * norm of `values`, atol)
    products: int
    samples: int
    note: str | None = None  # why nothing is exact; None if something could be

    __repr__ = brief

    def named(self) -> dict[str, Tensor]:
        """The entries by parameter, each in its parameter's shape."""
        out, start = {}, 0
        for name, shape in zip(self.names, self.shapes, strict=True):
            stop = start + prod(shape)
            out[name] = self.values[start:stop].reshape(shape)
            start = stop
        return out

    def require(self) -> Self:
        """Return ``self`` if converged, else raise :class:`NotConverged`."""
        if not self.converged:
            raise NotConverged(
                self,
                f"the diagonal has standard errors of norm {float(self.stderr.norm()):.2e} after "
                f"{self.products} products; raise max_products or rtol",
            )
        return self
