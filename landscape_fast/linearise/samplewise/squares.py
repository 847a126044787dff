"""Squared per-sample gradients of parameters, by the operation that makes the gradient.

A rule gets the arguments of that operation, the block of cotangents (K, ...) in the place of its
incoming gradient, the layouts of its arguments and memory shared with the other rules of the call.
It returns the sum over samples and cotangents of the squares, float64, in the gradient's shape.
Positions and tokens of one sample are added up before squares are taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from landscape_fast import _native
from landscape_fast.linearise.rules import layers
from landscape_fast.linearise.samplewise import norms
from landscape_fast.linearise.samplewise.layouts import PLAIN, Layout

aten = torch.ops.aten

Squares = Callable[[Sequence[Any], Sequence[Any], Mapping[int, Layout], dict[Any, Any]], Tensor]
SQUARES: dict[tuple[Any, int | None], Squares] = {}


def served(node: fx.Node, item: int | None, layouts: Mapping[str, Layout]) -> bool:
    """Whether an output of a call has a rule that knows where the rows lie in its arguments."""
    if (node.target, item) not in SQUARES:
        return False
    args: tuple[Any, ...] = node.args
    first, second = (
        layouts.get(arg.name) if isinstance(arg, fx.Node) else None for arg in (*args, None)[:2]
    )
    if node.target is layers.norm_backward:
        first = second if first is None else first
    if first is None:
        return False
    dims = args[0].meta["val"].dim() if isinstance(args[0], fx.Node) else 0
    if node.target is aten.mm.default:
        turned = second is not None and Layout(1, second.outer, second.inner)
        return first == turned and second is not None and second.dim == 0
    if node.target is aten.sum.dim_IntList:
        return first.dim in [dim % dims for dim in args[1]]
    if node.target is aten.native_layer_norm_backward.default:
        return first.dim < dims - len(args[2])
    if node.target is aten.embedding_dense_backward.default:
        return not args[4] and first.dim < dims - 1
    if node.target is aten.convolution_backward.default and item == 1:
        transposed, several = args[7], len(args[5]) > 2
        return first.dim == 0 and not (transposed or several)
    return first.dim == 0


def _rule(operation: Any, item: int | None = None) -> Callable[[Squares], Squares]:
    def register(function: Squares) -> Squares:
        SQUARES[operation, item] = function
        return function

    return register


def _rows(size: int, layout: Layout) -> int:
    return size // (layout.outer * layout.inner)


def _by_sample(rows: Tensor, layout: Layout) -> Tensor:
    """Per-row gradients (rows, ...) added up by sample."""
    if layout.outer * layout.inner == 1:
        return rows
    return layout.apart(rows, _rows(len(rows), layout)).sum((1, 2))


def _total(gradients: Tensor) -> Tensor:
    """Squares of gradients (B, K, ...) added up over both, in float64."""
    lead = gradients.shape[:2]
    if not layers.served(gradients):
        return gradients.double().square().sum((0, 1))
    sums = _native.square_sums(gradients.reshape(*lead, -1))
    return sums.reshape(gradients.shape[2:])


@_rule(aten.convolution_backward.default, 1)
def _filters(
    args: Sequence[Any], dots: Sequence[Any], places: Mapping[int, Layout], shared: dict[Any, Any]
) -> Tensor:
    """One native pass, or per sample (K * O, P) times the unfolded input (P, I * window)."""
    _, x, weight, _, stride, padding, dilation, _, _, groups, _ = args
    block, layout, window = dots[0], places[0], weight.shape[2:]
    if len(window) == 1:
        x, block, window = x.unsqueeze(2), block.unsqueeze(3), (1, *window)
        stride, padding, dilation = (1, *stride), (0, *padding), (1, *dilation)
    geometry = {"stride": stride, "padding": padding, "dilation": dilation}
    if layout == PLAIN and x.device.type == "cpu" and layers.served(x):
        delta = layers.planes(block)
        found = _native.filter_squares(delta, x.contiguous(), window, **geometry, groups=groups)
        return found.reshape(weight.shape)
    k, b, outputs = block.shape[:3]
    columns = _unfolded(x, window, **geometry).reshape(b * groups, -1, block[0, 0, 0].numel())
    delta = block.transpose(0, 1).reshape(b, k, groups, outputs // groups, -1).transpose(1, 2)
    left = delta.reshape(b * groups, k * outputs // groups, -1)
    gradients = torch.bmm(left, columns.transpose(1, 2))
    by_sample = _by_sample(gradients.reshape(b, -1), layout)
    apart = by_sample.reshape(-1, groups, k, outputs // groups, weight[0].numel())
    return _total(apart.transpose(1, 2)).reshape(weight.shape)


def _unfolded(
    x: Tensor,
    window: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    """Windows of x (B, I, H, W), (B, I * window, P)."""
    if math.prod(window) == 1 and not any(padding):
        return x[:, :, :: stride[0], :: stride[1]].flatten(2)
    padded = torch.nn.functional.pad(x, (padding[1], padding[1], padding[0], padding[0]))
    for dim in (0, 1):
        spread = dilation[dim] * (window[dim] - 1) + 1
        padded = padded.unfold(2 + dim, spread, stride[dim])
    # (B, I, H, W, height, width): windows as views, then one copy in runs of whole lines.
    views = padded[..., :: dilation[0], :: dilation[1]].permute(0, 1, 4, 5, 2, 3)
    return views.reshape(len(x), -1, views.shape[-2] * views.shape[-1])


@_rule(aten.convolution_backward.default, 2)
def _bias(
    args: Sequence[Any], dots: Sequence[Any], places: Mapping[int, Layout], shared: dict[Any, Any]
) -> Tensor:
    return _shifts(dots[0], places[0])


def _shifts(block: Tensor, layout: Layout) -> Tensor:
    sums = block.flatten(3).sum(3) if block.dim() > 3 else block
    return _total(_by_sample(sums.transpose(0, 1), layout))


@_rule(layers.norm_backward, 2)
def _scale(
    args: Sequence[Any], dots: Sequence[Any], places: Mapping[int, Layout], shared: dict[Any, Any]
) -> Tensor:
    if "squares" in shared:
        return shared["squares"][0]
    layout = places[0] if 0 in places else places[1]
    return _shifts(dots[0] * norms.normal(args, shared), layout)


@_rule(layers.norm_backward, 3)
def _shift(
    args: Sequence[Any], dots: Sequence[Any], places: Mapping[int, Layout], shared: dict[Any, Any]
) -> Tensor:
    if "squares" in shared:
        return shared["squares"][1]
    return _shifts(dots[0], places[0] if 0 in places else places[1])


@_rule(aten.mm.default)
def _factors(
    args: Sequence[Any], dots: Sequence[Any], places: Mapping[int, Layout], shared: dict[Any, Any]
) -> Tensor:
    """A linear layer's weight: delta^T x over the rows of a sample, in either order."""
    one, other = (args[i] if dots[i] is None else dots[i] for i in (0, 1))
    one, other = (v if v.dim() == 3 else v[None] for v in (one, other))
    layout = places[1]
    rows = _rows(other.shape[1], layout)
    if layout.outer * layout.inner == 1:
        # One position: the square of a product is the product of the squares.
        first = one.square().sum(0, dtype=torch.float64)
        return first @ other.square().sum(0, dtype=torch.float64)
    turned = Layout(1, layout.outer, layout.inner)
    first = turned.apart(one.transpose(1, 2), rows).flatten(2, 3)  # (B, K or 1, T, M)
    second = turned.apart(other, rows).flatten(2, 3)  # (B, K or 1, T, N)
    if first.shape[1] > 1:
        folded = first.transpose(2, 3).flatten(1, 2) @ second[:, 0]  # (B, K * M, N)
        return _total(folded.unflatten(1, (first.shape[1], -1)))
    folded = second.transpose(2, 3).flatten(1, 2) @ first[:, 0]  # (B, K * N, M)
    return _total(folded.unflatten(1, (second.shape[1], -1))).T


