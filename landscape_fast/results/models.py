"""Results about models as a whole: quality, connectivity, similarity, training."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from landscape_fast.results.brief import brief


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Loss and accuracy of one model on one data set, in evaluation mode."""

    loss: float  # dataset-level mean, nats for cross-entropy; per token for sequences
    accuracy: float  # percent; nan when the targets are not class indices; of tokens
    samples: int

    @property
    def perplexity(self) -> float:
        """Exponential of the loss; of sequences, how many equally likely tokens are left."""
        try:
            return math.exp(self.loss)
        except OverflowError:
            return math.inf


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

    __repr__ = brief


@dataclass(frozen=True, slots=True, kw_only=True)
class Similarity:
    """Linear CKA of the outputs of two models."""

    value: float  # between 0 and 1, debiased also just below 0; nan when an output is constant
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

    __repr__ = brief
