"""Trains the bends of a curve, so that networks along it have a low loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from landscape_fast.linearise.objective import Objective
from landscape_fast.metrics.curve import BezierCurve
from landscape_fast.metrics.minibatches import Minibatches
from landscape_fast.metrics.placed import PlacedNetwork


def fresh_parameters(
    network: PlacedNetwork, otherwise: Tensor, *, uniform_scales: bool = False
) -> Tensor:
    """Parameters (n,) as ``reset_parameters`` of every module leaves them.

    Parameters that no ``reset_parameters`` reaches have their value in ``otherwise`` (n,). With
    ``uniform_scales`` those of BatchNorm are drawn from U(0, 1) instead of set to 1.
    """
    fresh = PlacedNetwork(network.model)
    fresh.place(otherwise)
    for module in fresh.model.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
        if uniform_scales and isinstance(module, _NormBase) and module.affine:
            nn.init.uniform_(module.weight)
    return fresh.space.flatten([tensor.detach() for tensor in fresh.space.tensors])


def starting_curve(
    network: PlacedNetwork, ends: tuple[Tensor, Tensor], bend: str, bends: int
) -> BezierCurve:
    """Curve between ``ends`` (n,) before training: straight, or with freshly initialised bends."""
    points = [torch.lerp(*ends, j / (bends + 1)) for j in range(bends + 2)]
    points[0], points[-1] = ends
    if bend != "linear":
        points[1:-1] = [
            fresh_parameters(network, point, uniform_scales=bend == "released")
            for point in points[1:-1]
        ]
    return BezierCurve(torch.stack(points))


def fit_bends(
    curve: BezierCurve,
    network: PlacedNetwork,
    data: Minibatches,
    objective: Objective,
    rng: np.random.Generator,
    *,
    epochs: int,
    lr: float,
    momentum: float,
    weight_decay: float,
) -> int:
    r"""Move the bends of ``curve`` by SGD on the expected loss along it; return the steps made.

    Minimises :math:`\mathrm{E}_t [L(\gamma(t)) + \tfrac{w}{2} \lVert \gamma(t) \rVert^2]`, with one
    t uniform on (0, 1) per mini-batch and the network in training mode. A bend's gradient is that
    at :math:`\gamma(t)` times its weight there. Training ends early once a bend is not finite.
    """
    bends = curve.points[1:-1]
    velocities = torch.zeros_like(bends)
    steps = 0
    network.model.train()
    for epoch in range(epochs):
        rate = lr * rate_factor((epoch + 1) / epochs)
        for batch in data.shuffled(rng):
            t = rng.random()
            theta = curve(t)
            network.place(theta)
            value, count = objective(network.model, batch)
            # A batch without valid targets has no terms: it is left with the penalty's gradient.
            loss = value / (objective.normaliser(count) or 1.0)
            gradient = network.gradient(loss).add_(theta, alpha=weight_decay)
            _descend(bends, velocities, gradient, curve.weights(t)[1:-1], rate, momentum)
            steps += 1
        if not torch.isfinite(bends).all():
            break
    return steps


def rate_factor(progress: float) -> float:
    """Learning rate relative to its start, by the share of epochs begun (0 to 1].

    Constant for one half, falling linearly to 0.01 until nine tenths, constant after.
    """
    if progress <= 0.5:
        return 1.0
    return max(1.0 - 0.99 * (progress - 0.5) / 0.4, 0.01)


def _descend(
    bends: Tensor,
    velocities: Tensor,
    gradient: Tensor,
    weights: Sequence[float],
    rate: float,
    momentum: float,
) -> None:
    velocities.mul_(momentum)
    for velocity, weight in zip(velocities, weights, strict=True):
        velocity.add_(gradient, alpha=weight)
    bends.sub_(velocities, alpha=rate)
