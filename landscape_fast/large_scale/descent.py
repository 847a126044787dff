"""Descent of one point of parameter space within a plane orthogonal to given directions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from landscape_fast.linearise.objective import Objective
from landscape_fast.metrics.curve_fit import rate_factor
from landscape_fast.metrics.minibatches import Minibatches
from landscape_fast.metrics.placed import PlacedNetwork

Measure = Callable[[Tensor], tuple[float, float]]  # loss and accuracy at a point (n,)


@dataclass(frozen=True, slots=True)
class Descent:
    """How a point is moved: SGD with momentum, by the schedule of :func:`rate_factor`."""

    epochs: int
    lr: float
    momentum: float
    weight_decay: float


@dataclass(frozen=True, slots=True)
class Found:
    """Where a descent ended."""

    point: Tensor  # (n,)
    loss: float
    accuracy: float
    steps: int
    reached: bool  # the loss fell to the target


def spanned(points: Tensor) -> Tensor:
    """Orthonormal frame (n, m) of what m + 1 ``points`` (m + 1, n) span from the first.

    Raises:
        ValueError: They span less: two are equal, or one lies in the plane of others.
    """
    edges = (points[1:] - points[0]).double().T
    frame, triangle = torch.linalg.qr(edges)
    heights, lengths = triangle.diagonal().abs(), edges.norm(dim=0)
    if not (heights > 1e-6 * lengths).all():
        raise ValueError(f"{len(points)} models span fewer than {len(points) - 1} dimensions")
    return frame.to(points.dtype)


def descend_across(
    start: Tensor,
    frame: Tensor,
    network: PlacedNetwork,
    data: Minibatches,
    objective: Objective,
    rng: np.random.Generator,
    how: Descent,
    measure: Measure,
    target: float,
) -> Found:
    """Lower the loss from ``start`` (n,) by steps orthogonal to ``frame`` (n, m).

    The network is in training mode at each step. The loss is measured after every epoch, and the
    descent ends when it is at most ``target``, or is not finite.
    """
    point, velocity, steps = start.clone(), torch.zeros_like(start), 0
    loss, accuracy = measure(point)
    for epoch in range(how.epochs):
        if loss <= target or not torch.isfinite(point).all():
            break
        rate = how.lr * rate_factor((epoch + 1) / how.epochs)
        network.model.train()
        for batch in data.shuffled(rng):
            network.place(point)
            gradient = batch_gradient(network, objective, batch)
            gradient.add_(point, alpha=how.weight_decay)
            gradient.sub_(frame @ (frame.T @ gradient))
            velocity.mul_(how.momentum).add_(gradient)
            point.sub_(velocity, alpha=rate)
            steps += 1
        loss, accuracy = measure(point)
    return Found(point, loss, accuracy, steps, loss <= target)


def batch_gradient(network: PlacedNetwork, objective: Objective, batch: object) -> Tensor:
    """Gradient (n,) of the mean loss of ``batch`` where the network is."""
    with torch.enable_grad():
        value, count = objective(network.model, batch)
        # A batch without valid targets has no terms, and then no gradient.
        return network.gradient(value / (objective.normaliser(count) or 1.0))
