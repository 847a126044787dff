"""A matrix norm and its error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

from torch import Tensor

from landscape_fast.results.brief import brief
from landscape_fast.results.convergence import NotConverged
from landscape_fast.results.interval import half_width


@dataclass(frozen=True, slots=True, kw_only=True)
class Norm:
    """A Frobenius norm: the root of a mean of independent draws of its square."""

    value: float
    stderr: float  # standard error of `value`, by the delta method
    draws: Tensor  # (r,) float64, independent unbiased estimates of the square of the norm
    converged: bool  # stderr is at most rtol * value
    products: int
    samples: int
    precision: str | None = None  # of the products

    __repr__ = brief

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Confidence interval of the given ``level``: the roots of Student's for the square."""
        of_mean = float(self.draws.std()) / math.sqrt(len(self.draws))
        half = half_width(of_mean, level, len(self.draws) - 1)
        return math.sqrt(max(0.0, self.value**2 - half)), math.sqrt(self.value**2 + half)

    def require(self) -> Self:
        """Return ``self`` if converged, else raise :class:`NotConverged`."""
        if not self.converged:
            raise NotConverged(
                self,
                f"norm {self.value:.6g} has standard error {self.stderr:.2e} after "
                f"{self.products} products; raise max_products or rtol",
            )
        return self
