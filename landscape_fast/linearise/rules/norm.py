"""Normalisation layers, forward and backward, as functions of their input alone.

Mean and inverse deviation are outputs that the backward operation takes back in. They depend on the
input and their dependence is accounted for there, so their own tangents are not propagated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from landscape_fast.linearise.rules import batch_statistics
from landscape_fast.linearise.rules.registry import Tangent, added, rule

aten = torch.ops.aten


def over_channels(vector: Tensor, dims: int) -> Tensor:
    """(..., C) to (..., C, 1, 1): a vector per channel against (B, C, H, W)."""
    return vector.reshape(*vector.shape, *(1,) * (dims - 2))


@rule(aten.native_batch_norm.default, reads="arguments")
def _batch_norm(args: Sequence[Any], dots: Sequence[Any], out: Any) -> Any:
    x, weight, _, mean, var, training, _, eps = args
    if training:
        return batch_statistics.forward(args, dots)
    dims = x.dim()
    scale = (var + eps).rsqrt()
    gain = scale if weight is None else scale * weight
    total = None if dots[0] is None else dots[0] * over_channels(gain, dims)
    if dots[1] is not None:
        normal = (x - over_channels(mean, dims)) * over_channels(scale, dims)
        total = _addcmul(total, normal, over_channels(dots[1], dims)[:, None])
    if dots[2] is not None:
        shift = over_channels(dots[2], dims)[:, None]
        total = shift.expand(-1, *x.shape) if total is None else total.add_(shift)
    return total, None, None


def _addcmul(total: Tangent, value: Tensor, dot: Tensor) -> Tensor:
    if total is None:
        return value * dot
    return total.addcmul_(value[None], dot)


@rule(aten.native_batch_norm_backward.default, reads="arguments")
def _batch_norm_backward(args: Sequence[Any], dots: Sequence[Any], out: Any) -> Any:
    delta, x, weight, mean, var, _, _, training, eps, mask = args
    if training:
        return batch_statistics.backward(args, dots)
    dims = x.dim()
    scale = (var + eps).rsqrt()
    gain = scale if weight is None else scale * weight
    over = [1, *range(3, dims + 1)]
    input_dot = weight_dot = bias_dot = None
    if mask[0]:
        input_dot = None if dots[0] is None else dots[0] * over_channels(gain, dims)
        if dots[2] is not None:
            input_dot = _addcmul(input_dot, delta, over_channels(dots[2] * scale, dims)[:, None])
    if mask[1]:
        if dots[0] is not None:
            normal = (x - over_channels(mean, dims)) * over_channels(scale, dims)
            weight_dot = (dots[0] * normal).sum(over)
        if dots[1] is not None:
            weight_dot = added(weight_dot, (dots[1] * delta).sum(over) * scale)
    if mask[2] and dots[0] is not None:
        bias_dot = dots[0].sum(over)
    return input_dot, weight_dot, bias_dot


@rule(aten.native_layer_norm.default)
def _layer_norm(args: Sequence[Any], dots: Sequence[Any], out: Any) -> Any:
    x, shape, weight, _, _ = args
    _, mean, inverse = out
    normal = (x - mean) * inverse
    total = None
    if dots[0] is not None:
        total = normal_tangent(dots[0], normal, inverse, len(shape))
        total = total if weight is None else total.mul_(weight)
    if dots[2] is not None:
        change = under(dots[2], x) * normal
        total = change if total is None else total.add_(change)
    if dots[3] is not None:
        shift = under(dots[3], x)
        total = shift.expand(-1, *x.shape) if total is None else total.add_(shift)
    return total, None, None


def normal_tangent(dot: Tensor, normal: Tensor, inverse: Tensor, dims: int) -> Tensor:
    """Tangent of ``(x - mean) / deviation`` over the last ``dims`` dimensions."""
    return _centred(dot, normal, dims) * inverse


def _centred(block: Tensor, normal: Tensor, dims: int) -> Tensor:
    """``block`` without its mean and without its component along ``normal``."""
    over = list(range(-dims, 0))
    along = (block * normal).mean(over, keepdim=True)
    return torch.addcmul(block - block.mean(over, keepdim=True), normal, along, value=-1)


def under(dot: Tensor, x: Tensor) -> Tensor:
    """(K, C) to (K, 1, ..., C): a vector per feature against x (B, ..., C)."""
    return dot.reshape(len(dot), *(1,) * (x.dim() + 1 - dot.dim()), *dot.shape[1:])


@rule(aten.native_layer_norm_backward.default, reads="arguments")
def _layer_norm_backward(args: Sequence[Any], dots: Sequence[Any], out: Any) -> Any:
    delta, x, shape, mean, inverse, weight, _, mask = args
    dims = len(shape)
    rows = list(range(1, x.dim() + 1 - dims))
    normal = (x - mean) * inverse
    normal_dot = None if dots[1] is None else normal_tangent(dots[1], normal, inverse, dims)
    input_dot = weight_dot = bias_dot = None
    if mask[0]:
        scaled = delta if weight is None else delta * weight
        scaled_dot = None
        if dots[0] is not None:
            scaled_dot = dots[0] if weight is None else dots[0] * weight
        if dots[5] is not None:
            scaled_dot = added(under(dots[5], x) * delta, scaled_dot)
        input_dot = gradient_tangent(scaled, scaled_dot, normal, inverse, dots[1], dims)
    if mask[1]:
        if dots[0] is not None:
            weight_dot = (dots[0] * normal).sum(rows)
        if normal_dot is not None:
            weight_dot = added(weight_dot, (normal_dot * delta).sum(rows))
    if mask[2] and dots[0] is not None:
        bias_dot = dots[0].sum(rows)
    return input_dot, weight_dot, bias_dot


def gradient_tangent(
    scaled: Tensor, scaled_dot: Tangent, normal: Tensor, inverse: Tensor, dot: Tangent, dims: int
) -> Tangent:
    """Tangent of the gradient in the input of a normalisation over the last ``dims`` dimensions.

    Args:
        scaled: Incoming gradient times the scale.
        scaled_dot: Tangent of that.
        normal: Normalised input.
        inverse: Inverse deviation.
        dot: Tangent of the input.
        dims: Number of dimensions that are normalised over.
    """
    total = None
    if scaled_dot is not None:
        total = _centred(scaled_dot, normal, dims).mul_(inverse)
    if dot is None:
        return total
    over = list(range(-dims, 0))
    normal_dot = normal_tangent(dot, normal, inverse, dims)
    along = (scaled * normal).mean(over, keepdim=True)
    change = (scaled * normal_dot).mean(over, keepdim=True)
    slope = (dot * normal).mean(over, keepdim=True) * inverse
    moved = (normal_dot * along).add_(normal * change).mul_(inverse)
    moved.add_(slope * _centred(scaled, normal, dims) * inverse)
    return moved.neg_() if total is None else total.sub_(moved)
