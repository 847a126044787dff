"""A copy of a network that is measured, or trained, at other points of its parameter space."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from landscape_fast.functional import copied
from landscape_fast.linearise.batches import Batches
from landscape_fast.linearise.objective import Criterion, LossFunction, Objective
from landscape_fast.linearise.params import ParameterSpace, Selection
from landscape_fast.linearise.state import evaluation, measurable

_OTHER = (
    "the loss does not depend on the parameters of the model that it is given, or on others too: "
    "loss_fn(model, batch) must use its own argument and no network of its surroundings"
)


class PlacedNetwork:
    """Loss and gradient of a network wherever its parameters are put.

    Works on a copy of ``model`` with any layers, tied parameters and custom forward passes; the
    copy, not a functional call, so that a ``loss_fn(model, batch)`` gets the module it expects.

    Attributes:
        model: A copy; the network itself stays where it is.
        space: The parameters that move.
        origin: (n,), where the network is.
    """

    def __init__(self, model: nn.Module, params: Selection = None) -> None:
        own = ParameterSpace(model, params)
        names, self._own = own.names, own.tensors
        self.model = copied(model)
        self.space = ParameterSpace(self.model, names)
        self.origin = self.position()

    def scale(self, *, adaptive: bool) -> Tensor:
        """What moves are measured in (n,): magnitudes of the parameters, or ones."""
        return self.origin.abs() if adaptive else torch.ones_like(self.origin)

    def position(self) -> Tensor:
        """Where the copy is (n,)."""
        return self.space.flatten([tensor.detach() for tensor in self.space.tensors])

    def place(self, point: Tensor) -> None:
        """Put the parameters to ``point`` (n,)."""
        with torch.no_grad():
            torch._foreach_copy_(list(self.space.tensors), list(self.space.split(point)))

    def require_moved_by(self, objective: Objective, batch: Any) -> None:
        """Refuse a loss that reads the network itself: it would not see where the copy is put.

        Raises:
            ValueError: ``loss_fn`` uses another model than the one that it is given.
        """
        if not objective.by_function:
            return
        with torch.enable_grad():
            value, _ = objective(self.model, batch)
        if not value.requires_grad:
            return
        tensors = [*self.space.tensors, *self._own]
        found = [
            part is not None for part in torch.autograd.grad(value, tensors, allow_unused=True)
        ]
        moves = len(self.space.tensors)
        if any(found[moves:]) or not any(found[:moves]):
            raise ValueError(_OTHER)

    def gradient(self, loss: Tensor) -> Tensor:
        """Gradient (n,) of ``loss`` by the parameters that move."""
        if not loss.requires_grad:
            raise ValueError("the loss does not depend on any trainable parameter")
        parts = torch.autograd.grad(loss, self.space.tensors, allow_unused=True)
        if all(part is None for part in parts):
            raise ValueError(_OTHER)
        pairs = zip(parts, self.space.tensors, strict=True)
        return self.space.flatten([torch.zeros_like(t) if p is None else p for p, t in pairs])

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
        return self.loss_and_gradient_here(batches, objective)

    def loss_and_gradient_here(
        self, batches: Iterable[Any], objective: Objective
    ) -> tuple[float, float, Tensor]:
        """The same where the copy is, for those that move its parameters themselves."""
        total, counts, gradient = 0.0, 0.0, torch.zeros_like(self.origin)
        for batch in batches:
            with torch.enable_grad():
                value, count = objective(self.model, batch)
                if value.requires_grad:
                    gradient += self.gradient(value)
            total, counts = total + float(value.detach()), counts + count
        divisor = objective.normaliser(counts) or 1.0
        return total / divisor, counts, gradient / divisor


def placed(
    model: nn.Module,
    loader: Iterable[Any],
    criterion: Criterion | None,
    loss_fn: LossFunction | None,
    params: Selection,
    memory_budget: int | None = None,
) -> tuple[PlacedNetwork, Batches, Objective]:
    """A copy of ``model`` in evaluation mode, with the data and the loss that it is measured by.

    Raises:
        ValueError: The loader is empty, or ``loss_fn`` uses another model than its argument.
    """
    model, objective = measurable(model), Objective(criterion, loss_fn)
    with evaluation(model):
        network = PlacedNetwork(model, params)
        batches = Batches(loader, device=network.space.device, memory_budget=memory_budget)
        network.require_moved_by(objective, next(iter(batches)))
    return network, batches, objective
