"""Full-batch descent beside the curvature at which it loses its footing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from landscape_fast.results.brief import brief

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class StabilityRun:
    """A run of full-batch gradient descent, and its sharpness on the way."""

    losses: Tensor  # (t + 1,) float64, of the whole data before every step and after the last
    rates: Tensor  # (t,) float64, learning rate of every step
    steps: Tensor  # (p,) int64, where sharpness was measured
    sharpness: Tensor  # (p,) float64, largest eigenvalue of the Hessian
    residuals: Tensor  # (p,) float64, an eigenvalue lies this near
    thresholds: Tensor  # (p,) float64, the sharpness above which the optimiser is not stable
    end: Tensor  # (n,), parameters after the last step
    move: Tensor  # (n,), the last step itself
    diverged: bool  # loss or curvature was not finite, or one step raised the loss a hundredfold
    momentum: float
    nesterov: bool
    samples: int

    __repr__ = brief

    @property
    def ratios(self) -> Tensor:
        """Sharpness over threshold (p,): 1 at the edge of stability."""
        return self.sharpness / self.thresholds

    @property
    def crossing(self) -> int | None:
        """The first measured step at which the sharpness is at its threshold or above."""
        at = (self.ratios >= 1.0).nonzero()
        return int(self.steps[at[0]]) if len(at) else None

    @property
    def rising_share(self) -> float:
        """Part of the steps from the crossing on at which the loss rose; nan without a crossing.

        Gradient descent cannot raise it while the curvature along a step is below the threshold.
        """
        if self.crossing is None:
            return math.nan
        return float((self.losses[self.crossing :].diff() > 0).double().mean())

    def hovering(self, start: int | None = None, stop: int | None = None) -> tuple[float, float]:
        """Mean and standard deviation of ``ratios`` over measured steps from ``start`` to ``stop``.

        Args:
            start: First step; None for the crossing.
            stop: Steps from here on do not count; None for all.

        Raises:
            ValueError: Fewer than two measured steps lie between, or there is no crossing.
        """
        if start is None:
            start = self.crossing
            if start is None:
                raise ValueError("the sharpness never reached its threshold: give start")
        inside = (self.steps >= start) & (self.steps < (math.inf if stop is None else stop))
        if int(inside.sum()) < 2:
            raise ValueError(f"fewer than two measured steps lie from {start} to {stop}")
        found = self.ratios[inside]
        return float(found.mean()), float(found.std())

    def plot(self) -> Figure:
        """Loss at every step, and sharpness beside its threshold; needs matplotlib.

        Returns:
            A figure with an Agg canvas; ``figure.savefig(path)`` writes it.
        """
        from landscape_fast.plots.stability import stability_figure

        return stability_figure(self)
