"""The loss of a piece of data as a program of the parameters, made for many points.

The forward pass is captured once. Batch normalisation behind a convolution is folded into its
filters, anew at every point; sums and relus reuse the memory of what they read; images lie with
their channels last where that is faster.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.graph import CodeGen

aten = torch.ops.aten

_CONVOLUTION = aten.convolution.default
# Operations that make new memory which only their own readers know of.
_FRESH = {_CONVOLUTION, aten.addmm.default, aten.mm.default, aten.add.Tensor, aten.add_.Tensor}


@dataclass(frozen=True, slots=True)
class _Fold:
    """Which inputs make the filters and the bias of one folded convolution."""

    filters: int
    bias: int | None  # of the convolution
    scale: int | None
    shift: int | None
    mean: int
    variance: int
    eps: float

    def __call__(self, values: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Filters and bias at the point that ``values`` are of."""
        factor = torch.rsqrt(values[self.variance] + self.eps)
        if self.scale is not None:
            factor = factor * values[self.scale]
        bias = -values[self.mean] if self.bias is None else values[self.bias] - values[self.mean]
        bias = bias * factor
        if self.shift is not None:
            bias = bias + values[self.shift]
        filters = values[self.filters]
        return filters * factor.view(-1, *[1] * (filters.dim() - 1)), bias


class PointProgram:
    """Summed loss of pieces of one shape at any point.

    Args:
        traced: From ``linearise.capture.capture_value``; rewritten in place. Its inputs are the
            model's parameters and buffers, then the tensors of the piece.
        own: How many inputs are the model's.
        channels_last: Whether images and filters lie so.
        stacked: Whether points run side by side, as one axis more of every value. None: where
            nothing is convolved, as convolutions of many filters at once are slower than one by
            one.

    Attributes:
        largest: Elements of the largest value that is computed.
    """

    def __init__(
        self,
        traced: fx.GraphModule,
        own: int,
        *,
        channels_last: bool,
        stacked: bool | None = None,
    ) -> None:
        graph = traced.graph
        if stacked is None:
            stacked = all(node.target is not _CONVOLUTION for node in graph.nodes)
        self.largest = _largest(graph)
        self._own = own
        self._inputs = [node for node in graph.nodes if node.op == "placeholder"]
        self._leaves = len(self._inputs) - own
        self._folds = _fold_normalisations(graph, self._inputs, own)
        self._channels_last = channels_last
        if not stacked:
            _reuse_memory(graph)
        self._filters = {
            self._inputs.index(node.args[1])
            for node in graph.nodes
            if node.target is _CONVOLUTION and node.args[1] in self._inputs
        }
        self._read = [bool(node.users) for node in self._inputs]
        self._stacked = stacked
        graph.eliminate_dead_code()
        graph.set_codegen(CodeGen())
        self._run = fx.GraphModule(traced, graph)

    def prepare(self, values: Sequence[Tensor]) -> list[Tensor | None]:
        """What the program reads of one point, from the model's inputs there."""
        ready: list[Tensor | None] = [
            self._laid(value, index) if self._read[index] else None
            for index, value in enumerate(values)
        ]
        for fold in self._folds:
            filters, bias = fold(values)
            ready += [self._laid(filters, None), bias]
        return ready

    def laid(self, leaf: Tensor) -> Tensor:
        """A tensor of the data as the program wants it in memory."""
        if self._channels_last and leaf.dim() == 4:
            return leaf.contiguous(memory_format=torch.channels_last)
        return leaf

    def __call__(
        self, points: Sequence[Sequence[Tensor | None]], leaves: Sequence[Tensor]
    ) -> list[float]:
        """Summed loss of a piece at each of the prepared ``points``."""
        if not self._stacked:
            return [float(self._at(point, leaves)) for point in points]
        present = [index for index, value in enumerate(points[0]) if value is not None]
        stacks = [torch.stack([point[index] for point in points]) for index in present]  # type: ignore[misc]

        def at(*values: Tensor) -> Tensor:
            point: list[Tensor | None] = [None] * len(points[0])
            for index, value in zip(present, values, strict=True):
                point[index] = value
            return self._at(point, leaves)

        return torch.func.vmap(at)(*stacks).double().tolist()

    def _at(self, point: Sequence[Tensor | None], leaves: Sequence[Tensor]) -> Tensor:
        (value,) = self._run(*point[: self._own], *leaves, *point[self._own :])
        return value

    def _laid(self, value: Tensor, index: int | None) -> Tensor:
        if self._channels_last and value.dim() == 4 and (index is None or index in self._filters):
            return value.contiguous(memory_format=torch.channels_last)
        return value


