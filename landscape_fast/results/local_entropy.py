"""How much of a neighbourhood of the weights has a low loss."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from landscape_fast.results.brief import brief
from landscape_fast.results.interval import half_width


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalEntropy:
    r"""Log of the mean of :math:`\exp(-L)` under :math:`N(\theta, I / \gamma)`; larger is flatter.

    The mean, not the integral of Chaudhari et al. (2017): they differ by a constant, and the mean
    is 0 for a loss of 0 whatever the number of weights. :attr:`integral` is theirs.
    """

    value: float  # nats; of a loss that is the same everywhere, minus that loss
    stderr: float  # over `draws`; nan for a single one
    draws: Tensor  # (r,) float64, what the value is the mean of (quadratic), or logs of weights
    loss: float  # where the model is
    gamma: float  # inverse of the neighbourhood's variance along each weight
    method: str  # "quadratic" or "langevin"
    dimension: int  # n
    samples: int
    acceptance: float | None = None  # share of Langevin moves that were taken
    gradient_part: float | None = None  # of the quadratic's value, what the gradient adds
    gradient_bound: float | None = None  # the true one is larger by at most this, but for rounding

    __repr__ = brief

    @property
    def integral(self) -> float:
        r"""The log of :math:`\int \exp(-L(\theta') - \gamma/2 |\theta' - \theta|^2) d\theta'`."""
        return self.value + self.dimension / 2 * math.log(2 * math.pi / self.gamma)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Confidence interval of the given ``level`` from Student's t on the draws."""
        half = half_width(self.stderr, level, len(self.draws) - 1)
        return self.value - half, self.value + half
