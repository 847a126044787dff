"""Groups of hidden units of a network, found in its captured forward pass."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from landscape_fast.alignment.axes import Axes, Axis, Factors, UnmatchedError
from landscape_fast.alignment.rules import is_nonlinear, is_uniform, rule_of
from landscape_fast.linearise.agreement import spread_rows
from landscape_fast.linearise.capture import LossInputs, trace
from landscape_fast.linearise.objective import Objective
from landscape_fast.linearise.params import ParameterSpace
from landscape_fast.linearise.structure import tensors

UNCHANGED = 1e-8  # in float64: what permuting units may change in the outputs, relative


@dataclass(frozen=True, slots=True)
class Place:
    """One axis of a tensor as factors: their sizes, and the group of each (-1 for none)."""

    name: str  # of the parameter or buffer
    axis: int
    sizes: tuple[int, ...]
    groups: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Groups:
    """All groups of a network and where their units stand."""

    sizes: tuple[int, ...]  # units of each group
    places: tuple[Place, ...]  # every axis of the model's tensors with a group in it
    still: tuple[tuple[str, str], ...]  # axes of parameters that may not move, and why
    values: tuple[Place, ...]  # the same of what the forward pass computes, by name of the node
    active: frozenset[str]  # nodes that are activation functions


def forward(model: nn.Module, batch: Any) -> Any:
    """What the model returns for a batch: a mapping of keywords, ``(inputs, ...)``, or inputs."""
    if isinstance(batch, Mapping):
        return model(**batch)
    return model(batch[0] if isinstance(batch, list | tuple) else batch)


def find_groups(model: nn.Module, batch: Any) -> Groups:
    """Find all groups of hidden units that may be permuted together.

    The answer is held to the model: with random permutations, outputs in float64 are the same.

    Args:
        model: In evaluation mode.
        batch: Eight of its rows are used.

    Raises:
        ValueError: An operation has no rule (it is named), the model cannot be captured, or
            permuted units change the outputs.
    """
    few = spread_rows(batch)
    groups = _read(captured(model, few), LossInputs(model, ParameterSpace(model)).names)
    _require_same_outputs(model, groups, few)
    return groups


def captured(model: nn.Module, batch: Any) -> fx.GraphModule:
    """The forward pass as a program of the model's tensors and those of ``batch``.

    Raises:
        ValueError: It cannot be captured.
    """
    space = ParameterSpace(model)
    inputs = LossInputs(model, space)
    try:
        return trace(
            lambda values: outputs(inputs, batch, values), inputs, batch, len(space.names), None
        )
    except Exception as error:  # whatever the tracer raises
        reason = str(error).split("\n", maxsplit=1)[0]
        raise ValueError(f"model cannot be captured: {type(error).__name__}: {reason}") from error


class _Returned(Objective):
    """The model's own outputs in the place of a loss."""

    def summed(self, model: nn.Module, batch: Any) -> Any:
        """What the model returns."""
        return forward(model, batch)


def outputs(inputs: LossInputs, batch: Any, values: list[Tensor]) -> tuple[Tensor, ...]:
    """All tensors that the model returns for a batch built like ``batch`` from ``values``."""
    returned = inputs.call(_Returned(), batch, values)
    return tuple(tensors(returned))


def permuted(
    named: Mapping[str, Tensor], places: Sequence[Place], permutations: Sequence[Tensor]
) -> dict[str, Tensor]:
    """Tensors with the units of every group in another order: entry i is what was at ``p[i]``."""
    moved = dict(named)
    for place in places:
        tensor = moved[place.name]
        start = place.axis
        shape = tensor.shape
        tensor = tensor.unflatten(place.axis, place.sizes)
        for offset, group in enumerate(place.groups):
            if group >= 0:
                order = permutations[group].to(tensor.device)
                tensor = tensor.index_select(start + offset, order)
        moved[place.name] = tensor.reshape(shape)
    return moved


