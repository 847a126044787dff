"""Results about the large-scale structure of a landscape: connectors, simplexes, tunnels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from landscape_fast.results.brief import brief
from landscape_fast.results.interval import half_width

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Connector:
    """A complex that joins m + 1 models through f = 2^(m+1) - m - 2 optimised centres."""

    faces: tuple[tuple[int, ...], ...]  # which models each centre joins; the last one joins all
    centres: Tensor  # (f, n)
    steps: tuple[int, ...]  # of SGD, spent on each centre
    reached: tuple[bool, ...]  # whether a centre's loss fell to `target`
    target: float
    model_losses: Tensor  # (m + 1,) float64, with running statistics measured anew
    model_errors: Tensor  # (m + 1,) float64, percent
    centre_losses: Tensor  # (f,) float64
    centre_errors: Tensor  # (f,) float64
    centroid_losses: Tensor  # (f,) float64, where the centres started
    centroid_errors: Tensor  # (f,) float64
    weights: Tensor  # (p, m + 1 + f) float64, random points inside, by models and centres
    losses: Tensor  # (p,) float64, at these points
    errors: Tensor  # (p,) float64
    straight_losses: Tensor  # (p,) float64, at the same points of the flat simplex
    straight_errors: Tensor  # (p,) float64
    moved: Tensor  # (f,) float64, l2 distance of each centre from its centroid
    distances: Tensor  # (m + 1,) float64, of the models from the centre of all
    cosines: Tensor  # (m + 1, m + 1) float64, between the models as seen from that centre
    samples: int

    __repr__ = brief

    @property
    def barrier(self) -> float:
        """Highest loss at a random point or a centre less the mean of the models' own, nats."""
        return _height(self.model_losses, self.losses, self.centre_losses)

    @property
    def straight_barrier(self) -> float:
        """The same of the flat simplex and its centroids."""
        return _height(self.model_losses, self.straight_losses, self.centroid_losses)

    def plot(self) -> Figure:
        """The flat simplex beside the connector, for two or three models; needs matplotlib.

        Raises:
            ValueError: There are more than three models.
        """
        from landscape_fast.plots.connector import connector_figure

        return connector_figure(self)


