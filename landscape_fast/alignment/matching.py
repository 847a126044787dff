"""Which unit of one network goes with which of another: linear assignments over groups."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, fx, nn

from landscape_fast.alignment.groups import Groups, Place, captured, permuted
from landscape_fast.linearise.capture import LossInputs
from landscape_fast.linearise.params import ParameterSpace
from landscape_fast.linearise.sharing import kind_of
from landscape_fast.linearise.structure import tensors

IMPROVES = 1e-9  # relative gain in similarity below which a permutation stays as it is


def by_weights(
    groups: Groups,
    named_a: Mapping[str, Tensor],
    named_b: Mapping[str, Tensor],
    *,
    rounds: int,
    rng: np.random.Generator,
) -> tuple[list[Tensor], int, bool]:
    """Permutations that bring parameters of b closest to those of a, by coordinate descent.

    One group at a time, in random order, gets the best permutation with the others held; a
    permutation changes only where the inner product of all parameters grows.

    Returns:
        Permutations, rounds made, and whether the last round changed nothing.
    """
    orders = [torch.arange(size) for size in groups.sizes]
    for done in range(1, rounds + 1):
        changed = False
        for group in rng.permutation(len(orders)).tolist():
            names = {place.name for place in groups.places if group in place.groups}
            wide_a = {name: named_a[name].double() for name in sorted(names)}
            places = [place for place in groups.places if place.name in names]
            wide_b = {name: named_b[name].double() for name in sorted(names)}
            now = permuted(wide_b, places, orders)
            gain = sum(
                (
                    _products(wide_a[place.name], now[place.name], place, offset)
                    for place in places
                    for offset, other in enumerate(place.groups)
                    if other == group
                ),
                start=torch.zeros(len(orders[group]), len(orders[group]), dtype=torch.float64),
            )
            better = orders[group][_assigned(gain)]
            trial = [*orders[:group], better, *orders[group + 1 :]]
            new = permuted(wide_b, places, trial)
            before, after = (
                sum(float((wide_a[name] * moved[name]).sum()) for name in sorted(names))
                for moved in (now, new)
            )
            if after > before + IMPROVES * abs(before):
                orders[group], changed = better, True
        if not changed:
            return orders, done, True
    return orders, rounds, not orders


def by_activations(
    groups: Groups, model_a: nn.Module, model_b: nn.Module, batches: Iterable[Any]
) -> list[Tensor]:
    """Permutations that bring activations of b closest to those of a, group by group.

    Activations are what activation functions return; in groups without one, all values.
    """
    chosen = _watched(groups)
    programs: dict[Hashable, tuple[fx.GraphModule, ...]] = {}
    own = [LossInputs(model, ParameterSpace(model)).gather(()) for model in (model_a, model_b)]
    products = [torch.zeros(size, size, dtype=torch.float64) for size in groups.sizes]
    for batch in batches:
        key = kind_of(batch)
        if key not in programs:
            programs[key] = captured(model_a, batch), captured(model_b, batch)
        leaves = list(tensors(batch))
        seen_a, seen_b = (
            _values(program, [*mine, *leaves], {place.name for place in chosen})
            for program, mine in zip(programs[key], own, strict=True)
        )
        for place in chosen:
            for offset, group in enumerate(place.groups):
                if group >= 0:
                    pair = seen_a[place.name], seen_b[place.name]
                    products[group] += _products(*pair, place, offset)
    return [_assigned(product) for product in products]


def _products(a: Tensor, b: Tensor, place: Place, offset: int) -> Tensor:
    """Inner products (s, s) of the units of ``a`` with those of ``b`` along one factor."""
    one, other = (
        tensor.double().unflatten(place.axis, place.sizes).movedim(place.axis + offset, 0)
        for tensor in (a, b)
    )
    return (one.reshape(len(one), -1) @ other.reshape(len(other), -1).T).cpu()


def _assigned(gain: Tensor) -> Tensor:
    if not torch.isfinite(gain).all():
        raise ValueError("activations on the data of loader are not finite")
    _, columns = linear_sum_assignment(gain.numpy(), maximize=True)
    return torch.from_numpy(columns)


def _watched(groups: Groups) -> list[Place]:
    """Values that are looked at: of each group those of activation functions, if there are any."""
    active = {
        group for place in groups.values if place.name in groups.active for group in place.groups
    }
    return [
        replace(place, groups=kept)
        for place in groups.values
        if max(
            kept := tuple(
                group if place.name in groups.active or group not in active else -1
                for group in place.groups
            )
        )
        >= 0
    ]


def _values(
    program: fx.GraphModule, inputs: Sequence[Tensor], wanted: Set[str]
) -> dict[str, Tensor]:
    """Run the forward pass and keep the values of the nodes ``wanted``."""
    found: dict[str, Tensor] = {}

    class Watching(fx.Interpreter):
        def run_node(self, node: fx.Node) -> Any:
            value = super().run_node(node)
            if node.name in wanted:
                found[node.name] = value
            return value

    # The program takes one list; the interpreter wants its entries.
    Watching(program).run(*inputs, enable_io_processing=False)
    return found
