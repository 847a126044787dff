"""A copy of a network that is measured at other points of its parameter space."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from landscape_fast.linearise.objective import Objective
from landscape_fast.linearise.params import ParameterSpace, Selection


class PlacedNetwork:
    """Loss and gradient of a network wherever its parameters are put.

    Attributes:
        model: A copy; the network itself stays where it is.
        space: The parameters that move.
        origin: (n,), where the network is.
    """

    def __init__(self, model: nn.Module, params: Selection = None) -> None:
        names = ParameterSpace(model, params).names
        self.model = copy.deepcopy(model)
        self.space = ParameterSpace(self.model, names)
        self.origin = self.space.flatten([part.detach() for part in self.space.tensors])

    def scale(self, *, adaptive: bool) -> Tensor:
        """What moves are measured in (n,): magnitudes of the parameters, or ones."""
        return self.origin.abs() if adaptive else torch.ones_like(self.origin)

    def place(self, point: Tensor) -> None:
        """Put the parameters to ``point`` (n,)."""
        parts = self.space.split(point[None])
        for own, part in zip(self.space.tensors, parts, strict=True):
            own.data.copy_(part[0])

    def loss(
        self, batches: Iterable[Any], objective: Objective, move: Tensor | None = None
    ) -> tuple[float, float]:
        """Loss of the data, a move (n,) away from the origin, and what it was divided by."""
        self.place(self.origin if move is None else self.origin + move)
        total, counts = 0.0, 0.0
        for batch in batches:
            value, count = objective(self.model, batch)
            total, counts = total + float(value), counts + count
        return total / (objective.normaliser(counts) or 1.0), counts

    def loss_and_gradient(
        self, batches: Iterable[Any], objective: Objective, move: Tensor | None = None
    ) -> tuple[float, float, Tensor]:
        """The same with the gradient (n,) of the loss."""
        self.place(self.origin if move is None else self.origin + move)
        total, counts, gradient = 0.0, 0.0, torch.zeros_like(self.origin)
        for batch in batches:
            with torch.enable_grad():
                value, count = objective(self.model, batch)
                if value.requires_grad:
                    parts = torch.autograd.grad(value, self.space.tensors, materialize_grads=True)
                    gradient += self.space.flatten(parts)
            total, counts = total + float(value.detach()), counts + count
        divisor = objective.normaliser(counts) or 1.0
        return total / divisor, counts, gradient / divisor
