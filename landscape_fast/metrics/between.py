"""Two models of one network, their data, and the profile of a curve that joins them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from landscape_fast.linearise.batches import Batches
from landscape_fast.linearise.objective import Criterion, LossFunction, Objective
from landscape_fast.linearise.state import untouched, unwrap
from landscape_fast.metrics.curve import Curve, mode_connectivity
from landscape_fast.metrics.minibatches import Minibatches
from landscape_fast.metrics.networks import matched_parameters, require_same_rest
from landscape_fast.metrics.placed import PlacedNetwork
from landscape_fast.metrics.points import quality_at
from landscape_fast.metrics.quality import ignored_target
from landscape_fast.randomness import start_from_seed
from landscape_fast.results import Connectivity


@dataclass(frozen=True)
class Between:
    """What a path between two models needs.

    Attributes:
        network: A copy of the first model that can be put anywhere between them.
        ends: Parameters (n,) of both.
        data: Rows, shuffled anew on every pass.
        objective: The loss.
        ignore_index: Target that does not count for the error.
        samples: Rows of data.
        seed: Of everything random.
        rng: Generator of the order of the data and of positions.
    """

    network: PlacedNetwork
    ends: tuple[Tensor, Tensor]
    data: Minibatches
    objective: Objective
    ignore_index: int
    samples: int
    seed: int
    rng: np.random.Generator

    def quality_at(self, theta: Tensor, *, new_statistics: bool = True) -> tuple[float, float]:
        """Loss, and accuracy in percent, at ``theta`` (n,), with statistics measured anew."""
        return quality_at(
            theta,
            self.network,
            self.data,
            self.objective,
            self.ignore_index,
            self.seed,
            new_statistics=new_statistics,
        )

    def profile(self, curve: Curve, points: int, *, steps: int) -> Connectivity:
        """Loss and error at ``points`` equal steps of t on a curve that took ``steps`` to train."""
        positions = torch.linspace(0.0, 1.0, points, dtype=torch.float64).tolist()
        measured = [self.quality_at(curve(t)) for t in positions]
        losses = [loss for loss, _ in measured]
        errors = [100.0 - accuracy for _, accuracy in measured]
        value, index = mode_connectivity(errors)
        trained = curve.points[1:-1].clone()
        return Connectivity(
            value=value,
            loss_value=mode_connectivity(losses)[0],
            t_star=math.nan if index is None else positions[index],
            t=torch.tensor(positions, dtype=torch.float64),
            errors=torch.tensor(errors, dtype=torch.float64),
            losses=torch.tensor(losses, dtype=torch.float64),
            lengths=curve.lengths(positions),
            bend=trained[0] if len(trained) == 1 else trained,
            steps=steps,
            samples=self.samples,
        )


@contextmanager
def between(
    model_a: nn.Module,
    model_b: nn.Module,
    loader: Iterable[Any],
    *,
    criterion: Criterion | None,
    loss_fn: LossFunction | None,
    batch_size: int,
    seed: int,
) -> Iterator[Between]:
    """What a path between two models needs; the models come back as they went in.

    Raises:
        ValueError: The loader is empty; or the models differ in more than trainable parameters and
            batch statistics (the first that differs is named).
    """
    model_a, model_b = unwrap(model_a, "model_a"), unwrap(model_b, "model_b")
    space, tensors_b = matched_parameters(model_a, model_b)
    require_same_rest(model_a, model_b)
    objective = Objective(criterion, loss_fn)
    with untouched(model_a, model_b), torch.inference_mode(False), torch.enable_grad():
        rng = start_from_seed(seed, space.device)
        batches = Batches(loader, device=space.device)
        network = PlacedNetwork(model_a)
        network.model.eval()
        network.require_moved_by(objective, next(iter(batches)))
        samples, data = batches.samples, Minibatches(batches, batch_size)
        del batches  # the rows live in `data` now
        start, end = (
            space.flatten([tensor.detach() for tensor in tensors])
            for tensors in (space.tensors, tensors_b)
        )
        yield Between(
            network=network,
            ends=(start, end),
            data=data,
            objective=objective,
            ignore_index=ignored_target(criterion),
            samples=samples,
            seed=seed,
            rng=rng,
        )
