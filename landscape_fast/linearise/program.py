"""A captured gradient as a straight-line program, walked with a block of tangents."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from landscape_fast.linearise.rules import FIXED, RULES, forward_mode


@dataclass(frozen=True, slots=True)
class Slot:
    """Place of a value among the values of a run."""

    index: int


@dataclass(frozen=True, slots=True)
class Step:
    """One call of the program."""

    target: Any
    args: list[Any]  # with Slot for values of earlier steps, also inside lists
    kwargs: dict[str, Any]  # constants: dtypes, layouts
    slot: int
    pushed: bool  # its tangent is wanted and not zero
    dead: tuple[int, ...]  # slots that nobody reads after this step


class Program:
    """Tangents of the outputs of a graph along blocks of directions of its first inputs.

    Args:
        traced: ATen calls without control flow; the output is a tuple of nodes or None.
        directions: Number of leading placeholders that tangents start from.
        constants: Operations whose result counts as constant, beside those that are.

    Attributes:
        slow: Names of the operations that only the general rule serves.
        largest: Elements of the largest value that has a tangent, parameters excepted.
    """

    def __init__(
        self, traced: fx.GraphModule, directions: int, constants: frozenset[Any] = frozenset()
    ) -> None:
        nodes = [node for node in traced.graph.nodes if node.op != "output"]
        outputs = next(node for node in traced.graph.nodes if node.op == "output").args[0]
        slots = {node: index for index, node in enumerate(nodes)}
        inputs = [node for node in nodes if node.op == "placeholder"]
        moving = _moving(nodes, set(inputs[:directions]), FIXED | constants)
        pushed = moving & _wanted(nodes, moving, {out for out in outputs if out is not None})
        self.size = len(nodes)
        self.inputs = [slots[node] for node in inputs]
        self.outputs = [slots[out] if out in pushed else None for out in outputs]
        dead = _last_uses(nodes, {out for out in outputs if out is not None})
        calls = [node for node in nodes if node.op == "call_function"]
        self.constants = {
            slots[node]: getattr(traced, str(node.target))
            for node in nodes
            if node.op == "get_attr"
        }
        self.steps = [
            Step(
                target=node.target,
                args=[_templated(item, slots) for item in args],
                kwargs=kwargs,
                slot=slots[node],
                pushed=node in pushed,
                dead=tuple(slots[other] for other in dead[node]),
            )
            for node in calls
            for args, kwargs in [_positional(node)]
        ]
        self.largest = max((_elements(node) for node in calls if node in pushed), default=1)
        served = (operator.getitem, *RULES)
        self.slow = {str(n.target) for n in calls if n in pushed and n.target not in served}

    @property
    def has_constants(self) -> bool:
        """Whether tensors of the traced model are part of the program."""
        return bool(self.constants)

    def tangents(self, inputs: Sequence[Tensor], dots: Sequence[Tensor]) -> list[Tensor | None]:
        """Directional derivatives of the outputs.

        Args:
            inputs: One value per placeholder.
            dots: (K, *shape) for each of the leading ones.

        Returns:
            (K, *shape) per output, None where it is zero.
        """
        values, blocks = start(self, inputs, dots)
        for step in self.steps:
            args = [filled(item, values) for item in step.args]
            out = values[step.slot] = step.target(*args, **step.kwargs)
            if step.pushed:
                dots_of = [tangent_of(item, blocks) for item in step.args]
                blocks[step.slot] = push(step.target, args, step.kwargs, dots_of, out)
            for slot in step.dead:
                values[slot] = blocks[slot] = None
        return [None if slot is None else blocks[slot] for slot in self.outputs]


def start(program: Program, inputs: Sequence[Tensor], dots: Sequence[Tensor]) -> tuple[Any, Any]:
    """Values and tangent blocks of a run before its first step."""
    values: list[Any] = [None] * program.size
    blocks: list[Any] = [None] * program.size
    for slot, value in (*zip(program.inputs, inputs, strict=True), *program.constants.items()):
        values[slot] = value
    for slot, dot in zip(program.inputs, dots, strict=False):
        blocks[slot] = dot
    return values, blocks


def push(target: Any, args: list[Any], kwargs: dict[str, Any], dots: list[Any], out: Any) -> Any:
    """Tangent of one call's output from those of its arguments."""
    if all(dot is None for dot in dots):
        return None
    if target is operator.getitem:
        return dots[0][args[1]]
    if isinstance(out, Tensor) and not out.is_floating_point():
        return None
    rule = RULES.get(target)
    result = NotImplemented if rule is None else rule(args, dots, out)
    return forward_mode(target, args, kwargs, dots) if result is NotImplemented else result


def _moving(nodes: list[fx.Node], starts: set[fx.Node], fixed: frozenset[Any]) -> set[fx.Node]:
    """Nodes whose values move when the values of ``starts`` do."""
    moving = set(starts)
    for node in nodes:
        if node.target not in fixed and any(source in moving for source in node.all_input_nodes):
            moving.add(node)
    return moving


def _wanted(nodes: list[fx.Node], moving: set[fx.Node], ends: set[fx.Node]) -> set[fx.Node]:
    """Nodes whose tangents reach ``ends``."""
    wanted = set(ends)
    for node in reversed(nodes):
        if node in wanted and node in moving and node.op == "call_function":
            wanted |= set(node.all_input_nodes)
    return wanted


def _elements(node: fx.Node) -> int:
    value = node.meta.get("val")
    return value.numel() if isinstance(value, Tensor) else 0


def _last_uses(nodes: list[fx.Node], kept: set[fx.Node]) -> dict[fx.Node, list[fx.Node]]:
    """For each node, those that nobody reads after it."""
    last = {source: node for node in nodes for source in (node, *node.all_input_nodes)}
    dead: dict[fx.Node, list[fx.Node]] = {node: [] for node in nodes}
    for source, node in last.items():
        if source not in kept:
            dead[node].append(source)
    return dead


def _positional(node: fx.Node) -> tuple[list[Any], dict[str, Any]]:
    """Arguments in the order of the operation's schema, so that rules find them by position."""
    args, kwargs = list(node.args), dict(node.kwargs)
    if isinstance(node.target, torch._ops.OpOverload):
        for argument in node.target._schema.arguments[len(args) :]:
            if argument.kwarg_only or not kwargs:
                break
            args.append(kwargs.pop(argument.name, argument.default_value))
    return args, kwargs


def _templated(item: Any, slots: dict[fx.Node, int]) -> Any:
    """Replace nodes by slots, and fx's immutable containers by lists that operations accept."""
    if isinstance(item, fx.Node):
        return Slot(slots[item])
    if isinstance(item, list | tuple):
        return [_templated(inner, slots) for inner in item]
    return item


def filled(item: Any, values: list[Any]) -> Any:
    """Argument of a call with values in the place of slots."""
    if type(item) is Slot:
        return values[item.index]
    return [filled(inner, values) for inner in item] if type(item) is list else item


def tangent_of(item: Any, blocks: list[Any]) -> Any:
    """Tangent of an argument; a list of tangents for a list."""
    if type(item) is Slot:
        return blocks[item.index]
    if type(item) is list:
        inner = [tangent_of(part, blocks) for part in item]
        return None if all(part is None for part in inner) else inner
    return None
