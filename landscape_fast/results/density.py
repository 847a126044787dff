"""A spectrum as weighted nodes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class SpectralDensity:
    """Spectrum as weighted nodes, from stochastic Lanczos quadrature."""

    nodes: Tensor  # (r, m) float64, Ritz values of each of r random starts
    weights: Tensor  # (r, m) float64, >= 0, each row sums to 1
    dimension: int  # n; the number of eigenvalues in [a, b] is about n * weight in [a, b]
    products: int
    samples: int
    precision: str | None = None  # of the products; None where the operator does not say
