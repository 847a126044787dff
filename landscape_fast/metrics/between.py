"""Two models of one network with their data, and the profile of a curve that joins them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from landscape_fast.linearise.objective import Criterion, LossFunction
from landscape_fast.linearise.state import unwrap
from landscape_fast.metrics.curve import Curve, mode_connectivity
from landscape_fast.metrics.networks import matched_parameters, require_same_rest
from landscape_fast.metrics.points import Points, errors_of, losses_of, placed_points
from landscape_fast.results import Connectivity


def between(
    model_a: nn.Module,
    model_b: nn.Module,
    loader: Iterable[Any],
    *,
    criterion: Criterion | None,
    loss_fn: LossFunction | None,
    batch_size: int,
    seed: int,
) -> AbstractContextManager[Points]:
    """What a path between two models needs; the models come back as they went in.

    Raises:
        ValueError: The models differ in more than trainable parameters and batch statistics (the
            first that differs is named); on entering, what
            :func:`~landscape_fast.metrics.points.placed_points` refuses.
    """
    models = unwrap(model_a, "model_a"), unwrap(model_b, "model_b")
    matched_parameters(*models)
    require_same_rest(*models)
    return placed_points(models, loader, criterion, loss_fn, batch_size, seed)


def profile(joined: Points, curve: Curve, points: int, *, steps: int) -> Connectivity:
    """Loss and error at ``points`` equal steps of t on a curve that took ``steps`` to train."""
    positions = torch.linspace(0.0, 1.0, points, dtype=torch.float64).tolist()
    measured = [joined.quality_at(curve(t)) for t in positions]
    losses, errors = losses_of(measured), errors_of(measured)
    value, index = mode_connectivity(errors.tolist())
    trained = curve.points[1:-1].clone()
    return Connectivity(
        value=value,
        loss_value=mode_connectivity(losses.tolist())[0],
        t_star=math.nan if index is None else positions[index],
        t=torch.tensor(positions, dtype=torch.float64),
        errors=errors,
        losses=losses,
        lengths=curve.lengths(positions),
        bend=trained[0] if len(trained) == 1 else trained,
        steps=steps,
        samples=joined.samples,
    )
