"""Instability analysis: do copies of one run that part end in one valley?"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from landscape_fast.arguments import SEEDS, require_choice, require_switch, require_whole
from landscape_fast.metrics.line import linear_barrier
from landscape_fast.results import Instability
from landscape_fast.training.data import Dataset
from landscape_fast.training.fit import conclude
from landscape_fast.training.losses import build_loss
from landscape_fast.training.recipe import Recipe
from landscape_fast.training.run import Run, repeatable_training


def instability(
    recipe: Recipe,
    steps: Sequence[int],
    *,
    orders: Sequence[int] = (1, 2),
    dataset: Dataset | None = None,
    device: torch.device | str = "cpu",
    part: Literal["train", "test"] = "train",
    points: int = 30,
    recalibrate: bool = True,
    batch_size: int = 128,
) -> Instability:
    """Barriers between copies of a run, by the step at which they part.

    The run of ``recipe`` is trained to a step. Copies go on from there to the end of the run, with
    weights, optimiser and learning rates as they are, each with an order of the data and random
    layers of its own. Then the barrier on the straight line between the copies is measured. Where
    it vanishes from some step on, the run is stable to the noise of SGD from there.

    Args:
        recipe: Of the run. Its seed decides initial weights and what happens until copies part; its
            checkpoint rule, which weights of a copy count as its end.
        steps: Optimiser steps at which copies part, ascending, from 0 (only the initial weights are
            shared) to the number of steps of the run (nothing is left to differ).
        orders: Seeds of the copies' orders, one for each copy. The recipe's own seed goes on as the
            run itself would.
        dataset: The whole, clean data set of the recipe where it is loaded already.
        device: Where to train and measure.
        part: Of the data that the error is measured on.
        points: Positions on a line, ends included.
        recalibrate: Whether running statistics of BatchNorm are measured anew on every line, on the
            rows of ``part``, see :func:`~landscape_fast.metrics.line.linear_barrier`.
        batch_size: Rows of a batch of the measurement.

    Returns:
        ``barriers`` (steps, pairs of copies) in percentage points with the profiles they are read
        from; ``stable_from()``, the step from which on copies end connected. A copy that diverged
        gives nan.

    Raises:
        ValueError: ``steps`` do not ascend within the run, ``orders`` are fewer than two or not
            different, or see :func:`~landscape_fast.training.fit.fit`.

    References:
        Frankle, Dziugaite, Roy and Carbin (2020), arXiv:1912.05671.

    Example:
        >>> recipe = Recipe(model="small_cnn", data="digits", width=2, epochs=1, lr=0.05)
        >>> found = instability(recipe, [0, 11], points=3)
        >>> found.run_steps, found.barriers.shape, float(found.barriers[1])
        (11, torch.Size([2, 1]), 0.0)
    """
    require_choice(("train", "test"), part=part)
    require_whole(1, batch_size=batch_size)
    require_whole(3, points=points)
    require_switch(recalibrate=recalibrate)
    _require_ascending(steps)
    _require_different(orders)
    _require_run(recipe, dataset)
    device = _device(device)
    with repeatable_training(device):
        data = recipe.load_dataset(dataset)
        trunk = Run(recipe, data, device)
        per_epoch = len(trunk.rates(0))
        if steps[-1] > per_epoch * recipe.epochs:
            raise ValueError(
                f"steps must lie within the {per_epoch * recipe.epochs} of the run, got {steps[-1]}"
            )
        ends = []
        for step in steps:
            epoch, within = divmod(step, per_epoch)
            while len(trunk.losses) < epoch and not trunk.complete:
                trunk.train_epoch()
            ends.append(_ends(trunk, data, within, orders))
    batches = data.cast(getattr(torch, recipe.dtype)).batches(part, batch_size)
    lines = [
        [
            linear_barrier(
                *pair,
                batches,
                criterion=build_loss(recipe.loss),
                points=points,
                recalibrate=recalibrate,
                batch_size=batch_size,
            )
            for pair in itertools.combinations(copies, 2)
        ]
        for copies in ends
    ]
    return Instability(
        steps=tuple(steps),
        run_steps=per_epoch * recipe.epochs,
        orders=tuple(orders),
        errors=torch.stack([torch.stack([line.errors for line in row]) for row in lines]),
        losses=torch.stack([torch.stack([line.losses for line in row]) for row in lines]),
        t=lines[0][0].t,
        part=part,
        samples=lines[0][0].samples,
    )


def _ends(trunk: Run, data: Dataset, within: int, orders: Sequence[int]) -> list[nn.Module]:
    """Networks at the end of copies of a run that part ``within`` its next epoch."""
    stem = _copy(trunk, data, trunk.content())
    shared = stem.train_steps(0, within) if within and not stem.complete else torch.zeros(0)
    content, ends = stem.content(), []
    for order in orders:
        run = _copy(trunk, data, content)
        run.recipe = trunk.recipe.model_copy(update={"seed": order})
        if not run.complete:
            _finish(run, shared)
        model = trunk.recipe.build_model(data).to(trunk.device)
        model.load_state_dict(conclude(run, None).state_dict)
        ends.append(model)
    return ends


def _finish(run: Run, shared: Tensor) -> None:
    """Make the rest of an epoch whose first losses are ``shared``, and all epochs after it."""
    run.finish_epoch(torch.cat([shared, run.train_steps(len(shared))]))
    while not run.complete:
        run.train_epoch()


def _copy(run: Run, data: Dataset, content: dict[str, Any]) -> Run:
    """A run in the state that ``content`` says, which stays as it is."""
    other = Run(run.recipe, data, run.device)
    other.restore(copy.deepcopy(content))
    return other


def _require_run(recipe: Recipe, dataset: Dataset | None) -> None:
    if not isinstance(recipe, Recipe):
        raise TypeError(f"recipe must be a Recipe, got {type(recipe).__name__}")
    if dataset is not None and not isinstance(dataset, Dataset):
        raise TypeError(f"dataset must be a Dataset, got {type(dataset).__name__}")


def _device(device: torch.device | str) -> torch.device:
    try:
        return torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device must name a device of torch, got {device!r}") from error


def _require_ascending(steps: Sequence[int]) -> None:
    if not isinstance(steps, Sequence) or isinstance(steps, str):
        raise TypeError(f"steps must be a sequence of whole numbers, got {type(steps).__name__}")
    for step in steps:
        require_whole(0, steps=step)
    if not steps or any(b <= a for a, b in itertools.pairwise(steps)):
        raise ValueError(f"steps must ascend, got {list(steps)}")


def _require_different(orders: Sequence[int]) -> None:
    if not isinstance(orders, Sequence) or isinstance(orders, str):
        raise TypeError(f"orders must be a sequence of seeds, got {type(orders).__name__}")
    for order in orders:
        require_whole(0, most=SEEDS - 1, orders=order)
    if len(orders) < 2 or len(set(orders)) < len(orders):
        raise ValueError(f"orders must be two or more different seeds, got {list(orders)}")
