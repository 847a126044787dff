"""The loss of the whole data and its gradient, and the check that a second pass repeats them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from landscape_fast.linearise.checkpointing import reentrance_refused
from landscape_fast.linearise.cuts import cut
from landscape_fast.linearise.objective import Objective
from landscape_fast.linearise.params import ParameterSpace
from landscape_fast.linearise.plain_operations import PlainOperations
from landscape_fast.linearise.second_derivative import twice_differentiable
from landscape_fast.linearise.structure import map_tensors

MOST_DOUBLED = 8  # rows that a loss is asked about twice
REPEATS = 1e-3  # relative difference of two gradients of one batch that rounding may make


def measured_loss(
    model: nn.Module, objective: Objective, space: ParameterSpace, batches: Iterable[Any]
) -> tuple[float, float]:
    """One forward pass: the summed loss and what it counts.

    Raises:
        ValueError: The loss is not finite, depends on no selected parameter, is stochastic, or sums
            over rows where it should average, or the model checkpoints activations in the reentrant
            way.
    """
    total, counts = 0.0, 0.0
    depends = False
    for index, batch in enumerate(batches):
        if not depends:  # a batch in which nothing is labelled says nothing
            depends = _repeats(model, objective, space, batch)
        if index == 0:
            _require_mean(model, objective, batch)
        value, count = _value(model, objective, batch)
        if not torch.isfinite(value):
            raise ValueError(f"loss is {float(value)} on batch {index} of the loader")
        total, counts = total + float(value), counts + count
    if not depends:
        raise ValueError("the loss does not depend on any selected parameter")
    return total, counts


def summed_gradient(
    model: nn.Module, objective: Objective, space: ParameterSpace, batches: Iterable[Any]
) -> tuple[float, Tensor]:
    """The summed loss and its gradient (n,), both added up over batches in float64."""
    total = 0.0
    gradient = torch.zeros(space.size, dtype=torch.float64, device=space.device)
    for batch in batches:
        with twice_differentiable(model), PlainOperations():
            value, _ = objective(model, batch)
            parts = _gradient(value, space)
            if parts is not None:
                gradient += space.flatten(parts)
        total += float(value.detach())
    return total, gradient


def require_count(
    model: nn.Module, objective: Objective, batches: Iterable[Any], before: float
) -> None:
    """Refuse a function of the caller's that counts the data otherwise than ``before``.

    Raises:
        ValueError: As described.
    """
    if objective.by_function:  # a criterion counts rows, or stays as it is
        now = sum(_value(model, objective, batch)[1] for batch in batches)
        if now != before:
            raise ValueError(
                f"loss_fn counts the data as {now:g}, and as {before:g} when the operator was "
                "made: make a new one"
            )


def _value(model: nn.Module, objective: Objective, batch: Any) -> tuple[Tensor, float]:
    """The summed loss of a batch and what it counts, by the operations that are differentiated."""
    with twice_differentiable(model), PlainOperations():
        try:
            with torch.no_grad():
                return objective(model, batch)
        except RuntimeError:
            # A loss may take gradients itself, as a gradient penalty does.
            with torch.enable_grad():
                value, count = objective(model, batch)
            return value.detach(), count


def _repeats(model: nn.Module, objective: Objective, space: ParameterSpace, batch: Any) -> bool:
    """Refuse a model whose gradients of a batch differ; whether the batch depends on it."""
    with reentrance_refused(), twice_differentiable(model), PlainOperations():
        first, second = (_gradient(objective(model, batch)[0], space) for _ in range(2))
    if first is None or second is None:
        return False
    one, other = (space.flatten(parts).double() for parts in (first, second))
    if (one - other).norm() > REPEATS * one.norm():
        raise ValueError(
            "model is stochastic in evaluation mode: two gradients of one batch differ by "
            f"{float((one - other).norm() / one.norm()):.1%}; turn off dropout and noise"
        )
    return True


def _require_mean(model: nn.Module, objective: Objective, batch: Any) -> None:
    """Refuse a function whose value doubles when every row is there twice."""
    few = cut(batch, slice(0, MOST_DOUBLED))
    twice = map_tensors(lambda leaf: torch.cat([leaf, leaf]) if leaf.dim() else leaf, few)
    try:
        with torch.no_grad():
            once, doubled = (objective.mean_on_trust(model, part) for part in (few, twice))
    except Exception:
        return  # a loss for batches of one size may raise anything
    if once is None or doubled is None or not once:
        return
    if abs(doubled - 2 * once) <= REPEATS * abs(once):
        raise ValueError(
            "the loss is a sum over the rows of a batch where their mean is expected: return "
            "(sum, count) from a loss_fn, or average"
        )


def _gradient(value: Tensor, space: ParameterSpace) -> tuple[Tensor, ...] | None:
    """By parameter; None if the value depends on none of them."""
    found: tuple[Tensor | None, ...] = ()
    if value.requires_grad:
        found = torch.autograd.grad(value, space.tensors, allow_unused=True)
    if all(part is None for part in found):
        return None
    pairs = zip(found, space.tensors, strict=True)
    return tuple(torch.zeros_like(own) if part is None else part for part, own in pairs)
