"""Extreme eigenpairs, their residuals, and whether any is missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from torch import Tensor

from landscape_fast.results.brief import brief
from landscape_fast.results.convergence import NotConverged


@dataclass(frozen=True, slots=True, kw_only=True)
class Eigenpairs:
    """Eigenvalues of a symmetric operator with what certifies them.

    Residuals certify that each pair is an eigenpair. ``complete`` says that these are the extreme
    ones, every copy counted: it is probabilistic, over a random block that looked for others.
    """

    values: Tensor  # (k,) float64 on the CPU, in the order that `which` asks for
    vectors: Tensor  # (k, n) unit eigenvectors, one per row, dtype and device of the operator
    residuals: Tensor  # (k,) float64, ||A v - lambda v|| from products that were made
    tolerance: float  # a pair counts as converged when its residual is <= tolerance
    converged: bool  # all k residuals are
    products: int
    samples: int  # 0 for an operator without data
    precision: str | None = None  # of the products; None where the operator does not say
    complete: bool = False  # none that exceeds the last value by more than tolerance is missing
    risk: float = 1.0  # bound on the probability that `complete` is wrong
    cluster_cut: bool = False  # the next eigenvalue may be within tolerance of the last value
    rounding: float = 0.0  # ten roundings of a product; tolerance is never less

    __repr__ = brief

    @property
    def sample_products(self) -> int:
        """Products times the rows of data that each went through."""
        return self.products * self.samples

    @property
    def limited_by_rounding(self) -> bool:
        """Whether the arithmetic, and not the tolerance asked for, bounds the residuals."""
        return 0 < self.tolerance <= self.rounding

    def require(self) -> Self:
        """Return ``self`` if converged, else raise :class:`NotConverged`."""
        if not self.converged:
            raise NotConverged(
                self,
                f"largest residual {self.residuals.max():.3e} exceeds {self.tolerance:.3e} after "
                f"{self.products} products; raise max_products or tol",
            )
        return self
