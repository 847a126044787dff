"""Models of one network as points of its parameter space, measured anywhere between them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from landscape_fast.linearise.objective import Criterion, LossFunction, Objective
from landscape_fast.linearise.params import ParameterSpace
from landscape_fast.linearise.state import untouched
from landscape_fast.metrics.batchnorm import recalibrate
from landscape_fast.metrics.minibatches import Minibatches
from landscape_fast.metrics.placed import PlacedNetwork, placed
from landscape_fast.metrics.quality import ignored_target, loss_and_accuracy
from landscape_fast.randomness import start_from_seed


def as_points(models: Sequence[nn.Module]) -> Tensor:
    """Parameters (m, n) of ``models`` of one network, in the order of the first."""
    first = ParameterSpace(models[0])
    rows = []
    for model in models:
        own = dict(model.named_parameters())
        rows.append(first.flatten([own[name].detach() for name in first.names]))
    return torch.stack(rows)


@dataclass(frozen=True)
class Points:
    """Models as points, their data, and a copy that can be put anywhere between them.

    Attributes:
        points: (m, n), where the models are.
        network: A copy of the first.
        data: Rows, shuffled anew on every pass.
        objective: The loss.
        ignore_index: Target that does not count for the error.
        samples: Rows of data.
        seed: Of everything random.
        rng: Generator of the measurement's own draws.
    """

    points: Tensor
    network: PlacedNetwork
    data: Minibatches
    objective: Objective
    ignore_index: int
    samples: int
    seed: int
    rng: np.random.Generator

    def quality_at(self, theta: Tensor, *, new_statistics: bool = True) -> tuple[float, float]:
        """Loss and accuracy in percent at ``theta`` (n,); nan for both where it is not finite.

        With ``new_statistics`` those of BatchNorm are measured there first, from mini-batches that
        ``seed`` draws: the same ones at every point.
        """
        if not torch.isfinite(theta).all():
            return math.nan, math.nan
        model = self.network.model
        self.network.place(theta)
        same = np.random.default_rng(self.seed)
        if new_statistics:
            recalibrate(model, self.data.shuffled(same), self.objective)
        model.eval()
        with torch.no_grad():
            rows = self.data.shuffled(same)
            return loss_and_accuracy(model, rows, self.objective, self.ignore_index)


@contextmanager
def placed_points(
    models: Sequence[nn.Module],
    loader: Iterable[Any],
    criterion: Criterion | None,
    loss_fn: LossFunction | None,
    batch_size: int,
    seed: int,
) -> Iterator[Points]:
    """``models`` of one network with their data; models and random states stay as they are.

    Raises:
        ValueError: The loader is empty, or ``loss_fn`` uses another model than its argument.
    """
    with untouched(*models), torch.inference_mode(False), torch.enable_grad():
        points = as_points(models)
        rng = start_from_seed(seed, points.device)
        network, batches, objective = placed(models[0], loader, criterion, loss_fn, None)
        samples, data = batches.samples, Minibatches(batches, batch_size)
        del batches  # the rows live in `data` now
        yield Points(
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
    """Losses (k,) float64 of what :meth:`Points.quality_at` returned."""
    return torch.tensor([loss for loss, _ in measured], dtype=torch.float64)


def errors_of(measured: Sequence[tuple[float, float]]) -> Tensor:
    """Errors (k,) float64 in percent of the same."""
    return torch.tensor([100.0 - accuracy for _, accuracy in measured], dtype=torch.float64)
