"""Extreme eigenpairs and their residuals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from torch import Tensor

from landscape_fast.results.convergence import NotConverged


@dataclass(frozen=True, slots=True, kw_only=True)
class Eigenpairs:
    """Eigenvalues of a symmetric operator with the residuals that certify them."""

    values: Tensor  # (k,) float64 on the CPU, in the order that `which` asks for
    vectors: Tensor  # (k, n) unit eigenvectors, one per row, dtype and device of the operator
    residuals: Tensor  # (k,) float64, ||A v - lambda v|| from a product made for this purpose
    tolerance: float  # a pair counts as converged when its residual is <= tolerance
    converged: bool  # all k residuals are
    products: int
    samples: int  # 0 for an operator without data
    precision: str | None = None  # of the products; None where the operator does not say

    def require(self) -> Self:
        """Return ``self`` if converged, else raise :class:`NotConverged`."""
        if not self.converged:
            raise NotConverged(
                self,
                f"largest residual {self.residuals.max():.3e} exceeds {self.tolerance:.3e} after "
                f"{self.products} products; raise max_products or tol",
            )
        return self