def _read(traced: fx.GraphModule, own: Sequence[str]) -> Groups:
    """Walk the program once; what is joined at its end are the groups."""
    factors = Factors()
    axes: dict[fx.Node, Any] = {}
    nodes = list(traced.graph.nodes)
    names = dict(zip([n for n in nodes if n.op == "placeholder"], own, strict=False))

    moving: set[fx.Node] = set()  # what depends on the model

    def axes_of(node: Any) -> Axes:
        return axes[node]

    for node in nodes:
        if node.op == "placeholder":
            still = None if node in names else "inputs"
            axes[node] = factors.fresh(node.meta["val"].shape, still)
        elif node.op == "get_attr":
            axes[node] = factors.fresh(getattr(traced, str(node.target)).shape, "constants")
        elif node.op == "output":
            for out in node.args[0]:
                factors.hold(axes[out], "outputs")
        elif node.target is operator.getitem:
            axes[node] = axes[node.args[0]][node.args[1]]
        elif moving.isdisjoint(node.all_input_nodes):
            axes[node] = _immovable(factors, node)
        else:
            axes[node] = _by_rule(factors, node, axes_of)
        if node in names or not moving.isdisjoint(node.all_input_nodes):
            moving.add(node)
    return _collected(factors, axes, names)


def _immovable(factors: Factors, node: fx.Node) -> Any:
    """Axes of what is computed from inputs and constants alone."""
    value = node.meta["val"]
    if isinstance(value, Tensor):
        return factors.fresh(value.shape, None if is_uniform(node) else "inputs")
    return [factors.fresh(part.shape, "inputs") for part in value]


def _by_rule(factors: Factors, node: fx.Node, axes_of: Callable[[Any], Axes]) -> Any:
    rule = rule_of(node)
    if rule is None:
        raise ValueError(f"model uses {node.target}, for which no alignment rule exists")
    try:
        return rule(factors, node, axes_of)
    except (UnmatchedError, KeyError, IndexError) as error:
        raise ValueError(f"model uses {node.target} in a form that is not understood") from error


def _collected(
    factors: Factors,
    axes: Mapping[fx.Node, Any],
    names: Mapping[fx.Node, str],
) -> Groups:
    numbers: dict[int, int] = {}
    places: list[Place] = []
    still: list[tuple[str, str]] = []
    for node, name in names.items():
        for axis, run in enumerate(axes[node]):
            for root in factors.of(run):
                reason = factors.why_still(root)
                if reason is None:
                    numbers.setdefault(root, len(numbers))
                elif reason not in ("inputs", "outputs", "positions in a kernel", "positions"):
                    still.append((f"{name}, axis {axis}", reason))
            place = _place(factors, numbers, name, axis, run)
            if place is not None:
                places.append(place)
    values = [
        place
        for node, own in axes.items()
        if node not in names and isinstance(own, tuple)
        for axis, run in enumerate(own)
        if (place := _place(factors, numbers, node.name, axis, run)) is not None
    ]
    return Groups(
        tuple(factors.size(root) for root in numbers),
        tuple(places),
        tuple(still),
        tuple(values),
        frozenset(node.name for node in axes if is_nonlinear(node)),
    )


def _place(
    factors: Factors, numbers: Mapping[int, int], name: str, axis: int, run: Axis
) -> Place | None:
    """Where the groups of an axis stand; None if it has none."""
    found = tuple(numbers.get(root, -1) for root in factors.of(run))
    return Place(name, axis, factors.sizes(run), found) if max(found, default=-1) >= 0 else None


def _require_same_outputs(model: nn.Module, groups: Groups, few: Any) -> None:
    inputs = LossInputs(model, ParameterSpace(model))
    generator = torch.Generator().manual_seed(0)
    orders = [torch.randperm(size, generator=generator) for size in groups.sizes]
    values = inputs.gather(few, torch.float64)
    moved = permuted(dict(zip(inputs.names, values, strict=False)), groups.places, orders)
    after = [*(moved[name] for name in inputs.names), *values[len(inputs.names) :]]
    pairs = zip(outputs(inputs, few, values), outputs(inputs, few, after), strict=True)
    for one, other in pairs:
        if (one - other).abs().max() > UNCHANGED * one.abs().max():
            raise ValueError(
                "permuting the hidden units that were found changes the outputs of the model: it "
                "does more than its captured forward pass shows"
            )
