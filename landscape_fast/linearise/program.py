"""A captured gradient as a straight-line program, walked with a block of tangents."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from landscape_fast.linearise.liveness import last_uses, moving, needed, read, wanted
from landscape_fast.linearise.rules import FIXED, READS_SHAPES, RULES, forward_mode, layers
from landscape_fast.linearise.stops import STOPS

# Where the mask of wanted gradients is among the arguments, and which output is its first.
_MASKED = {
    torch.ops.aten.convolution_backward.default: (10, 0),
    torch.ops.aten.native_batch_norm_backward.default: (9, 0),
    torch.ops.aten.native_layer_norm_backward.default: (7, 0),
    layers.norm_backward: (8, 1),
}


_ALIASES = READS_SHAPES - {torch.ops.aten.add.Tensor, torch.ops.aten.sub.Tensor}


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
    dots: list[Any]  # args whose tangents count, None for the others
    computed: list[Any] | None  # args for the value alone; None where no tangent needs it
    stub: Any  # of the same shape and without memory, where no tangent reads the value
    dead: tuple[int, ...]  # slots that nobody reads after this step


class Program:
    """Tangents of the outputs of a graph along blocks of directions of its first inputs.

    Args:
        traced: ATen calls without control flow; the output is a tuple of nodes or None.
        directions: Number of leading placeholders that tangents start from.
        muted: For a node, the nodes it reads whose tangents count as zero.

    Attributes:
        slow: Names of the operations that only the general rule serves.
        largest: Elements of the largest value that has a tangent and depends on other inputs than
            the leading ones.
        total: Elements of all such values together, those without memory of their own excepted.
        agrees: Whether it was held to double backward in the dtype that it is used in.
    """

    def __init__(
        self,
        traced: fx.GraphModule,
        directions: int,
        muted: Mapping[fx.Node, set[fx.Node]] | None = None,
    ) -> None:
        muted = muted or {}
        nodes = [node for node in traced.graph.nodes if node.op != "output"]
        outputs = next(node for node in traced.graph.nodes if node.op == "output").args[0]
        slots = {node: index for index, node in enumerate(nodes)}
        inputs = [node for node in nodes if node.op == "placeholder"]
        ends = {out for out in outputs if out is not None}
        moves = moving(nodes, set(inputs[:directions]), FIXED | STOPS, muted)
        pushed = moves & wanted(nodes, moves, ends, muted)
        reads = read(nodes, pushed)
        computed = needed(nodes, reads)
        self.size = len(nodes)
        self.inputs = [slots[node] for node in inputs]
        self.outputs = [slots[out] if out in pushed else None for out in outputs]
        dead = last_uses(nodes, ends)
        calls = [node for node in nodes if node.op == "call_function"]
        self.constants = {
            slots[node]: getattr(traced, str(node.target))
            for node in nodes
            if node.op == "get_attr"
        }
        self.steps = [
            Step(
                target=node.target,
                args=[templated(item, slots) for item in args],
                kwargs=kwargs,
                slot=slots[node],
                pushed=node in pushed,
                dots=[templated(item, slots, muted.get(node)) for item in args],
                computed=(
                    [templated(item, slots) for item in trimmed(node, args, computed)]
                    if node in computed
                    else None
                ),
                stub=None if node in reads else stub(node.meta.get("val")),
                dead=tuple(slots[other] for other in dead[node]),
            )
            for node in calls
            for args, kwargs in [_positional(node)]
        ]
        self._read = {slots[node] for node in reads}
        data = moving(nodes, set(inputs[directions:]), frozenset(), {})
        self.largest = max((_elements(n) for n in calls if n in pushed and n in data), default=1)
        self.total = sum(
            _elements(n) for n in calls if n in pushed and n in data and n.target not in _ALIASES
        )
        served = (operator.getitem, *RULES)
        self.agrees = False
        self.slow = {str(n.target) for n in calls if n in pushed and n.target not in served}

    @property
    def has_constants(self) -> bool:
        """Whether tensors of the traced model are part of the program."""
        return bool(self.constants)

    def primals(self, inputs: Sequence[Tensor]) -> list[Any]:
        """Values of the steps that tangents read, for any number of :meth:`tangents_at`."""
        values, _ = start(self, inputs, [])
        kept: list[Any] = [None] * self.size
        for step in self.steps:
            values[step.slot] = _value(step, values)
            kept[step.slot] = values[step.slot] if step.slot in self._read else step.stub
            for slot in step.dead:
                values[slot] = None
        return kept

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
            values[step.slot] = _value(step, values)
            self._push(step, values, blocks)
            for slot in step.dead:
                values[slot] = blocks[slot] = None
        return [None if slot is None else blocks[slot] for slot in self.outputs]

    def tangents_at(
        self, kept: Sequence[Any], inputs: Sequence[Tensor], dots: Sequence[Tensor]
    ) -> list[Tensor | None]:
        """Like :meth:`tangents`, with what :meth:`primals` returned for the same inputs."""
        values, blocks = start(self, inputs, dots)
        for step in self.steps:
            values[step.slot] = kept[step.slot]
            self._push(step, values, blocks)
            for slot in step.dead:
                values[slot] = blocks[slot] = None
        return [None if slot is None else blocks[slot] for slot in self.outputs]

    @staticmethod
    def _push(step: Step, values: list[Any], blocks: list[Any]) -> None:
        if step.pushed:
            args = [filled(item, values) for item in step.args]
            dots = [tangent_of(item, blocks) for item in step.dots]
            blocks[step.slot] = push(step.target, args, step.kwargs, dots, values[step.slot])


def _value(step: Step, values: list[Any]) -> Any:
    if step.computed is None:
        return step.stub
    return step.target(*(filled(item, values) for item in step.computed), **step.kwargs)


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
    if isinstance(out, Tensor) and not (out.is_floating_point() or out.is_complex()):
        return None
    rule = RULES.get(target)
    result = NotImplemented if rule is None else rule(args, dots, out)
    return forward_mode(target, args, kwargs, dots) if result is NotImplemented else result


def trimmed(node: fx.Node, args: list[Any], used: set[fx.Node]) -> list[Any]:
    """Arguments that ask an operation for those of its outputs alone that are in ``used``."""
    if node.target not in _MASKED:
        return args
    position, offset = _MASKED[node.target]
    items = {user.args[1] for user in node.users if user in used}
    mask = [bool(on) and index + offset in items for index, on in enumerate(args[position])]
    return [*args[:position], mask, *args[position + 1 :]]


def stub(value: Any, filler: float = math.nan) -> Any:
    """What has the shape of a value and no memory; not a number, so that a use of it shows."""
    if isinstance(value, Tensor):
        number = filler if value.is_floating_point() or value.is_complex() else 0
        single = torch.full((), number, dtype=value.dtype, device=value.device)
        return single.expand(value.shape)
    return tuple(stub(item, filler) for item in value) if isinstance(value, list | tuple) else value


def _elements(node: fx.Node) -> int:
    value = node.meta.get("val")
    return value.numel() if isinstance(value, Tensor) else 0


def _positional(node: fx.Node) -> tuple[list[Any], dict[str, Any]]:
    """Arguments in the order of the operation's schema, so that rules find them by position."""
    args, kwargs = list(node.args), dict(node.kwargs)
    if isinstance(node.target, torch._ops.OpOverload):
        for argument in node.target._schema.arguments[len(args) :]:
            if argument.kwarg_only or not kwargs:
                break
            args.append(kwargs.pop(argument.name, argument.default_value))
    return args, kwargs


def templated(item: Any, slots: dict[fx.Node, int], muted: set[fx.Node] | None = None) -> Any:
    """Replace nodes by slots, and fx's immutable containers by lists that operations accept."""
    if isinstance(item, fx.Node):
        return None if muted and item in muted else Slot(slots[item])
    if isinstance(item, list | tuple):
        return [templated(inner, slots, muted) for inner in item]
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
