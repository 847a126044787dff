"""Where a loss is cut into a network and a loss of its outputs, found in the captured loss.

The Gauss-Newton matrix depends on what counts as the output. Here it is the last value that every
path from the parameters to the loss passes through and behind which the loss still bends, but none
behind what the model returned: for cross-entropy the logits, also where the model itself ends in a
log-softmax, since log-probabilities enter the loss linearly. Where no single value is passed by
all, it is what the model returned.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from landscape_fast.linearise.liveness import moving, wanted
from landscape_fast.linearise.rules import FIXED, LINEAR
from landscape_fast.linearise.rules.curvature import STRAIGHT
from landscape_fast.linearise.stops import STOPS

aten = torch.ops.aten

# A loss that takes the logarithm of what these return is one of their arguments.
_LINKS: dict[Any, frozenset[Any]] = {
    aten.sigmoid.default: frozenset(
        {aten.binary_cross_entropy.default, aten.log.default, aten.log1p.default}
    ),
    aten._softmax.default: frozenset({aten.log.default}),
}


def output_cut(
    traced: fx.GraphModule, parameters: int, rows: int | None, returned: Sequence[fx.Node] = ()
) -> tuple[fx.Node, ...]:
    """The nodes of a captured loss whose values count as the outputs of the network.

    Args:
        traced: The loss: one placeholder per input, the loss as first output.
        parameters: Number of leading placeholders that are parameters, selected or not.
        rows: Of the batch. The output has a dimension that this number divides.
        returned: What the model returned. Together they count where no single value does: for a
            network of several heads, or several calls of one.

    Raises:
        ValueError: There are none.
    """
    nodes = [node for node in traced.graph.nodes if node.op != "output"]
    end = next(node for node in traced.graph.nodes if node.op == "output").args[0][0]
    inputs = [node for node in nodes if node.op == "placeholder"]
    starts = set(inputs[:parameters])
    moves = moving(nodes, starts, FIXED | STOPS, {})
    reaching = wanted(nodes, moves, {end}, {})
    live = [node for node in nodes if node in moves & reaching]
    gates = _gates(live)
    gates -= _behind_the_model(live, gates, returned)
    # What happens to a mean over rows, such as its root, counts only where rows have no curvature.
    for among in (lambda node: _carries(node, rows), lambda _: True):
        bends = False
        behind: set[Any] = set()
        for node in reversed(live):
            if bends and node in gates and _carries(node, rows):
                return (_before_link(node, gates, behind),)
            counts = any(among(source) for source in node.all_input_nodes if source in moves)
            bends = bends or (counts and _bends(node, moves))
            behind.add(node.target)
    heads = {node for node in returned if node in live and node is not end}
    blocked = {node: set(node.all_input_nodes) for node in heads}
    passed = end in moving(nodes, starts, FIXED | STOPS, blocked)
    after = moving(nodes, heads, FIXED | STOPS, blocked) - heads
    nested = any(source in after | heads for head in heads for source in head.all_input_nodes)
    if heads and not passed and not nested and any(_bends(n, moves) for n in live if n in after):
        return tuple(node for node in live if node in heads)
    raise ValueError(
        "the loss cannot be cut into a network and a curved loss of its outputs: either it is "
        "linear in the outputs, or parameters enter it beside them (a penalty in loss_fn; see "
        "weight_decay)"
    )


def _gates(live: list[fx.Node]) -> set[fx.Node]:
    """Values that every path passes: computed when nothing before them is needed any more."""
    place = {node: index for index, node in enumerate(live)}
    found, furthest = set(), 0
    for node, index in place.items():
        if furthest <= index and node.op == "call_function":
            found.add(node)
        furthest = max(furthest, *(place.get(user, 0) for user in node.users))
    return found


def _behind_the_model(
    live: list[fx.Node], gates: set[fx.Node], returned: Sequence[fx.Node]
) -> set[fx.Node]:
    """What comes after the one value that a model returned: parts of the loss, never outputs."""
    outputs = [node for node in live if node in gates and node in returned]
    return set(live[live.index(outputs[0]) + 1 :]) if len(outputs) == 1 else set()


def _carries(node: fx.Node, rows: int | None) -> bool:
    value = node.meta.get("val")
    if not isinstance(value, Tensor):
        return False
    return any(size > 0 and size % (rows or 1) == 0 for size in value.shape)


def _before_link(node: fx.Node, gates: set[fx.Node], behind: set[Any]) -> fx.Node:
    """The argument of the sigmoid or softmax that ``node`` reshapes, if the loss takes logs."""
    source = node
    while source in gates:
        if behind & _LINKS.get(source.target, frozenset()):
            return source.all_input_nodes[0]
        if source.target not in LINEAR | STRAIGHT or not source.all_input_nodes:
            break
        source = source.all_input_nodes[0]
    return node


def _bends(node: fx.Node, moves: set[fx.Node]) -> bool:
    """Whether the derivative of one call depends on the values that move."""
    straight = node.target in STRAIGHT or node.target is operator.getitem
    if straight or not callable(node.target):
        return False
    leaves = []

    def value(item: fx.Node) -> Any:
        found = item.meta["val"]
        if item not in moves or not isinstance(found, Tensor):
            return found
        leaves.append(found.detach().requires_grad_())
        return leaves[-1]

    # On fake tensors: shapes alone, nothing is computed.
    with torch.enable_grad():
        out = node.target(*fx.map_arg(node.args, value), **fx.map_arg(node.kwargs, value))
        main = out if isinstance(out, Tensor) else out[0]
        slopes = torch.autograd.grad(
            main, leaves, torch.ones_like(main), create_graph=True, allow_unused=True
        )
    return any(slope is not None and slope.requires_grad for slope in slopes)
