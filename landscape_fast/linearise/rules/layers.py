"""Layers of convolutional networks as single operations, whose tangents take one pass over a block.

A layer is a convolution, a normalisation with given statistics, the sum with a residual branch and
a relu, as :mod:`landscape_fast.linearise.fusion` finds them in a captured program.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from landscape_fast import _native
from landscape_fast.linearise.rules.convolution import by_input, by_weight
from landscape_fast.linearise.rules.registry import Tangent, rule

aten = torch.ops.aten


def norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor,
    var: Tensor,
    eps: float,
    residual: Tensor | None,
    relu: bool,
) -> Tensor:
    """``relu(batch_norm(x) + residual)`` with given statistics; the last two may be absent."""
    y = aten.native_batch_norm.default(x, weight, bias, mean, var, False, 0.0, eps)[0]
    y = y if residual is None else y + residual
    return y.relu() if relu else y


def conv_norm(
    x: Tensor,
    filters: Tensor,
    bias: Tensor | None,
    geometry: Sequence[Any],
    *layer: Any,
) -> tuple[Tensor, Tensor]:
    """The convolution of x and :func:`norm` of it."""
    linear = aten.convolution.default(x, filters, bias, *geometry)
    return linear, norm(linear, *layer)


def norm_backward(
    first: Tensor,
    second: Tensor | None,
    output: Tensor | None,
    x: Tensor,
    weight: Tensor | None,
    mean: Tensor,
    var: Tensor,
    eps: float,
    mask: Sequence[bool],
    owned: tuple[bool, bool],
) -> tuple[Tensor | None, ...]:
    """Gradients of :func:`norm` for the incoming gradient ``first + second``.

    Returns:
        The incoming gradient behind the relu's mask, and the gradients in x, weight and bias.
    """
    gradient = first if second is None else first + second
    masked = gradient if output is None else gradient * (output > 0)
    rest = aten.native_batch_norm_backward.default(
        masked, x, weight, mean, var, None, None, False, eps, list(mask)
    )
    return masked, *rest


class Statistics:
    """Per channel: mean, inverse deviation and their product with the weight, all contiguous."""

    def __init__(self, weight: Tensor | None, mean: Tensor, var: Tensor, eps: float) -> None:
        self.mean = mean.contiguous()
        self.scale = (var + eps).rsqrt()
        self.gain = self.scale if weight is None else self.scale * weight


def served(x: Tensor) -> bool:
    """Whether the native operations take this type."""
    return x.dtype in (torch.float32, torch.float64)


@rule(norm)
def _norm(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Any:
    x, weight, _, mean, var, eps, _, relu = args
    if not served(x):
        return NotImplemented
    statistics = Statistics(weight, mean, var, eps)
    first = None if dots[0] is None else planes(dots[0])
    return _pushed(x, out if relu else None, statistics, first, None, dots[1], dots[2], dots[6])


@rule(conv_norm)
def _conv_norm(args: Sequence[Any], dots: Sequence[Any], out: Any) -> Any:
    inputs, filters, _, geometry, weight, _, mean, var, eps, _, relu = args
    linear, y = out
    if not served(inputs):
        return NotImplemented
    first = None if dots[0] is None else by_input(dots[0], filters, geometry, linear)
    second = None if dots[1] is None else by_weight(inputs, dots[1], geometry)
    first, second = (second, None) if first is None else (first, second)
    if dots[2] is not None:
        shift = dots[2].reshape(len(dots[2]), 1, -1, *(1,) * (linear.dim() - 2))
        first = shift.expand(-1, *linear.shape).clone() if first is None else first.add_(shift)
    first = None if first is None else planes(first)  # written below
    statistics = Statistics(weight, mean, var, eps)
    result = _pushed(
        linear,
        y if relu else None,
        statistics,
        first,
        None if second is None else planes(second),
        dots[4],
        dots[5],
        dots[9],
    )
    return None if first is None else first.reshape(-1, *linear.shape), result


def _pushed(
    x: Tensor,
    output: Tensor | None,
    statistics: Statistics,
    first: Tangent,
    second: Tangent,
    weight_dot: Tangent,
    bias_dot: Tangent,
    residual: Tangent,
) -> Tensor:
    """Tangent of the layer; ``first`` is left as the sum of both, ``second`` is used up."""
    k = len(next(dot for dot in (first, weight_dot, bias_dot, residual) if dot is not None))
    result = block_like(x, k) if second is None else second
    _native.affine_norm_tangent_(
        first,
        second,
        result,
        plane(x),
        statistics.mean,
        statistics.scale,
        statistics.gain,
        _contiguous(weight_dot),
        _contiguous(bias_dot),
        None if residual is None else planes(residual),
        None if output is None else plane(output),
    )
    return result.reshape(k, *x.shape)


@rule(norm_backward)
def _norm_backward(args: Sequence[Any], dots: Sequence[Any], out: Any) -> Any:
    _, _, output, x, weight, mean, var, eps, mask, owned = args
    if not served(x):
        return NotImplemented
    first, second = ordered(dots[0], dots[1], owned, output is not None)
    k = len(next(dot for dot in dots if dot is not None))
    arriving = planes(x.new_zeros(k, *x.shape) if first is None else first)
    other = None if second is None else planes(second)
    result = None
    if mask[0]:
        # The second summand is read once, so its memory can take the result; if it is ours.
        result = other if other is not None and all(owned) else block_like(x, k)
    statistics = Statistics(weight, mean, var, eps)
    weight_rows, bias_rows = _native.affine_norm_gradient_tangent_(
        arriving,
        other,
        result,
        plane(out[0]),
        plane(x),
        None if dots[3] is None or not mask[1] else planes(dots[3]),
        statistics.mean,
        statistics.scale,
        statistics.gain,
        _contiguous(dots[4]),
        None if output is None else plane(output),
    )
    return (
        arriving.reshape(k, *x.shape),
        None if result is None else result.reshape(k, *x.shape),
        weight_rows.to(x.dtype) if mask[1] else None,
        bias_rows.to(x.dtype) if mask[2] else None,
    )


def channel_sums(block: Tensor, other: Tensor) -> Tensor:
    """Sums of ``block * other`` over rows and positions: (K, C) from (K, B, C, ...) in one pass."""
    channels = other.shape[1]
    zeros, ones = other.new_zeros(channels), other.new_ones(channels)
    flat = plane(other)
    sums, _ = _native.affine_norm_gradient_tangent_(
        planes(block), None, None, flat, flat, None, zeros, ones, ones, None, None
    )
    return sums.to(block.dtype)


def ordered(
    first: Tangent, second: Tangent, owned: Sequence[bool], masked: bool
) -> tuple[Tangent, Tangent]:
    """The two summands, the first one free to be overwritten if it will be."""
    mine = list(owned)
    if first is None or (second is not None and mine[1] and not mine[0]):
        first, second, mine = second, first, mine[::-1]
    written = masked or second is not None
    if first is not None and written and not mine[0]:
        first = first.clone()
    return first, second


def block_like(x: Tensor, k: int) -> Tensor:
    """Memory for K tangents (K, B, C, S) of x, the probe axis before the channels."""
    return x.new_empty(x.shape[0], k, x.shape[1], x[0, 0].numel()).transpose(0, 1)


def plane(x: Tensor) -> Tensor:
    """(B, C, ...) as (B, C, S), contiguous."""
    return x.contiguous().reshape(x.shape[0], x.shape[1], -1)


def planes(block: Tensor) -> Tensor:
    """(K, B, C, ...) as (K, B, C, S), a view where channels and positions adjoin in memory."""
    k, b, c = block.shape[:3]
    inner = 1
    for size, stride in zip(reversed(block.shape[2:]), reversed(block.stride()[2:]), strict=True):
        if size > 1 and stride != inner:
            block = block.contiguous()
            break
        inner *= size
    return block.reshape(k, b, c, -1)


def _contiguous(dot: Tangent) -> Tangent:
    return None if dot is None else dot.contiguous()
