"""The edge of stability: thresholds of optimisers, and runs that hover at them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from landscape_fast.arguments import require_number, require_seed, require_switch, require_whole
from landscape_fast.linearise.objective import Criterion, LossFunction
from landscape_fast.linearise.params import Selection
from landscape_fast.linearise.state import evaluation
from landscape_fast.metrics.placed import placed
from landscape_fast.metrics.track import Tracker
from landscape_fast.results import StabilityRun

_LEAP = 100  # rise in one step; gradient descent of a quadratic does it at 5.5 times the threshold


def stability_threshold(
    lr: float, *, momentum: float = 0.0, nesterov: bool = False, dampening: float = 0.0
) -> float:
    r"""Largest curvature of a quadratic loss on which an optimiser does not diverge.

    With learning rate :math:`\eta` and momentum :math:`\beta`, as ``torch.optim.SGD`` defines them:

    - gradient descent: :math:`2 / \eta`;
    - heavy ball: :math:`2 (1 + \beta) / (\eta (1 - d))` with dampening d;
    - Nesterov: :math:`2 (1 + \beta) / (\eta (1 + 2 \beta))`.

    Each is where a root of the recurrence's characteristic polynomial on a quadratic of curvature
    :math:`\lambda` leaves the unit disk through -1: :math:`z^2 - (1 + \beta - \eta \lambda) z +
    \beta` for heavy ball, :math:`z^2 - (1 + \beta)(1 - \eta \lambda) z + \beta (1 - \eta \lambda)`
    for Nesterov.

    Args:
        lr: Learning rate, positive.
        momentum: From 0 to below 1.
        nesterov: Whether the gradient is taken where momentum leads; needs momentum.
        dampening: Share of the gradient that does not enter the momentum, from 0 to below 1; only
            with heavy ball, as in torch.

    Returns:
        The threshold, in the unit of a Hessian eigenvalue.

    Raises:
        ValueError: An argument is out of range or does not go with another.

    References:
        Cohen, Kaur, Li, Kolter and Talwalkar (2021), arXiv:2103.00065, for networks at the edge;
        Polyak (1964), doi:10.1016/0041-5553(64)90137-5, for heavy ball.

    Example:
        >>> stability_threshold(0.1), round(stability_threshold(0.1, momentum=0.9), 9)
        (20.0, 38.0)
        >>> round(stability_threshold(0.1, momentum=0.9, nesterov=True), 3)
        13.571
    """
    require_number(above=0, lr=lr)
    require_number(least=0, below=1, momentum=momentum, dampening=dampening)
    require_switch(nesterov=nesterov)
    if nesterov and (momentum == 0 or dampening != 0):
        raise ValueError("nesterov needs momentum above 0 and no dampening")
    if momentum == 0:
        return 2 / lr
    if nesterov:
        return 2 * (1 + momentum) / (lr * (1 + 2 * momentum))
    return 2 * (1 + momentum) / (lr * (1 - dampening))


def edge_of_stability(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    lr: float | Mapping[int, float],
    steps: int,
    momentum: float = 0.0,
    nesterov: bool = False,
    every: int = 10,
    criterion: Criterion | None = None,
    loss_fn: LossFunction | None = None,
    params: Selection = None,
    tol: float = 1e-2,
    seed: int = 0,
    memory_budget: int | None = None,
) -> StabilityRun:
    r"""Full-batch gradient descent from a model, with the sharpness beside its threshold.

    Networks sharpen until their largest Hessian eigenvalue reaches the threshold of the optimiser
    and then hover there: the loss goes up and down over a few steps and falls over many. A copy is
    trained, in evaluation mode: the loss that is descended is the one whose Hessian is measured.

    The run has diverged, and stops, where loss or curvature is not finite, or where one step takes
    the loss to more than 100 times the highest one before: where growth is slower than quadratic,
    steps that are far too long lead to a level that is finite and no edge of stability. A slow rise
    does not count: so a run comes from an unstable minimum to the level at which it hovers.

    Args:
        model: Where the run starts; left untouched.
        loader: Iterable of batches; every step sums the gradient over all of them.
        lr: Learning rate; or rates by the step from which each holds, for a decay: 0 and others
            below ``steps``.
        steps: Number of steps.
        momentum: Of ``torch.optim.SGD``.
        nesterov: Likewise.
        every: Steps between two measurements of the sharpness; the end is measured too.
        criterion: ``criterion(model(inputs), targets)``; default cross-entropy.
        loss_fn: ``loss_fn(model, batch)``, a mean over rows or ``(sum, count)``.
        params: Names or modules to train; None for all trainable parameters.
        tol: Residual allowed of an eigenvalue, relative to it.
        seed: Chooses start vectors of eigenvalue searches.
        memory_budget: Bytes of data to keep in memory.

    Returns:
        The run: ``losses`` at every step, ``sharpness`` and ``thresholds`` at measured ones, the
        last move, and the parameters at the end.

    Raises:
        ValueError: An argument is out of range, rates have none for step 0, the loader is empty,
            or the loss is not finite where the run starts.

    References:
        Cohen, Kaur, Li, Kolter and Talwalkar (2021), arXiv:2103.00065. Ma, Kunin, Wu and Ying
        (2022), doi:10.4208/jml.220404, for the part of growth slower than quadratic.

    Example:
        A quadratic loss keeps its sharpness 2, which is above 2 / 1.1:

        >>> model = nn.Linear(1, 1, bias=False)
        >>> data = [(torch.ones(1, 1), torch.zeros(1, 1))]
        >>> run = edge_of_stability(model, data, lr=1.1, steps=5, criterion=nn.MSELoss())
        >>> run.crossing, round(float(run.ratios[-1]), 3), run.rising_share
        (0, 1.1, 1.0)
    """
    require_whole(1, steps=steps, every=every)
    require_seed(seed)
    rates = _rates(lr, steps)
    stability_threshold(rates[0], momentum=momentum, nesterov=nesterov)
    network, batches, objective = placed(model, loader, criterion, loss_fn, params, memory_budget)
    with evaluation(network.model):
        # The tracker's operator is made once, follows the parameters and reads the same batches.
        tracker = Tracker(
            network.model,
            batches,
            every=every,
            criterion=criterion,
            loss_fn=loss_fn,
            params=network.space.names,
            tol=tol,
            draws=0,
            seed=seed,
        )
        optimiser = torch.optim.SGD(
            network.space.tensors, lr=rates[0], momentum=momentum, nesterov=nesterov
        )
        losses: list[float] = []
        before, diverged = network.origin, False
        for step in range(steps + 1):
            loss, _, gradient = network.loss_and_gradient_here(batches, objective)
            diverged = not math.isfinite(loss) or loss > _LEAP * max(losses, default=math.inf) > 0
            losses.append(loss)
            if not diverged and (step % every == 0 or step == steps):
                diverged = not _measured(tracker, step)
            if diverged or step == steps:
                break
            before = network.position()
            pairs = zip(network.space.tensors, network.space.split(gradient), strict=True)
            for tensor, part in pairs:
                tensor.grad = part
            optimiser.param_groups[0]["lr"] = rates[step]
            optimiser.step()
        end = network.position()
    points = tracker.points
    return StabilityRun(
        losses=torch.tensor(losses, dtype=torch.float64),
        rates=torch.tensor(rates[: len(losses) - 1], dtype=torch.float64),
        steps=torch.tensor([point.step for point in points]),
        sharpness=torch.stack([point.values[0] for point in points]),
        residuals=torch.stack([point.residuals[0] for point in points]),
        thresholds=torch.tensor(
            [
                stability_threshold(
                    rates[min(point.step, steps - 1)], momentum=momentum, nesterov=nesterov
                )
                for point in points
            ],
            dtype=torch.float64,
        ),
        end=end,
        move=end - before,
        diverged=diverged,
        momentum=momentum,
        nesterov=nesterov,
        samples=batches.samples,
    )


def _rates(lr: float | Mapping[int, float], steps: int) -> list[float]:
    """The rate of every step."""
    if not isinstance(lr, Mapping):
        require_number(above=0, lr=lr)
        return [lr] * steps
    changes = dict(lr)
    if 0 not in changes:
        raise ValueError(f"lr has no rate for step 0, only for {list(changes)}")
    require_whole(0, most=steps - 1, **{f"step {step!r} of lr": step for step in changes})
    require_number(above=0, **{f"lr from step {step}": rate for step, rate in changes.items()})
    rates, rate = [], changes[0]
    for step in range(steps):
        rate = changes.get(step, rate)
        rates.append(rate)
    return rates


def _measured(tracker: Tracker, step: int) -> bool:
    """Whether the sharpness could be measured: far out, products overflow before the loss does."""
    try:
        tracker.measure(step)
    except FloatingPointError:
        if not tracker.points:
            raise
        return False
    return True