def _largest(graph: fx.Graph) -> int:
    sizes = [
        node.meta["val"].numel()
        for node in graph.nodes
        if node.op == "call_function" and isinstance(node.meta.get("val"), Tensor)
    ]
    return max(sizes, default=1)


def _fold_normalisations(graph: fx.Graph, inputs: list[fx.Node], own: int) -> list[_Fold]:
    """Replace convolution and normalisation by one convolution with two new inputs."""
    places: dict[Any, int] = {node: index for index, node in enumerate(inputs[:own])}
    folds: list[_Fold] = []
    for node in list(graph.nodes):
        if node.target is not aten.native_batch_norm.default or node.args[5]:
            continue
        convolution, scale, shift, mean, variance, _, _, eps = node.args
        if not isinstance(convolution, fx.Node) or not _foldable(convolution, node):
            continue
        _, filters, bias, *geometry = convolution.args
        required = (filters, mean, variance)
        optional = [part for part in (bias, scale, shift) if part is not None]
        if any(part not in places for part in (*required, *optional)):
            continue
        fold = _Fold(
            places[filters],
            places.get(bias),
            places.get(scale),
            places.get(shift),
            places[mean],
            places[variance],
            eps,
        )
        with graph.inserting_before(next(n for n in graph.nodes if n.op != "placeholder")):
            made = [graph.placeholder(f"folded_{len(folds)}_{name}") for name in ("w", "b")]
        convolution.args = (convolution.args[0], *made, *geometry)
        for user in list(node.users):
            user.replace_all_uses_with(convolution)
            graph.erase_node(user)
        graph.erase_node(node)
        folds.append(fold)
    return folds


def _foldable(convolution: fx.Node, norm: fx.Node) -> bool:
    """Whether ``norm`` alone reads the convolution, whose outputs are its filters' first axis."""
    return (
        convolution.target is _CONVOLUTION
        and set(convolution.users) == {norm}
        and not convolution.args[6]
        and all(user.target is operator.getitem and user.args[1] == 0 for user in norm.users)
    )


def _reuse_memory(graph: fx.Graph) -> None:
    """Let relus and sums write where they read, if nobody reads it after them."""
    for node in graph.nodes:
        if node.target is aten.relu.default and _is_spent(node.args[0]):
            node.target = aten.relu_.default
        elif node.target is aten.add.Tensor and not node.kwargs:
            one, other, *_ = node.args
            pair = [part for part in (one, other) if _is_spent(part) and _alike(part, node)]
            if pair and isinstance(one, fx.Node) and isinstance(other, fx.Node):
                node.target = aten.add_.Tensor
                node.args = (pair[0], other if pair[0] is one else one)


def _is_spent(node: Any) -> bool:
    """Whether ``node`` is new memory that one operation reads, once."""
    if not isinstance(node, fx.Node) or len(node.users) != 1:
        return False
    return node.target in _FRESH


def _alike(node: Any, result: fx.Node) -> bool:
    one, other = node.meta.get("val"), result.meta.get("val")
    return (
        isinstance(one, Tensor)
        and isinstance(other, Tensor)
        and one.shape == other.shape
        and one.dtype == other.dtype
    )
