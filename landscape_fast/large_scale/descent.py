"""Descent of one point of parameter space within a plane orthogonal to given directions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from landscape_fast.metrics.curve_fit import Force, descend, penalised_gradient
from landscape_fast.metrics.points import Points


@dataclass(frozen=True, slots=True)
class Found:
    """Where a descent ended."""

    point: Tensor  # (n,)
    quality: tuple[float, float]  # loss and accuracy there
    before: tuple[float, float]  # the same at the start
    steps: int
    reached: bool  # the loss fell to the target


def spanned(points: Tensor) -> Tensor:
    """Orthonormal frame (n, m) of what m + 1 ``points`` (m + 1, n) span from the first.

    Raises:
        ValueError: They span less: two are equal, or one lies in the plane of others; or one is
            not finite.
    """
    for number, point in enumerate(points):
        if not torch.isfinite(point).all():
            raise ValueError(f"parameters of model {number} are not finite: it spans nothing")
    edges = (points[1:] - points[0]).double().T
    frame, triangle = torch.linalg.qr(edges)
    heights, lengths = triangle.diagonal().abs(), edges.norm(dim=0)
    if not (heights > 1e-6 * lengths).all():
        raise ValueError(f"{len(points)} models span fewer than {len(points) - 1} dimensions")
    return frame.to(points.dtype)


def descend_across(
    start: Tensor,
    frame: Tensor,
    at: Points,
    target: float,
    *,
    epochs: int,
    lr: float,
    momentum: float,
    weight_decay: float,
) -> Found:
    """Lower the loss from ``start`` (n,) by steps orthogonal to ``frame`` (n, m).

    The loss is measured after every epoch, and the descent ends when it is at most ``target``.
    """
    point, before = start.clone()[None], at.quality_at(start)
    latest = before

    def across(batch: Any) -> Iterator[Force]:
        gradient = penalised_gradient(point[0], at.network, batch, at.objective, weight_decay)
        yield 0, 1.0, gradient - frame @ (frame.T @ gradient)

    def enough() -> bool:
        nonlocal latest
        latest = at.quality_at(point[0])
        return latest[0] <= target

    if latest[0] <= target:
        epochs = 0
    steps = descend(
        point,
        across,
        at.network,
        at.data,
        at.rng,
        epochs=epochs,
        lr=lr,
        momentum=momentum,
        enough=enough,
    )
    return Found(point[0], latest, before, steps, latest[0] <= target)
