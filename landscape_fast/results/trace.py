"""A trace, what of it is exact, and the error of the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from torch import Tensor

from landscape_fast.results.brief import brief
from landscape_fast.results.convergence import NotConverged
from landscape_fast.results.interval import half_width


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A trace: an exact part, and means of independent unbiased draws for the rest."""

    value: float
    stderr: float  # standard error of `value`; 0 if all is exact, nan for a single draw
    draws: Tensor  # (r,) float64, estimates whose mean is `value`; of several parts, the dearest's
    converged: bool  # stderr is at most max(rtol * |value|, atol)
    products: int
    samples: int
    freedom: float | None = None  # degrees of freedom of `stderr`; None for len(draws) - 1
    precision: str | None = None  # of the products; None where the operator does not say
    gauss_newton: float | None = None  # trace of the Gauss-Newton matrix G, where known
    gauss_newton_stderr: float | None = None  # its standard error
    remainder: float | None = None  # trace of H - G, `value` less `gauss_newton`
    remainder_stderr: float | None = None  # its standard error
    sampled: bool = False  # whether `gauss_newton` is from draws of rows, beyond what was omitted
    cotangents: int = 0  # through the network for `gauss_newton`, over all rows
    exact: tuple[str, ...] = ()  # parameters whose block of H - G is zero
    omitted: float = 0.0  # share of the output curvature that was left to draws
    rounding: float = 0.0  # allowance for rounding, and for what neither sum nor draws hold
    note: str | None = None  # why nothing is exact; None if something could be
    layer_names: tuple[str, ...] = ()  # (p) parameters, if asked for
    layer_values: Tensor | None = None  # (p,) float64, traces of their blocks
    layer_stderr: Tensor | None = None  # (p,) float64

    __repr__ = brief

    @property
    def per_layer(self) -> dict[str, float]:
        """Trace of every parameter's block, by name; empty if it was not asked for."""
        values = [] if self.layer_values is None else self.layer_values.tolist()
        return dict(zip(self.layer_names, values, strict=True))

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Confidence interval of the given ``level`` from Student's t.

        With the degrees of freedom of the draws, Satterthwaite's where several parts were drawn.
        Wider by ``rounding`` on both sides.
        """
        freedom = len(self.draws) - 1 if self.freedom is None else self.freedom
        half = half_width(self.stderr, level, freedom) + self.rounding
        return self.value - half, self.value + half

    def require(self) -> Self:
        """Return ``self`` if converged, else raise :class:`NotConverged`."""
        if not self.converged:
            raise NotConverged(
                self,
                f"trace {self.value:.6g} has standard error {self.stderr:.2e} after "
                f"{self.products} products; raise max_products or rtol",
            )
        return self
