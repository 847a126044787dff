"""Several models of one architecture as points, and a copy to be measured anywhere between."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from landscape_fast.linearise.batches import Batches
from landscape_fast.linearise.objective import Criterion, LossFunction, Objective
from landscape_fast.linearise.params import ParameterSpace
from landscape_fast.linearise.state import measurable, untouched
from landscape_fast.metrics.minibatches import Minibatches
from landscape_fast.metrics.networks import matched_parameters, require_same_rest
from landscape_fast.metrics.placed import PlacedNetwork
from landscape_fast.metrics.points import quality_at
from landscape_fast.metrics.quality import ignored_target
from landscape_fast.randomness import start_from_seed


def alike(models: Sequence[nn.Module], least: int = 2) -> tuple[nn.Module, ...]:
    """The modules inside ``models``, which differ in parameters and batch statistics alone.

    Raises:
        TypeError: It is one module, or an item is none.
        ValueError: There are fewer than ``least``, or a model differs from the first in more.
    """
    if not isinstance(models, Sequence | nn.ModuleList):
        raise TypeError(f"models must be a sequence of modules, got one {type(models).__name__}")
    for index, model in enumerate(models):
        if not isinstance(model, nn.Module):
            raise TypeError(f"models[{index}] must be a module, got {type(model).__name__}")
    found = tuple(measurable(model) for model in models)
    if len(found) < least:
        raise ValueError(f"models must hold at least {least} modules, got {len(found)}")
    for index, model in enumerate(found[1:], start=1):
        try:
            matched_parameters(found[0], model)
            require_same_rest(found[0], model)
        except ValueError as error:
            problem = f"models[0] (model_a) and models[{index}] (model_b): {error}"
            raise ValueError(problem) from error
    return found


def as_points(models: Sequence[nn.Module]) -> Tensor:
    """Parameters (m, n) of ``models`` that are :func:`alike`, in the order of the first."""
    first = ParameterSpace(models[0])
    rows = []
    for model in models:
        own = dict(model.named_parameters())
        rows.append(first.flatten([own[name].detach() for name in first.names]))
    return torch.stack(rows)


class Members:
    """A context in which the models stay as they are and random states are ours.

    Args:
        models: Alike but for parameters and batch statistics.
        loader: Iterable of batches, held in memory.
        criterion: As for every measure.
        loss_fn: Likewise.
        batch_size: Rows of a mini-batch.
        seed: Of everything random.

    Attributes:
        points: (m, n), where the models are.
        network: A copy of the first.
        data: Mini-batches to train on.
        objective: The loss.
        rng: Of the measurement's own draws.
        samples: Rows of the data.
    """

    points: Tensor
    network: PlacedNetwork
    data: Minibatches
    samples: int

    def __init__(
        self,
        models: Sequence[nn.Module],
        loader: Iterable[Any],
        criterion: Criterion | None,
        loss_fn: LossFunction | None,
        batch_size: int,
        seed: int,
    ) -> None:
        self._models, self._loader, self._size, self._seed = models, loader, batch_size, seed
        self.objective = Objective(criterion, loss_fn)
        self._ignored = ignored_target(criterion)

    def __enter__(self) -> Members:
        with ExitStack() as stack:
            stack.enter_context(untouched(*self._models))
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
            self.points = as_points(self._models)
            self.rng = start_from_seed(self._seed, self.points.device)
            batches = Batches(self._loader, device=self.points.device)
            self.samples, self.data = batches.samples, Minibatches(batches, self._size)
            self.network = PlacedNetwork(self._models[0])
            self._open = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def measured(self, point: Tensor) -> tuple[float, float]:
        """Loss and accuracy in percent at ``point`` (n,), with running statistics of its own."""
        return quality_at(point, self.network, self.data, self.objective, self._ignored, self._seed)


def losses_of(measured: Sequence[tuple[float, float]]) -> Tensor:
    """Losses (k,) float64 of what :meth:`Members.measured` returned."""
    return torch.tensor([loss for loss, _ in measured], dtype=torch.float64)


def errors_of(measured: Sequence[tuple[float, float]]) -> Tensor:
    """Errors (k,) float64 in percent of the same."""
    return torch.tensor([100.0 - accuracy for _, accuracy in measured], dtype=torch.float64)