def _height(own: Tensor, *others: Tensor) -> float:
    return float(torch.cat(others).max() - own.mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class LowLossSimplex:
    """Simplexes of low loss that share k trained vertices, one simplex for each model."""

    vertices: Tensor  # (k, n), trained, in the order they were added
    log_volumes: Tensor  # (k,) float64, of the simplexes' summed volumes after each vertex
    model_losses: Tensor  # (m,) float64, with running statistics measured anew
    model_errors: Tensor  # (m,) float64, percent
    vertex_losses: Tensor  # (k,) float64
    vertex_errors: Tensor  # (k,) float64
    simplexes: Tensor  # (p,) int64, model whose simplex each random point lies in
    weights: Tensor  # (p, k + 1) float64, of that model, then of the vertices
    losses: Tensor  # (p,) float64, at these points
    errors: Tensor  # (p,) float64
    steps: int  # of SGD, on all vertices
    samples: int

    __repr__ = brief

    @property
    def barrier(self) -> float:
        """Highest loss at a random point or a vertex less the mean of the models' own, nats."""
        return _height(self.model_losses, self.losses, self.vertex_losses)


@dataclass(frozen=True, slots=True, kw_only=True)
class RadialTunnel:
    """Loss along and across the ray from the origin through a model."""

    width: float  # mean of `widths`, radians; inf where a direction never passes the threshold
    stderr: float  # of that mean, over directions; nan for one, or where it is not finite
    widths: Tensor  # (r,) float64, angle at which each direction first passes the threshold
    threshold: float  # loss that counts as leaving the tunnel
    angles: Tensor  # (a,) float64, radians, from 0
    losses: Tensor  # (r, a) float64, across
    scales: Tensor  # (s,) float64, multiples of the model's parameters, 1 among them
    radial_losses: Tensor  # (s,) float64, along
    norm: float  # l2 norm of the parameters, the distance from the origin
    loss: float  # of the model
    path: str  # "sphere" or "line"
    batchnorm: str
    samples: int
    note: str | None  # why the plain model ran at every point; None where a program did

    __repr__ = brief

    @property
    def distances(self) -> Tensor:
        """Lengths (r,) from the model to the threshold: of the arc, or of the line."""
        return self.norm * (self.widths.tan() if self.path == "line" else self.widths)

    @property
    def radial_range(self) -> tuple[float, float]:
        """Scales around 1 between which the loss stays at most the threshold, on the grid.

        Both are 1 where the model itself is above it.
        """
        inside = (self.radial_losses <= self.threshold).tolist()
        own = self.scales.tolist().index(1.0)
        if not inside[own]:
            return 1.0, 1.0
        low = high = own
        while low > 0 and inside[low - 1]:
            low -= 1
        while high + 1 < len(inside) and inside[high + 1]:
            high += 1
        return float(self.scales[low]), float(self.scales[high])

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Interval of the mean width by Student's t on the directions."""
        half = half_width(self.stderr, level, len(self.widths) - 1)
        return self.width - half, self.width + half

    def plot(self) -> Figure:
        """Loss along the ray, and across it; needs matplotlib."""
        from landscape_fast.plots.tunnels import tunnel_figure

        return tunnel_figure(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelTrend:
    """Widths of the radial tunnels of models that differ in one hyper-parameter."""

    settings: Tensor  # (k,) float64, the hyper-parameter of each model
    widths: Tensor  # (k,) float64, radians, mean over directions; inf where it is not known
    stderrs: Tensor  # (k,) float64, of each, over directions
    norms: Tensor  # (k,) float64, l2 norm of each model
    losses: Tensor  # (k,) float64, of each model
    thresholds: Tensor  # (k,) float64
    rank_correlation: float  # Spearman's, of setting and width; nan without two settings

    __repr__ = brief

    @property
    def means(self) -> tuple[tuple[float, float, float], ...]:
        """Setting, mean width and its standard error over models, for each setting ascending."""
        found = []
        for setting in sorted(set(self.settings.tolist())):
            widths = self.widths[self.settings == setting]
            error = float(widths.std()) / math.sqrt(len(widths)) if len(widths) > 1 else math.nan
            found.append((setting, float(widths.mean()), error))
        return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsembleGeometry:
    """Where the members of an ensemble lie, what is between them, and what averaging gains."""

    travelled: Tensor  # (k - 1,) float64, l2 distance between successive members
    step_cosines: Tensor  # (k - 1, k - 1) float64, between these displacements
    distances: Tensor  # (k, k) float64, l2
    barriers: Tensor  # (k, k) float64, of the loss on straight lines, nats
    error_barriers: Tensor  # (k, k) float64, percentage points
    disagreement: Tensor  # (k, k) float64, percent of predictions
    losses: Tensor  # (k,) float64, of the members on the held-out data
    accuracies: Tensor  # (k,) float64, percent
    average_loss: float  # of the member with averaged parameters, on the held-out data
    average_accuracy: float
    ensemble_loss: float  # of averaged probabilities
    ensemble_accuracy: float
    samples: int  # held out

    __repr__ = brief

    @property
    def average_gain(self) -> float:
        """Accuracy of averaged parameters less the members' mean, percentage points."""
        return self.average_accuracy - float(self.accuracies.mean())

    @property
    def ensemble_gain(self) -> float:
        """Accuracy of averaged probabilities less the members' mean, percentage points."""
        return self.ensemble_accuracy - float(self.accuracies.mean())

    @property
    def successive_cosine(self) -> float:
        """Mean cosine between a displacement and the next; nan with fewer than two."""
        return float(self.step_cosines.diagonal(1).mean())
