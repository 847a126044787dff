"""Trains the bends of a curve, so that networks along it have a low loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from landscape_fast.arguments import require_number, require_whole
from landscape_fast.linearise.objective import Objective
from landscape_fast.metrics.curve import BezierCurve, Curve
from landscape_fast.metrics.minibatches import Minibatches
from landscape_fast.metrics.placed import PlacedNetwork
from landscape_fast.metrics.polychain import PolyChain

Force = tuple[int, float, Tensor]  # a bend, and a gradient (n,) with its weight there
KINDS = {"bezier": BezierCurve, "polychain": PolyChain}


def require_training(epochs: int, lr: float, momentum: float, weight_decay: float) -> None:
    """Refuse what no curve can be trained with; the argument is named."""
    require_whole(0, epochs=epochs)
    require_number(above=0, lr=lr)
    require_number(least=0, below=1, momentum=momentum)
    require_number(least=0, weight_decay=weight_decay)


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
    return fresh.position()


def starting_curve(
    network: PlacedNetwork,
    ends: Tensor,
    bend: str,
    bends: int,
    kind: str = "bezier",
) -> Curve:
    """Curve between ``ends`` (2, n) before training: straight, or with fresh bends."""
    first, last = ends
    points = [torch.lerp(first, last, j / (bends + 1)) for j in range(bends + 2)]
    points[0], points[-1] = first, last
    if bend != "linear":
        points[1:-1] = [
            fresh_parameters(network, point, uniform_scales=bend == "released")
            for point in points[1:-1]
        ]
    return KINDS[kind](torch.stack(points))


def fit_bends(
    curve: Curve,
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

    def along(batch: Any) -> Iterator[Force]:
        t = rng.random()
        gradient = penalised_gradient(curve(t), network, batch, objective, weight_decay)
        for bend, weight in enumerate(curve.weights(t)[1:-1]):
            yield bend, weight, gradient

    return descend(
        curve.points[1:-1],
        along,
        network,
        data,
        rng,
        epochs=epochs,
        lr=lr,
        momentum=momentum,
    )


def descend(
    bends: Tensor,
    forces: Callable[[Any], Iterable[Force]],
    network: PlacedNetwork,
    data: Minibatches,
    rng: np.random.Generator,
    *,
    epochs: int,
    lr: float,
    momentum: float,
    enough: Callable[[], bool] | None = None,
) -> int:
    """Move ``bends`` (d, n) in place by SGD against the ``forces`` of every mini-batch.

    Returns:
        The steps made. Training ends early once a bend is not finite, or when ``enough``, asked
        after every epoch, says so.
    """
    velocities = torch.zeros_like(bends)
    steps = 0
    for epoch in range(epochs):
        network.model.train()
        rate = lr * rate_factor((epoch + 1) / epochs)
        for batch in data.shuffled(rng):
            velocities.mul_(momentum)
            for bend, weight, gradient in forces(batch):
                velocities[bend].add_(gradient, alpha=weight)
            bends.sub_(velocities, alpha=rate)
            steps += 1
        if (enough is not None and enough()) or not torch.isfinite(bends).all():
            break
    return steps


def penalised_gradient(
    theta: Tensor,
    network: PlacedNetwork,
    batch: Any,
    objective: Objective,
    weight_decay: float,
) -> Tensor:
    """Gradient (n,) at ``theta`` of the loss of a mini-batch plus the penalty on the weights."""
    network.place(theta)
    value, count = objective(network.model, batch)
    # A batch without valid targets has no terms: it is left with the penalty's gradient.
    loss = value / (objective.normaliser(count) or 1.0)
    return network.gradient(loss).add_(theta, alpha=weight_decay)


def rate_factor(progress: float) -> float:
    """Learning rate relative to its start, by the share of epochs begun (0 to 1].

    Constant for one half, falling linearly to 0.01 until nine tenths, constant after.
    """
    if progress <= 0.5:
        return 1.0
    return max(1.0 - 0.99 * (progress - 0.5) / 0.4, 0.01)
