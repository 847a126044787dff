"""Sharpness by perturbing weights: SAM, worst case in a ball, average over directions."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from landscape_fast.arguments import (
    SEEDS,
    require_choice,
    require_number,
    require_seed,
    require_switch,
    require_whole,
)
from landscape_fast.linearise.objective import Criterion, LossFunction
from landscape_fast.linearise.params import Selection
from landscape_fast.linearise.state import evaluation
from landscape_fast.metrics.placed import placed
from landscape_fast.results import PerturbedLoss

_TINY = 1e-30  # keeps a zero gradient from dividing by zero


def worst_case_sharpness(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    rho: float = 0.05,
    adaptive: bool = False,
    norm: Literal["l2", "linf"] = "l2",
    steps: int = 20,
    per_batch: bool = True,
    criterion: Criterion | None = None,
    loss_fn: LossFunction | None = None,
    params: Selection = None,
    seed: int = 0,
) -> PerturbedLoss:
    r"""Highest rise of the loss, :math:`\max_\delta L(w + \delta) - L(w)`, in a ball.

    The ball is :math:`\lVert \delta / c \rVert_p \le \rho` with c = 1, or with ``adaptive``
    c = \|w\|, entry by entry, which makes the answer independent of rescalings of layers that the
    network does not see. ``steps=1`` is the perturbation of SAM (ASAM with ``adaptive``), along
    the gradient. More steps go on with the generalised power method, :math:`\delta \leftarrow
    \arg\max_{\delta'} \langle \nabla L(w + \delta), \delta' \rangle`: each goes to the border of
    the ball, and on a convex loss none lowers it. The highest loss met counts, so the value is a
    lower bound of the maximum, and never negative.

    Args:
        model: Any module; measured in evaluation mode and left untouched.
        loader: Iterable of batches.
        rho: Radius of the ball.
        adaptive: Whether perturbations are relative to the magnitude of each weight.
        norm: p, ``"l2"`` or ``"linf"``.
        steps: Gradients taken in search of the maximum; 1 for SAM.
        per_batch: True: a maximum for each batch of the loader, averaged by rows (m-sharpness, m
            being the batch size). False: one for the whole data.
        criterion: ``criterion(model(inputs), targets)``; default cross-entropy.
        loss_fn: ``loss_fn(model, batch)``, a mean over rows or ``(sum, count)``.
        params: Names or modules that are perturbed; None for all trainable parameters.
        seed: Chooses the start where the gradient is zero.

    Returns:
        ``draws`` are the rises of each batch; ``stderr`` is over batches, as draws from the data.

    Raises:
        ValueError: An argument is out of range, or the loader is empty or holds no valid target.

    References:
        Foret, Kleiner, Mobahi and Neyshabur (2021), arXiv:2010.01412. Kwon, Kim, Park and Choi
        (2021), arXiv:2102.11600. Andriushchenko, Croce, Mueller, Hein and Flammarion (2023),
        arXiv:2302.07011. Journee, Nesterov, Richtarik and Sepulchre (2010), JMLR 11, for the steps.

    Example:
        The loss w^2 at w = 1 rises to 1.5^2 within half a unit:

        >>> import torch
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> _ = torch.nn.init.ones_(model.weight)
        >>> data = [(torch.ones(1, 1), torch.zeros(1, 1))]
        >>> worst_case_sharpness(model, data, rho=0.5, criterion=torch.nn.MSELoss()).value
        1.25
    """
    require_choice(("l2", "linf"), norm=norm)
    require_switch(adaptive=adaptive, per_batch=per_batch)
    require_number(above=0, rho=rho)
    require_whole(1, steps=steps)
    require_seed(seed)
    network, batches, objective = placed(model, loader, criterion, loss_fn, params)
    with evaluation(network.model), torch.no_grad():
        scale = network.scale(adaptive=adaptive)
        generator = torch.Generator().manual_seed(seed)
        draws, counts, losses = [], [], []
        for group in ([batch] for batch in batches) if per_batch else iter([list(batches)]):
            start, count, gradient = network.loss_and_gradient(group, objective)
            best = 0.0
            for step in range(1, steps + 1):
                move = rho * _steepest(gradient, scale, norm, generator)
                if step < steps:
                    loss, _, gradient = network.loss_and_gradient(group, objective, move)
                else:
                    loss, _ = network.loss(group, objective, move)
                best = math.nan if math.isnan(loss - start) else max(best, loss - start)
            draws.append(best)
            counts.append(count)
            losses.append(start)
        value, stderr = _weighted(draws, counts)
    return PerturbedLoss(
        value=value,
        stderr=stderr,
        draws=torch.tensor(draws, dtype=torch.float64),
        loss=_weighted(losses, counts)[0],
        kind="worst",
        rho=rho,
        adaptive=adaptive,
        samples=batches.samples,
    )


def average_sharpness(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    rho: float = 0.05,
    adaptive: bool = False,
    draws: int = 16,
    criterion: Criterion | None = None,
    loss_fn: LossFunction | None = None,
    params: Selection = None,
    seed: int = 0,
) -> PerturbedLoss:
    r"""Mean rise of the loss under Gaussian noise on the weights.

    :math:`\mathrm{E} [L(w + \rho\, c \odot z)] - L(w)` with z standard normal and c = 1, or
    c = \|w\| with ``adaptive``. For small ``rho`` this is :math:`\tfrac12 \rho^2 \sum_i c_i^2
    H_{ii}` where the loss is smooth; kinks as of relu add to it at any radius. Every draw and its
    opposite count together, so that the slope of the loss adds no noise; fresh directions for each
    draw, the same for all data.

    Args:
        model: Any module; measured in evaluation mode and left untouched.
        loader: Iterable of batches.
        rho: Standard deviation of the noise on each weight.
        adaptive: Whether noise is relative to the magnitude of each weight.
        draws: Directions, each with two passes over the data; at least 2 for an error.
        criterion: ``criterion(model(inputs), targets)``; default cross-entropy.
        loss_fn: ``loss_fn(model, batch)``, a mean over rows or ``(sum, count)``.
        params: Names or modules that are perturbed; None for all trainable parameters.
        seed: Chooses the noise.

    Returns:
        ``draws`` are the rises along each direction; ``stderr`` is over directions.

    Raises:
        ValueError: An argument is out of range, or the loader is empty or holds no valid target.

    References:
        Andriushchenko, Croce, Mueller, Hein and Flammarion (2023), arXiv:2302.07011.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> data = [(torch.ones(1, 1), torch.zeros(1, 1))]
        >>> found = average_sharpness(model, data, rho=0.1, criterion=torch.nn.MSELoss())
        >>> low, high = found.interval(0.999)
        >>> low < 0.1**2 < high
        True
    """
    require_switch(adaptive=adaptive)
    require_number(above=0, rho=rho)
    require_whole(1, draws=draws)
    require_seed(seed)
    network, batches, objective = placed(model, loader, criterion, loss_fn, params)
    with evaluation(network.model), torch.no_grad():
        scale = rho * network.scale(adaptive=adaptive)
        base, count = network.loss(batches, objective)
        if not count > 0:
            raise ValueError(f"the loader holds no valid target: the loss divides by {count}")
        rises = []
        for draw in range(draws):
            generator = torch.Generator().manual_seed((seed * 1_000_003 + draw) % SEEDS)
            noise = scale * torch.randn(scale.shape, generator=generator).to(scale)
            sides = [network.loss(batches, objective, side)[0] for side in (noise, -noise)]
            rises.append(sum(sides) / 2 - base)
    found = torch.tensor(rises, dtype=torch.float64)
    return PerturbedLoss(
        value=float(found.mean()),
        stderr=float(found.std()) / math.sqrt(draws) if draws > 1 else math.nan,
        draws=found,
        loss=base,
        kind="average",
        rho=rho,
        adaptive=adaptive,
        samples=batches.samples,
    )


def _steepest(gradient: Tensor, scale: Tensor, norm: str, generator: torch.Generator) -> Tensor:
    """The point of the unit ball, in units of ``scale``, that goes farthest along ``gradient``."""
    if not gradient.any():  # a stationary point: any direction is as good
        gradient = torch.randn(gradient.shape, generator=generator).to(gradient)
    if norm == "linf":
        return scale * gradient.sign()
    # Divided by the largest first: squares of small gradients are zero in float32.
    along = scale * (gradient / gradient.abs().max())
    return scale * along / (along.norm() + _TINY)


def _weighted(values: list[float], counts: list[float]) -> tuple[float, float]:
    """Mean by counts and its standard error over the values."""
    total = sum(counts)
    if not total > 0:
        raise ValueError(f"the loader holds no valid target: the loss divides by {total}")
    shares = [count / total for count in counts]
    mean = sum(share * value for share, value in zip(shares, values, strict=True))
    n = len(values)
    if n < 2:
        return mean, math.nan
    square = sum((s * (v - mean)) ** 2 for s, v in zip(shares, values, strict=True))
    return mean, math.sqrt(square * n / (n - 1))
