"""Results about the random model of logit gradients: one draw, and what is expected of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from landscape_fast.results.brief import brief
from landscape_fast.results.ggn_spectrum import GGNSpectrum

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedSpectrum:
    """Gauss-Newton matrix and gradient of one draw of the random model."""

    values: Tensor  # (r,) float64, eigenvalues that need not be zero, descending
    shares: Tensor  # (r,) float64, of the squared gradient norm along each eigenvector
    gradient_norm: float
    dimension: int  # D

    __repr__ = brief


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedSpectrum:
    """Where the eigenvalues of a draw of the random model are expected, for large N and D."""

    outliers: Tensor  # (k,) float64, descending, all above the bulk
    edge: float  # upper end of the bulk
    rank: int  # eigenvalues that are not zero
    trace: float  # expected, exactly, at any size
    population: Tensor  # (k,) float64, eigenvalues of the expected matrix behind the outliers
    threshold: float  # what `population` must exceed to detach; 0 where the bulk is empty

    __repr__ = brief

    def plot(
        self, *, drawn: SimulatedSpectrum | None = None, network: GGNSpectrum | None = None
    ) -> Figure:
        """Outliers by rank and the edge, beside a draw and a network; needs matplotlib.

        Returns:
            A figure with an Agg canvas; ``figure.savefig(path)`` writes it.
        """
        from landscape_fast.plots.local_geometry import random_model_figure

        return random_model_figure(self, drawn, network)
