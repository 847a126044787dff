"""Barriers on the straight line between two trained models."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from landscape_fast.arguments import require_switch, require_whole
from landscape_fast.linearise.objective import Criterion, LossFunction
from landscape_fast.linearise.state import unwrap
from landscape_fast.metrics.batchnorm import average_statistics
from landscape_fast.metrics.between import between
from landscape_fast.metrics.points import errors_of, losses_of
from landscape_fast.results import Barrier
from landscape_fast.results.pairs import barrier_heights


def linear_barrier(
    model_a: nn.Module,
    model_b: nn.Module,
    loader: Iterable[Any],
    *,
    criterion: Criterion | None = None,
    loss_fn: LossFunction | None = None,
    points: int = 30,
    recalibrate: bool = True,
    batch_size: int = 128,
    seed: int = 0,
) -> Barrier:
    r"""Height of the barrier on the straight line between two models.

    Loss and error are measured at :math:`(1 - t) a + t b` for equally spaced t. The height is
    :math:`\max_t E(t) - \tfrac12 (E(0) + E(1))`, which is not negative, and at unequal ends not 0
    even where nothing rises above them: ``.above_chord`` is the measure without that part.

    Args:
        model_a: Any module; comes back as it went in.
        model_b: The same network with other trainable parameters.
        loader: Iterable of batches; held in memory.
        criterion: ``criterion(model(inputs), targets)``; default cross-entropy.
        loss_fn: ``loss_fn(model, batch)``, a mean over rows or ``(sum, count)``. Called with a copy
            of ``model_a``.
        points: Positions, ends included. Two models are called linearly connected below 2
            percentage points, at 30 positions.
        recalibrate: Whether running statistics of BatchNorm are measured anew at every position,
            the ends included. Otherwise they go along the line as the parameters do, and the ends
            are the models themselves; inside, such statistics fit no data and barriers are higher.
        batch_size: Rows of the mini-batches behind new statistics.
        seed: Chooses these mini-batches.

    Returns:
        ``value`` in percentage points (nan where targets are no class indices) and ``loss_value``
        in the unit of the loss, with the series they are read from.

    Raises:
        ValueError: An argument is out of range; the loader is empty; the models differ in device,
            layers, the name or shape of a parameter, frozen parameters or other buffers than batch
            statistics (the first that differs is named).

    References:
        Frankle, Dziugaite, Roy and Carbin (2020), arXiv:1912.05671.

    Example:
        Least squares from both sides of the minimum, where the loss of the line is lowest:

        >>> import torch
        >>> data = [(torch.ones(1, 1), torch.zeros(1, 1))]
        >>> one, other = (torch.nn.Linear(1, 1, bias=False) for _ in range(2))
        >>> _ = one.load_state_dict({"weight": torch.tensor([[-1.0]])})
        >>> _ = other.load_state_dict({"weight": torch.tensor([[2.0]])})
        >>> found = linear_barrier(one, other, data, criterion=torch.nn.MSELoss(), points=4)
        >>> found.losses.round(decimals=4), round(found.loss_value, 4), found.above_chord
        (tensor([1., 0., 1., 4.], dtype=torch.float64), 1.5, 0.0)
    """
    require_whole(3, points=points)
    require_whole(1, batch_size=batch_size)
    require_switch(recalibrate=recalibrate)
    positions = torch.linspace(0.0, 1.0, points, dtype=torch.float64)
    measured = []
    with between(
        model_a,
        model_b,
        loader,
        criterion=criterion,
        loss_fn=loss_fn,
        batch_size=batch_size,
        seed=seed,
    ) as joined:
        start, end = joined.points
        for t in positions.tolist():
            if not recalibrate:
                average_statistics(joined.network.model, unwrap(model_a), unwrap(model_b), t)
            # An end is itself, also where the other one is not finite.
            theta = {0.0: start, 1.0: end}.get(t)
            theta = torch.lerp(start, end, t) if theta is None else theta
            measured.append(joined.quality_at(theta, new_statistics=recalibrate))
    losses, errors = losses_of(measured), errors_of(measured)
    return Barrier(
        value=float(barrier_heights(errors)),
        loss_value=float(barrier_heights(losses)),
        t_star=float(positions[errors.argmax()]) if errors.isfinite().all() else math.nan,
        t=positions,
        errors=errors,
        losses=losses,
        recalibrated=recalibrate,
        samples=joined.samples,
    )
