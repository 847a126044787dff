"""What a measurement returns: the value, the evidence for it, and nothing else.

Every class is a frozen dataclass. Counts mean the same everywhere: ``products`` is the number of
vectors that went through the operator, ``samples`` the number of data rows the answer is about.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Self

from torch import Tensor


class NotConverged(ArithmeticError):
    """Raised by ``result.require()``; carries the unconverged ``result``."""

    def __init__(self, result: object, reason: str) -> None:
        super().__init__(reason)
        self.result = result


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A trace: an exact part, and the mean of independent unbiased draws for the rest."""

    value: float
    stderr: float  # standard error of `value`; 0 if all is exact, nan for a single draw
    draws: Tensor  # (r,) float64, independent unbiased estimates whose mean is `value`
    converged: bool  # stderr is at most max(rtol * |value|, atol)
    products: int
    samples: int
    precision: str | None = None  # of the products; None where the operator does not say
    gauss_newton: float | None = None  # exact trace of the Gauss-Newton matrix G, where known
    remainder: float | None = None  # trace of H - G, `value` less `gauss_newton`
    exact: tuple[str, ...] = ()  # parameters whose block has no standard error
    omitted: float = 0.0  # share of the output curvature left out of `gauss_newton`
    rounding: float = 0.0  # allowance for rounding and what was left out of the exact part
    note: str | None = None  # why nothing is exact; None if something could be
    layer_names: tuple[str, ...] = ()  # (p) parameters, if asked for
    layer_values: Tensor | None = None  # (p,) float64, traces of their blocks
    layer_stderr: Tensor | None = None  # (p,) float64

    @property
    def per_layer(self) -> dict[str, float]:
        """Trace of every parameter's block, by name; empty if it was not asked for."""
        values = [] if self.layer_values is None else self.layer_values.tolist()
        return dict(zip(self.layer_names, values, strict=True))

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Confidence interval of the given ``level`` from Student's t on the draws.

        Wider by ``rounding`` on both sides.
        """
        if not 0.0 < level < 1.0:
            raise ValueError(f"level must lie between 0 and 1, got {level}")
        from scipy.stats import t as student

        half = float(student.ppf(0.5 + level / 2.0, max(len(self.draws) - 1, 1))) * self.stderr
        half += self.rounding
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagonal:
    """Diagonal of the Hessian or of the Gauss-Newton matrix."""

    values: Tensor  # (n,) float64 on the CPU, in parameter order
    stderr: Tensor  # (n,) float64, 0 where exact
    names: tuple[str, ...]  # of the parameters
    shapes: tuple[tuple[int, ...], ...]  # theirs
    exact: tuple[str, ...]  # parameters whose entries have no standard error
    omitted: float  # share of the output curvature left out of the exact part
    converged: bool  # norm of `stderr` is at most max(rtol * norm of `values`, atol)
    products: int
    samples: int
    note: str | None = None  # why nothing is exact; None if something could be

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


@dataclass(frozen=True, slots=True, kw_only=True)
class SpectralDensity:
    """Spectrum as weighted nodes, from stochastic Lanczos quadrature."""

    nodes: Tensor  # (r, m) float64, Ritz values of each of r random starts
    weights: Tensor  # (r, m) float64, >= 0, each row sums to 1
    dimension: int  # n; the number of eigenvalues in [a, b] is about n * weight in [a, b]
    products: int
    samples: int
    precision: str | None = None  # of the products; None where the operator does not say


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Loss and accuracy of one model on one data set, in evaluation mode."""

    loss: float  # dataset-level mean, nats for cross-entropy
    accuracy: float  # percent; nan when the targets are not class indices
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Connectivity:
    """Mode connectivity of two models along a trained curve.

    ``value`` < 0: the curve crosses a barrier; about 0: connected; > 0: the curve is better than
    its ends, which were then not trained to convergence.
    """

    value: float  # mc of the training error, percentage points
    loss_value: float  # the same formula on the loss, nats
    t_star: float  # position of the extremum behind `value`
    t: Tensor  # (p,) float64, evaluated positions from 0 to 1
    errors: Tensor  # (p,) float64, training error in percent along the curve
    losses: Tensor  # (p,) float64, loss along the curve
    lengths: Tensor  # (p,) float64, l2 length of the chord that ends at t[i]; lengths[0] = 0
    bend: Tensor  # (n,) trained control point, flattened in parameter order
    steps: int  # optimiser steps spent on the curve
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Similarity:
    """Linear CKA of the outputs of two models."""

    value: float  # between 0 and 1; nan when a model's output is constant
    outputs: str  # "softmax" or "logits"
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How a training run went; the weights themselves are in a checkpoint file."""

    losses: Tensor  # (epochs,) float64, training loss of each epoch while the weights moved
    epoch: int  # whose weights were kept, counted from 0
    steps: int
    diverged: bool  # loss or weights became infinite or NaN, and training stopped there
    sha256: str  # of the checkpoint file
