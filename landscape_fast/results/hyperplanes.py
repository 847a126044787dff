"""Results about training inside random affine planes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from landscape_fast.results.brief import brief

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class HyperplaneRun:
    """A run of training in a random plane through the model, or in the whole space."""

    accuracy: float  # percent, of the data it is judged by
    loss: float  # of the same data
    train_losses: Tensor  # (epochs,) float64, mean over the epoch while the weights moved
    weights: Tensor  # (n,) of the selected parameters at the end
    distance: float  # l2, from the start
    dimension: int  # d of the plane; n for the whole space
    space: int  # n
    basis: str  # "orthonormal", "sparse" or "whole"
    steps: int
    diverged: bool  # loss or weights became infinite or nan, not just large; accuracy is then nan

    __repr__ = brief


@dataclass(frozen=True, slots=True, kw_only=True)
class IntrinsicDimension:
    """The smallest plane, of those tried, in which training does nearly as well as outside."""

    dimensions: tuple[int, ...]  # ascending
    accuracies: Tensor  # (dimensions, planes) float64, percent; nan where a run diverged
    baseline: float  # percent, of training in all n dimensions
    threshold: float  # share of the baseline that counts as well enough
    space: int  # n
    basis: str

    __repr__ = brief

    @property
    def means(self) -> Tensor:
        """Mean accuracy over the planes of each dimension, (dimensions,); a diverged run as 0."""
        return self.accuracies.nan_to_num(0.0).mean(1)

    @property
    def stderr(self) -> Tensor:
        """Standard error of :attr:`means` over planes, (dimensions,); nan for one plane."""
        planes = self.accuracies.shape[1]
        if planes < 2:
            return torch.full_like(self.means, math.nan)
        return self.accuracies.nan_to_num(0.0).std(1) / math.sqrt(planes)

    @property
    def wanted(self) -> float:
        """Accuracy that counts as well enough, percent."""
        return self.threshold * self.baseline

    @property
    def margins(self) -> Tensor:
        """Standard errors by which :attr:`means` exceed :attr:`wanted`, (dimensions,).

        How sure :attr:`value` is: small at it, a larger dimension may be the right one; near zero
        at the one below, that one. nan for one plane.
        """
        return (self.means - self.wanted) / self.stderr

    @property
    def value(self) -> int | None:
        """Smallest dimension whose mean reaches the threshold; None where none does."""
        reached = (self.means >= self.wanted).nonzero()[:, 0].tolist()
        return self.dimensions[reached[0]] if reached else None

    @property
    def bracket(self) -> tuple[int, int | None]:
        """Largest dimension tried below :attr:`value`, or 0, and the value: it lies between."""
        smaller = [d for d in self.dimensions if self.value is None or d < self.value]
        return max(smaller, default=0), self.value

    def plot(self) -> Figure:
        """Accuracy over dimension with the threshold; needs matplotlib.

        Returns:
            A figure with an Agg canvas; ``figure.savefig(path)`` writes it.
        """
        from landscape_fast.plots.local_geometry import intrinsic_dimension_figure

        return intrinsic_dimension_figure(self)
