"""How operations carry hidden units from their inputs to their outputs.

One rule per operation: it joins factors of the axes that the operation puts together, holds still
those whose order it depends on, and returns the axes of the result. An operation without a rule is
refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx

from landscape_fast.alignment.axes import Axes, Axis, Factors
from landscape_fast.alignment.rearranging import (
    concatenated,
    expand,
    padded,
    part_of_axis,
    pieces_of_axis,
    result_shapes,
    shape_of,
    squeezed,
    stacked,
    transposed,
    view,
)

aten = torch.ops.aten
Rule = Callable[[Factors, fx.Node, Callable[[Any], Axes]], Any]


def _aligned(factors: Factors, shape: Sequence[int], parts: Sequence[tuple[Any, Axes]]) -> Axes:
    """Axes of a broadcast result: each joined with those that stretch over it."""
    out: list[Axis] = []
    for place, size in enumerate(reversed(shape), 1):
        mine: Axis | None = None
        for node, axes in parts:
            if len(axes) >= place and shape_of(node)[-place] == size:
                if mine is None:
                    mine = axes[-place]
                else:
                    factors.join(mine, axes[-place])
        out.append(factors.new(size) if mine is None else mine)
    return tuple(reversed(out))


def _pointwise(factors: Factors, node: fx.Node, axes_of: Callable[[Any], Axes]) -> Axes:
    parts = [(part, axes_of(part)) for part in node.all_input_nodes]
    return _aligned(factors, shape_of(node), parts)


def _first(factors: Factors, node: fx.Node, axes_of: Callable[[Any], Axes]) -> Axes:
    """As the first argument; for what acts along its axes alike, as softmax does."""
    return axes_of(node.args[0])


def _matrix(factors: Factors, node: fx.Node, axes_of: Callable[[Any], Axes]) -> Axes:
    *bias, first, second = node.args[:3] if len(node.args) > 2 else node.args[:2]
    left, right = axes_of(first), axes_of(second)
    factors.join(left[-1], right[-2])
    for one, other in zip(left[:-2], right[:-2], strict=True):
        factors.join(one, other)
    out = (*left[:-1], right[-1])
    for added in bias:
        given = zip(axes_of(added), shape_of(added), strict=True)
        for mine, (other, size) in zip(out[::-1], list(given)[::-1], strict=False):
            if size > 1:
                factors.join(mine, other)
    return out


def _convolution(factors: Factors, node: fx.Node, axes_of: Callable[[Any], Axes]) -> Axes:
    inputs, filters, bias, *_ = node.args
    transposed, groups = bool(node.args[6]), int(node.args[8])  # type: ignore[arg-type]
    x, w = axes_of(inputs), axes_of(filters)
    shape = shape_of(filters)
    given, made = (w[0], w[1]) if transposed else (w[1], w[0])
    if groups > 1:
        # The axis that holds every group's own part comes in order of groups.
        outer, inner = (given, made) if transposed else (made, given)
        group = factors.new(groups)
        factors.join(outer, (*group, *factors.new(shape[0] // groups)))
        given, made = (outer, (*group, *inner)) if transposed else ((*group, *inner), outer)
    factors.hold(w[2:], "positions in a kernel")
    factors.hold(x[2:], "positions")
    factors.join(x[1], given)
    if bias is not None:
        factors.join(made, axes_of(bias)[0])
    return (x[0], made, *factors.fresh(shape_of(node)[2:], "positions"))


def _batch_norm(factors: Factors, node: fx.Node, axes_of: Callable[[Any], Axes]) -> Any:
    x = axes_of(node.args[0])
    for part in node.args[1:5]:
        if part is not None:
            factors.join(x[1], axes_of(part)[0])
    return [x, *(factors.fresh(shape, "statistics") for shape in result_shapes(node)[1:])]


def _layer_norm(factors: Factors, node: fx.Node, axes_of: Callable[[Any], Axes]) -> Any:
    x = axes_of(node.args[0])
    for part in node.args[2:4]:
        if part is not None:
            own = axes_of(part)
            for one, other in zip(x[len(x) - len(own) :], own, strict=True):
                factors.join(one, other)
    return [x, *(factors.fresh(shape, "statistics") for shape in result_shapes(node)[1:])]


def _group_norm(factors: Factors, node: fx.Node, axes_of: Callable[[Any], Axes]) -> Any:
    x = axes_of(node.args[0])
    channels, groups = int(node.args[4]), int(node.args[6])  # type: ignore[arg-type]
    factors.join(x[1], (*factors.new(groups), *factors.new(channels // groups)))
    for part in node.args[1:3]:
        if part is not None:
            factors.join(x[1], axes_of(part)[0])
    return [x, *(factors.fresh(shape, "statistics") for shape in result_shapes(node)[1:])]


def _pool(factors: Factors, node: fx.Node, axes_of: Callable[[Any], Axes]) -> Any:
    """Pooling over the positions, which are the axes whose size it may change: all but two."""
    x = axes_of(node.args[0])
    factors.hold(x[2:], "positions")
    results = [(*x[:2], *factors.fresh(shape[2:], "positions")) for shape in result_shapes(node)]
    return results if isinstance(node.meta["val"], tuple) else results[0]


def _reduce(factors: Factors, node: fx.Node, axes_of: Callable[[Any], Axes]) -> Axes:
    """Sums, means and extremes do not see the order of what they run over."""
    x = axes_of(node.args[0])
    over: Any = node.args[1] if len(node.args) > 1 else None
    if over is None or over == []:
        over = range(len(x))
    gone = {place % len(x) for place in ([over] if isinstance(over, int) else over)}
    keep = len(shape_of(node)) == len(x)
    return tuple(() if n in gone else axis for n, axis in enumerate(x) if keep or n not in gone)


def _embedding(factors: Factors, node: fx.Node, axes_of: Callable[[Any], Axes]) -> Axes:
    table, index = axes_of(node.args[0]), axes_of(node.args[1])
    factors.hold(table[:1], "entries of an embedding")
    return (*index, *table[1:])


def _attention(factors: Factors, node: fx.Node, axes_of: Callable[[Any], Axes]) -> Any:
    query, key, value = (axes_of(part) for part in node.args[:3])
    for n in range(len(query) - 2):
        factors.join(query[n], key[n])
        factors.join(query[n], value[n])
    factors.join(query[-1], key[-1])
    factors.join(key[-2], value[-2])
    out = (*query[:-1], value[-1])
    rest = [factors.fresh(shape, "attention") for shape in result_shapes(node)[1:]]
    return [out, *rest] if isinstance(node.meta["val"], tuple) else out


_POINTWISE = """
    relu gelu silu tanh sigmoid elu leaky_relu softplus hardtanh hardswish hardsigmoid
    mish log_sigmoid exp log log1p expm1 sqrt rsqrt reciprocal square neg abs sign sin cos
    erf pow add sub mul div rsub clamp clamp_min clamp_max maximum minimum where
    masked_fill threshold eq ne lt le gt ge logical_not logical_and logical_or clone
    _to_copy detach alias lift_fresh_copy bitwise_not floor ceil round isnan prelu
    _prelu_kernel ones_like zeros_like full_like