@_rule(aten.sum.dim_IntList)
def _sum(
    args: Sequence[Any], dots: Sequence[Any], places: Mapping[int, Layout], shared: dict[Any, Any]
) -> Tensor:
    """What is added to values of every row: a bias, or positions."""
    block, layout = dots[0], places[0]
    size = block.dim() - 1
    over = {dim % size for dim in args[1]} - {layout.dim}
    apart = Layout(layout.dim + 1, layout.outer, layout.inner).apart(
        block, _rows(block.shape[layout.dim + 1], layout)
    )  # (B, K, ..., outer, inner, ...)
    dims = [dim + 2 + (dim > layout.dim) for dim in over] + [layout.dim + 2, layout.dim + 3]
    found = _total(apart.sum(dims))
    kept = args[2] if len(args) > 2 else False
    if kept:
        for dim in sorted(over | {layout.dim}):
            found = found.unsqueeze(dim)
    return found


def _layer_rows(block: Tensor, args: Sequence[Any], layout: Layout) -> Tensor:
    lead = block.dim() - len(args[2])
    dim = layout.dim + 1
    apart = Layout(dim, layout.outer, layout.inner).apart(block, _rows(block.shape[dim], layout))
    return _total(apart.sum(list(range(2, lead + 2))))


@_rule(aten.native_layer_norm_backward.default, 1)
def _layer_scale(
    args: Sequence[Any], dots: Sequence[Any], places: Mapping[int, Layout], shared: dict[Any, Any]
) -> Tensor:
    _, x, _, mean, inverse, *_ = args
    return _layer_rows(dots[0] * ((x - mean) * inverse), args, places[0])


@_rule(aten.native_layer_norm_backward.default, 2)
def _layer_shift(
    args: Sequence[Any], dots: Sequence[Any], places: Mapping[int, Layout], shared: dict[Any, Any]
) -> Tensor:
    return _layer_rows(dots[0], args, places[0])


@_rule(aten.embedding_dense_backward.default)
def _table(
    args: Sequence[Any], dots: Sequence[Any], places: Mapping[int, Layout], shared: dict[Any, Any]
) -> Tensor:
    """Repeated tokens of a sample are added up before squares are taken."""
    _, indices, size, padding, _ = args
    block, layout = dots[0], places[0]
    rows = _rows(indices.shape[layout.dim], layout)
    tokens = layout.apart(indices, rows)
    keys = tokens.reshape(rows, -1) + size * torch.arange(rows, device=indices.device)[:, None]
    delta = Layout(layout.dim + 1, layout.outer, layout.inner).apart(block, rows).movedim(1, 0)
    pairs, places_of = keys.reshape(-1).unique(return_inverse=True)
    sums = block.new_zeros(len(block), len(pairs), block.shape[-1])
    sums.index_add_(1, places_of, delta.reshape(len(block), -1, block.shape[-1]))
    table = torch.zeros(size, block.shape[-1], dtype=torch.float64, device=block.device)
    table.index_add_(0, pairs % size, _total(sums[None]))
    if padding >= 0:
        table[padding] = 0
    return table
