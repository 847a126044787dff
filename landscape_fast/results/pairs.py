"""Results about two models without a trained curve between them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from landscape_fast.results.brief import brief


def barrier_heights(values: Tensor) -> Tensor:
    """Highest of ``values`` (..., p) along lines less the mean of both ends (...).

    Frankle et al. (2020), arXiv:1912.05671. nan where a value is.
    """
    return values.amax(-1) - (values[..., 0] + values[..., -1]) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Barrier:
    """Loss and error along the straight line between two models."""

    value: float  # highest error on the line less the mean of its ends, percentage points, >= 0
    loss_value: float  # the same of the loss, nats
    t_star: float  # position of the highest error
    t: Tensor  # (p,) float64, evaluated positions from 0 to 1
    errors: Tensor  # (p,) float64, percent
    losses: Tensor  # (p,) float64
    recalibrated: bool  # statistics of BatchNorm were measured anew at every position
    samples: int

    __repr__ = brief

    @property
    def above_chord(self) -> float:
        """Highest loss above the straight line between the losses of the ends, nats, >= 0.

        Entezari et al. (2021), arXiv:2110.06296: of a convex loss it is 0, also at unequal ends.
        """
        chord = torch.lerp(self.losses[0], self.losses[-1], self.t)
        return float((self.losses - chord)[1:-1].clamp(min=0.0).max())


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far the predictions of two models differ on the same inputs."""

    disagreement: float  # percent of predictions with another class
    js_divergence: float  # mean Jensen-Shannon divergence, nats, 0 to log 2
    predictions: int  # rows, times positions where outputs have them
