"""Several models of one architecture as points, and a copy to be measured anywhere between."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from landscape_fast.linearise.objective import Criterion, LossFunction, Objective
from landscape_fast.linearise.params import ParameterSpace
from landscape_fast.linearise.state import measurable, untouched
from landscape_fast.metrics.minibatches import Minibatches
from landscape_fast.metrics.networks import matched_parameters, require_same_rest
from landscape_fast.metrics.placed import PlacedNetwork, placed
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


@dataclass(frozen=True)
class Members:
    """Models as points, and a copy of the first that can be put anywhere between them.

    Attributes:
        points: (m, n), where the models are.
        network: The copy.
        data: Mini-batches to train on.
        objective: The loss.
        ignore_index: Target that does not count for the error.
        samples: Rows of the data.
        seed: Of everything random.
        rng: Of the measurement's own draws.
    """

    points: Tensor
    network: PlacedNetwork
    data: Minibatches
    objective: Objective
    ignore_index: int
    samples: int
    seed: int
    rng: np.random.Generator

    def measured(self, point: Tensor) -> tuple[float, float]:
        """Loss and accuracy in percent at ``point`` (n,), with running statistics of its own."""
        return quality_at(
            point, self.network, self.data, self.objective, self.ignore_index, self.seed
        )


@contextmanager
def gathered(
    models: Sequence[nn.Module],
    loader: Iterable[Any],
    criterion: Criterion | None,
    loss_fn: LossFunction | None,
    batch_size: int,
    seed: int,
) -> Iterator[Members]:
    """Models that are :func:`alike` with their data; models and random states stay as they are.

    Raises:
        ValueError: The loader is empty, or ``loss_fn`` uses another model than its argument.
    """
    with untouched(*models), torch.inference_mode(False), torch.enable_grad():
        points = as_points(models)
        rng = start_from_seed(seed, points.device)
        network, batches, objective = placed(models[0], loader, criterion, loss_fn, None)
        samples, data = batches.samples, Minibatches(batches, batch_size)
        del batches  # the rows live in `data` now
        yield Members(
            points=points,
            network=network,
            data=data,
            objective=objective,
            ignore_index=ignored_target(criterion),
            samples=samples,
            seed=seed,
            rng=rng,
        )


def losses_of(measured: Sequence[tuple[float, float]]) -> Tensor:
    """Losses (k,) float64 of what :meth:`Members.measured` returned."""
    return torch.tensor([loss for loss, _ in measured], dtype=torch.float64)


def errors_of(measured: Sequence[tuple[float, float]]) -> Tensor:
    """Errors (k,) float64 in percent of the same."""
    return torch.tensor([100.0 - accuracy for _, accuracy in measured], dtype=torch.float64)
