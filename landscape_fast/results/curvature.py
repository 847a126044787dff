"""Results about curvature over scales, in random planes, along a run, and at a spectrum's top."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from landscape_fast.results.brief import brief

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def excess_in_plane(excess: float, dimension: int) -> float:
    r"""What the excess tr H / |H|_F becomes in a random plane of few of many dimensions.

    :math:`\tau_d = \sqrt d\, \tau / \sqrt{d + 1 + \tau^2}`, the ratio of the mean trace to the root
    of the mean squared norm over Gaussian planes: the trace of :math:`M^\top H M` has the mean
    :math:`d \operatorname{tr} H / n`, its squared norm
    :math:`(d (d + 1) \lVert H \rVert_F^2 + d \operatorname{tr}(H)^2) / n^2`.

    Example:
        >>> round(excess_in_plane(10.0, 99), 4)
        7.0356
    """
    return math.sqrt(dimension) * excess / math.sqrt(dimension + 1 + excess**2)


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldilocksZone:
    """Excess of positive curvature over the scale of the weights."""

    scales: tuple[float, ...]  # of the weights, 1 where the model is
    traces: Tensor  # (s,) float64, of the Hessian
    trace_stderr: Tensor  # (s,) float64
    norms: Tensor  # (s,) float64, Frobenius norms of the Hessian
    norm_stderr: Tensor  # (s,) float64
    losses: Tensor  # (s,) float64
    converged: Tensor  # (s,) bool, both are as exact as asked for
    dimension: int  # n
    radius: float  # l2 norm of the weights at scale 1
    samples: int

    __repr__ = brief

    @property
    def excess(self) -> Tensor:
        """Trace over Frobenius norm, (s,) float64: at most sqrt(n); nan where H is 0."""
        return self.traces / self.norms

    @property
    def stderr(self) -> Tensor:
        """Standard error of :attr:`excess`, (s,) float64; the two draws are independent."""
        of_trace = self.trace_stderr / self.norms
        return (of_trace.square() + (self.excess * self.norm_stderr / self.norms).square()).sqrt()

    @property
    def peak(self) -> tuple[float, float]:
        """Scale of the largest excess, and that excess.

        Raises:
            ValueError: The excess is nan at every scale.
        """
        known = self.excess.nan_to_num(-math.inf)
        if torch.isneginf(known).all():
            raise ValueError("the Hessian is zero at every scale")
        place = int(known.argmax())
        return self.scales[place], float(self.excess[place])

    def in_plane(self, dimension: int) -> Tensor:
        """Excess expected in a random plane of this dimension, (s,); see `excess_in_plane`."""
        return torch.tensor([excess_in_plane(float(tau), dimension) for tau in self.excess])

    def plot(self) -> Figure:
        """Excess and its error over the scale; needs matplotlib.

        Returns:
            A figure with an Agg canvas; ``figure.savefig(path)`` writes it.
        """
        from landscape_fast.plots.local_geometry import goldilocks_figure

        return goldilocks_figure(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneCurvature:
    """Eigenvalues of the Hessian in random planes."""

    values: Tensor  # (planes, d) float64, descending in each plane
    dimension: int  # n, of the space around
    products: int
    samples: int

    __repr__ = brief

    @property
    def excess(self) -> Tensor:
        """Trace over Frobenius norm in every plane, (planes,) float64."""
        return self.values.sum(1) / self.values.norm(dim=1)

    @property
    def positive(self) -> Tensor:
        """Part of the eigenvalues above zero in every plane, (planes,) float64."""
        return (self.values > 0).double().mean(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvatureTransient:
    """Rise and fall of a quantity along a run, the largest eigenvalue as a rule."""

    peak_step: int
    initial: float
    peak: float
    final: float

    @property
    def rise(self) -> float:
        """Peak over initial value; 1 where it never rises."""
        return self.peak / self.initial

    @property
    def fall(self) -> float:
        """Final value over peak; 1 where it never falls."""
        return self.final / self.peak


@dataclass(frozen=True, slots=True, kw_only=True)
class EigenvalueGap:
    """The largest relative gap between neighbours at the top of a spectrum."""

    count: int  # eigenvalues above it
    ratio: float  # of the two eigenvalues on its sides
    above: float
    below: float
