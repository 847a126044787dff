"""Loss and accuracy of a network at a point of its parameter space."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from landscape_fast.linearise.objective import Objective
from landscape_fast.metrics.batchnorm import recalibrate
from landscape_fast.metrics.minibatches import Minibatches
from landscape_fast.metrics.placed import PlacedNetwork
from landscape_fast.metrics.quality import loss_and_accuracy


def quality_at(
    theta: Tensor,
    network: PlacedNetwork,
    data: Minibatches,
    objective: Objective,
    ignore_index: int,
    seed: int,
    *,
    new_statistics: bool = True,
) -> tuple[float, float]:
    """Loss and accuracy in percent at ``theta`` (n,); nan for both where it is not finite.

    With ``new_statistics`` those of BatchNorm are measured there first, from mini-batches that
    ``seed`` draws: the same ones at every point.
    """
    if not torch.isfinite(theta).all():
        return math.nan, math.nan
    network.place(theta)
    same = np.random.default_rng(seed)
    if new_statistics:
        recalibrate(network.model, data.shuffled(same), objective)
    network.model.eval()
    with torch.no_grad():
        return loss_and_accuracy(network.model, data.shuffled(same), objective, ignore_index)
