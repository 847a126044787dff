"""Parameters in which a network is linear on each of its pieces: there H and G have one diagonal.

The Hessian is G plus the curvature of the outputs in the parameters. If a parameter enters once and
linearly, everything behind it is piecewise linear, and nothing multiplies two values that both
depend on it, then the outputs are piecewise linear in it and its block of that curvature is zero.
"""

from __future__ import annotations

import operator
from functools import reduce
from typing import Any

import torch
from torch import fx

from landscape_fast.linearise.rules import FIXED, LINEAR
from landscape_fast.linearise.rules.curvature import STRAIGHT
from landscape_fast.linearise.stops import STOPS

aten = torch.ops.aten

# Operations linear in each of two arguments, by the places of these.
_BILINEAR: dict[Any, tuple[int, int]] = {
    aten.convolution.default: (0, 1),
    aten.mul.Tensor: (0, 1),
    aten.mm.default: (0, 1),
    aten.bmm.default: (0, 1),
    aten.addmm.default: (1, 2),
    aten.baddbmm.default: (1, 2),
}


def exact_parameters(traced: fx.GraphModule, cut: fx.Node, count: int) -> tuple[int, ...]:
    """Indices of the parameters in which the outputs are piecewise linear.

    Args:
        traced: A captured loss, not fused.
        cut: The network's outputs in it.
        count: Leading placeholders that are parameters.
    """
    inputs = [node for node in traced.graph.nodes if node.op == "placeholder"]
    depends = {node: 1 << index for index, node in enumerate(inputs[:count])}
    curved = 0
    for node in traced.graph.nodes:
        if node.op == "call_function" and node.target not in FIXED:
            curved |= _curved(node, depends)
            depends[node] = _union(node.all_input_nodes, depends)
        if node is cut:
            break
    return tuple(index for index in range(count) if not curved >> index & 1)


def _union(nodes: list[fx.Node], depends: dict[fx.Node, int]) -> int:
    return reduce(operator.or_, (depends.get(node, 0) for node in nodes), 0)


def _curved(node: fx.Node, depends: dict[fx.Node, int]) -> int:
    """Parameters in which a call may bend, as bits."""

    def of(place: int) -> int:
        argument = node.args[place] if place < len(node.args) else None
        return depends.get(argument, 0) if isinstance(argument, fx.Node) else 0

    everything = _union(node.all_input_nodes, depends)
    if node.target in STOPS:
        return everything  # a stop-gradient: autograd's derivatives are not those of the value
    if node.target in _BILINEAR:
        first, second = _BILINEAR[node.target]
        return of(first) & of(second)
    if node.target is aten.native_batch_norm.default and not node.args[5]:
        return (of(0) & of(1)) | of(3) | of(4)
    if node.target is aten.div.Tensor:
        return of(1)
    straight = node.target in LINEAR or node.target in STRAIGHT
    return 0 if straight or node.target is operator.getitem else everything
