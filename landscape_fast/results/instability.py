"""Barriers between copies of one run that part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from landscape_fast.results.brief import brief
from landscape_fast.results.pairs import barrier_heights

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CONNECTED = 2.0  # percentage points of error below which two networks count as linearly connected


@dataclass(frozen=True, slots=True, kw_only=True)
class Instability:
    """Barriers between copies of a run that see the data in other orders from some step on."""

    steps: tuple[int, ...]  # s, at which the copies part, ascending
    run_steps: int  # of the whole run, where nothing is left to part
    orders: tuple[int, ...]  # seeds of the copies' orders; pairs are (0, 1), (0, 2), ..., (1, 2)
    errors: Tensor  # (s, p, points) float64, percent, on the line between the copies of each pair
    losses: Tensor  # (s, p, points) float64
    t: Tensor  # (points,) float64, positions on the line, from 0 to 1
    part: str  # of the data that was measured: "train" or "test"
    samples: int

    __repr__ = brief

    @property
    def barriers(self) -> Tensor:
        """Highest error of each line less the mean of its ends (s, p), percentage points."""
        return barrier_heights(self.errors)

    @property
    def loss_barriers(self) -> Tensor:
        """The same of the loss (s, p)."""
        return barrier_heights(self.losses)

    def stable_from(self, threshold: float = CONNECTED) -> int | None:
        """First step from which on the mean barrier stays below ``threshold`` points; None: never.

        Copies count as linearly connected below 2 points (Frankle et al. 2020, arXiv:1912.05671).
        """
        below = (self.barriers.mean(1) < threshold).tolist()
        stable = None
        for step, low in zip(reversed(self.steps), reversed(below), strict=True):
            if not low:
                break
            stable = step
        return stable

    def plot(self) -> Figure:
        """Barriers by the step at which copies part; needs matplotlib.

        Returns:
            A figure with an Agg canvas; ``figure.savefig(path)`` writes it.
        """
        from landscape_fast.plots.instability import instability_figure

        return instability_figure(self)