"""
_ACTIVATION = """
    relu gelu silu tanh sigmoid elu leaky_relu softplus hardtanh hardswish mish _prelu_kernel
"""
_UNIFORM = {"full", "zeros", "ones", "new_zeros", "new_ones", "new_full", "scalar_tensor"}
_RULES: dict[str, Rule] = {
    **dict.fromkeys(_POINTWISE.split(), _pointwise),
    **dict.fromkeys(("mm", "bmm", "addmm", "baddbmm"), _matrix),
    **dict.fromkeys(("_softmax", "_log_softmax", "_safe_softmax"), _first),
    **dict.fromkeys(("view", "reshape", "_unsafe_view"), view),
    **dict.fromkeys(("t", "transpose", "permute"), transposed),
    **dict.fromkeys(("squeeze", "unsqueeze"), squeezed),
    **dict.fromkeys(("mean", "sum", "amax", "amin", "logsumexp"), _reduce),
    **dict.fromkeys(("select", "slice"), part_of_axis),
    **dict.fromkeys(("split", "unsafe_split", "split_with_sizes", "unbind"), pieces_of_axis),
    **dict.fromkeys(
        (
            "max_pool2d_with_indices",
            "avg_pool2d",
            "avg_pool3d",
            "_adaptive_avg_pool2d",
            "upsample_nearest2d",
            "upsample_bilinear2d",
        ),
        _pool,
    ),
    **dict.fromkeys(
        (
            "_scaled_dot_product_flash_attention_for_cpu",
            "_scaled_dot_product_efficient_attention",
            "_scaled_dot_product_flash_attention",
            "scaled_dot_product_attention",
        ),
        _attention,
    ),
    "convolution": _convolution,
    "native_batch_norm": _batch_norm,
    "native_layer_norm": _layer_norm,
    "native_group_norm": _group_norm,
    "expand": expand,
    "cat": concatenated,
    "stack": stacked,
    "constant_pad_nd": padded,
    "embedding": _embedding,
}


def rule_of(node: fx.Node) -> Rule | None:
    """The rule of an operation, or None if it has none."""
    return _RULES.get(_name(node))


def is_uniform(node: fx.Node) -> bool:
    """Whether all entries are one constant, so that their order means nothing."""
    return _name(node) in _UNIFORM


def is_nonlinear(node: fx.Node) -> bool:
    """Whether the operation is an activation function of hidden units."""
    return _name(node) in _ACTIVATION.split()


def _name(node: fx.Node) -> str:
    target = getattr(node.target, "operation", node.target)  # keywords may be worded into it
    return getattr(getattr(target, "overloadpacket", None), "__name__", "")
