"""The pullback of a network: cotangents of its outputs to per-sample gradients, squared."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from landscape_fast.linearise.capture_outputs import unmarked
from landscape_fast.linearise.liveness import moving, needed, read
from landscape_fast.linearise.program import (
    filled,
    push,
    stub,
    tangent_of,
    templated,
    trimmed,
)
from landscape_fast.linearise.rules import FIXED, layers
from landscape_fast.linearise.rules.linear import fold_rows, unfold_rows
from landscape_fast.linearise.samplewise import norms
from landscape_fast.linearise.samplewise.layouts import PLAIN, Layout
from landscape_fast.linearise.samplewise.squares import SQUARES, Squares, served

aten = torch.ops.aten

# What may lie between a gradient's producer and the gradient: entries change places alone.
_MOVES = frozenset(
    {
        aten.view.default,
        aten._unsafe_view.default,
        aten.reshape.default,
        aten.t.default,
        aten.transpose.int,
        aten.permute.default,
        aten.detach.default,
        aten.alias.default,
        aten.clone.default,
        aten.unsqueeze.default,
        aten.squeeze.dim,
        aten.squeeze.dims,
    }
)


def with_free_slope(traced: fx.GraphModule, gradients: int) -> fx.GraphModule:
    """Make the slope in the outputs an input of a trace, in place.

    Args:
        traced: From :func:`capture_pullback`.
        gradients: How many it returns.

    Returns:
        Placeholders: the slope in the outputs, then every input. Outputs: the network's, then one
        gradient per selected parameter, linear in the slope; None where there is none.

    Raises:
        ValueError: The network has several outputs.
    """
    number = traced.meta["outputs"]
    if number != 1:
        raise ValueError(f"the network has {number} outputs, and per-sample gradients need one")
    outputs, slope, *_ = unmarked(traced, gradients)
    graph = traced.graph
    end = next(node for node in graph.nodes if node.op == "output")
    with graph.inserting_before(next(iter(graph.nodes))):
        free = graph.placeholder("free_slope")
    free.meta["val"] = slope.meta["val"]
    end.args = ((outputs, *end.args[0]),)
    slope.replace_all_uses_with(free)
    graph.eliminate_dead_code()
    traced.recompile()
    return traced


class Producer:
    """The call that makes a parameter's gradient.

    Attributes:
        node: The call.
        item: Which of its outputs; None for an only one.
        moves: Calls on that output, in order, until the gradient.
    """

    def __init__(self, gradient: fx.Node) -> None:
        self.moves: list[fx.Node] = []
        node = gradient
        while node.target in _MOVES and isinstance(node.args[0], fx.Node):
            self.moves.insert(0, node)
            node = node.args[0]
        self.item: int | None = None
        if node.target is operator.getitem:
            node, self.item = node.args  # type: ignore[assignment]
        self.node = node

    def placed(self, squares: Tensor) -> Tensor:
        """Squares of the output as squares of the gradient."""
        for move in self.moves:
            squares = move.target(squares, *move.args[1:], **move.kwargs)  # type: ignore[operator]
        return squares


def producers_of(traced: fx.GraphModule, layouts: Mapping[str, Layout]) -> list[Producer | None]:
    """The producer of each gradient; None where its squares have no fast rule."""
    end = next(node for node in traced.graph.nodes if node.op == "output")
    found: list[Producer | None] = []
    for gradient in end.args[0][1:]:
        producer = None if gradient is None else Producer(gradient)
        known = producer is not None and served(producer.node, producer.item, layouts)
        found.append(producer if known else None)
    return found


class _Call:
    """One step: what is pushed, and what is squared."""

    def __init__(
        self,
        node: fx.Node,
        slots: dict[fx.Node, int],
        pushed: set[fx.Node],
        computed: set[fx.Node],
    ) -> None:
        args, self.kwargs = list(node.args), dict(node.kwargs)
        self.target: Any = node.target
        self.slot = slots[node]
        self.pushed = node in pushed
        self.computed = (
            [templated(item, slots) for item in trimmed(node, args, computed)]
            if node in computed
            else None
        )
        self.args = [templated(item, slots) for item in trimmed(node, args, pushed)]
        self.squares: list[tuple[int, Squares, Producer, Mapping[int, Layout]]] = []
        self.dead: list[int] = []


class PullbackProgram:
    """Sums over samples and cotangents of squared per-sample gradients.

    Args:
        traced: From :func:`with_free_slope`.
        layouts: By name of a value that depends on the rows: where these lie in it.
        wanted: Indices of the parameters whose squares are wanted; all have a producer.
    """

    def __init__(
        self, traced: fx.GraphModule, layouts: Mapping[str, Layout], wanted: Sequence[int]
    ) -> None:
        nodes = [node for node in traced.graph.nodes if node.op != "output"]
        inputs = [node for node in nodes if node.op == "placeholder"]
        slots = {node: index for index, node in enumerate(nodes)}
        behind = moving(nodes, {inputs[0]}, FIXED, {})
        producers = producers_of(traced, layouts)
        made: dict[fx.Node, list[tuple[int, Producer]]] = {}
        for index in wanted:
            producer = producers[index]
            assert producer is not None
            made.setdefault(producer.node, []).append((index, producer))
        pushed = {source for node in made for source in node.all_input_nodes if source in behind}
        for node in reversed(nodes):
            if node in pushed:
                pushed |= {source for source in node.all_input_nodes if source in behind}
        sources = {source for node in made for source in node.all_input_nodes}
        reads = (read(nodes, pushed) | sources) - behind
        computed = needed(nodes, reads)
        self.size = len(nodes)
        self.inputs = [slots[node] for node in inputs]
        self.constants = {
            slots[node]: getattr(traced, str(node.target))
            for node in nodes
            if node.op == "get_attr"
        }
        # The pullback is linear in its slope, so that at the slope zero all its values are zeros:
        # the rules may read them, and nobody computes them.
        self.stubs = {slots[node]: stub(node.meta.get("val"), 0.0) for node in nodes}
        self.calls: list[_Call] = []
        last: dict[fx.Node, _Call] = {}
        for node in nodes:
            if node.op != "call_function" or not (node in pushed | computed or node in made):
                continue
            call = _Call(node, slots, pushed, computed)
            places = {
                position: layouts[arg.name]
                for position, arg in enumerate(node.args)
                if isinstance(arg, fx.Node) and arg.name in layouts
            }
            for index, producer in made.get(node, []):
                call.squares.append((index, SQUARES[node.target, producer.item], producer, places))
            self.calls.append(call)
            for source in (node, *node.all_input_nodes):
                last[source] = call
        for node, call in last.items():
            call.dead.append(slots[node])
        self.largest = max(
            (n.meta["val"].numel() for n in pushed if isinstance(n.meta.get("val"), Tensor)),
            default=1,
        )

    def add_squares(
        self, inputs: Sequence[Tensor], cotangents: Tensor, into: Sequence[Tensor]
    ) -> None:
        """Add up squared gradients.

        Args:
            inputs: One value per input of the loss.
            cotangents: (K, *outputs), of every row its own.
            into: By parameter, float64, in its shape; added to where the parameter is wanted.
        """
        values: list[Any] = [None] * self.size
        blocks: list[Any] = [None] * self.size
        for slot, zeros in self.stubs.items():
            values[slot] = zeros
        for slot, value in (*zip(self.inputs[1:], inputs, strict=True), *self.constants.items()):
            values[slot] = value
        blocks[self.inputs[0]] = cotangents
        shared: dict[Any, Any] = {}
        for call in self.calls:
            if call.computed is not None:
                values[call.slot] = call.target(
                    *(filled(item, values) for item in call.computed), **call.kwargs
                )
            if call.pushed or call.squares:
                args = [filled(item, values) for item in call.args]
                dots = [tangent_of(item, blocks) for item in call.args]
                shared.clear()
                if call.target is layers.norm_backward:
                    plain = all(place == PLAIN for *_, at in call.squares for place in at.values())
                    dots[0], dots[1] = norms.masked(args, dots, shared, by_sample=plain), None
                for index, square, producer, places in call.squares:
                    found = producer.placed(square(args, dots, places, shared))
                    into[index].add_(found.reshape(into[index].shape))
                if call.pushed:
                    blocks[call.slot] = _pushed(call, args, dots, values[call.slot], shared)
            for slot in call.dead:
                blocks[slot] = None
                values[slot] = self.stubs[slot]


def _pushed(call: _Call, args: list[Any], dots: list[Any], out: Any, shared: dict[Any, Any]) -> Any:
    if call.target is layers.norm_backward:
        return norms.pushed(args, dots[0], shared)
    if call.target is aten.convolution_backward.default and (args[7] or args[9] > 1):
        return _input_gradient(args, dots[0]), None, None
    return push(call.target, args, call.kwargs, dots, out)


def _input_gradient(args: list[Any], block: Tensor) -> Tensor:
    """Through a transposed or grouped convolution, K folded into the batch."""
    x, weight, geometry = args[1], args[2], args[4:10]
    k, b = block.shape[:2]
    like = x[:1].expand(k * b, *x.shape[1:])
    folded = aten.convolution_backward.default(
        fold_rows(block), like, weight, None, *geometry, [True, False, False]
    )[0]
    return unfold_rows(folded, k, x)
