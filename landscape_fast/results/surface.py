"""Losses on a grid of points around a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from landscape_fast.results.brief import brief

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """Loss on a grid with d axes, the model at coordinate 0 of each."""

    values: Tensor  # (s_1, ..., s_d) float64; nan and infinity where the loss is
    coordinates: tuple[tuple[float, ...], ...]  # along each of the d axes, 0.0 among them
    lengths: tuple[float, ...]  # l2 length of one unit along each axis, in weights
    points: Tensor  # (p, d) float64, coordinates of models to mark
    shares: tuple[float, ...]  # of a run's variance that each axis explains; nan elsewhere
    loss: float  # of the model by its own forward pass; `at_origin` is that of the grid
    batchnorm: str  # "eval": running statistics of the model; "recalibrate": of each point
    samples: int
    note: str | None  # why the plain model ran at every point; None where a program did

    __repr__ = brief

    @property
    def at_origin(self) -> float:
        """Loss of the grid point where the model is."""
        return float(self.values[tuple(axis.index(0.0) for axis in self.coordinates)])

    @property
    def lowest(self) -> tuple[float, tuple[float, ...]]:
        """Smallest finite loss and its coordinates.

        Raises:
            ValueError: No loss is finite.
        """
        if not torch.isfinite(self.values).any():
            raise ValueError("no loss of the surface is finite")
        place = int(self.values.nan_to_num(torch.inf, torch.inf).argmin())
        index = torch.unravel_index(torch.tensor(place), self.values.shape)
        where = tuple(axis[int(i)] for axis, i in zip(self.coordinates, index, strict=True))
        return float(self.values.flatten()[place]), where

    def plot(self) -> Figure:
        """Curve for one axis, contours of log levels for two; needs matplotlib.

        Returns:
            A figure with an Agg canvas; ``figure.savefig(path)`` writes it.

        Raises:
            ValueError: The surface has more than two axes; index ``values`` to cut it.
        """
        from landscape_fast.plots.surface import surface_figure

        return surface_figure(self)
