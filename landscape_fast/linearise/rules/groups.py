"""Group normalisation, forward and backward, as functions of the input alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from landscape_fast.linearise.rules.norm import gradient_tangent, normal_tangent
from landscape_fast.linearise.rules.registry import Tangent, added, rule

aten = torch.ops.aten


def grouped(x: Tensor, groups: int) -> Tensor:
    """(..., B, C, spatial) to (..., B, G, C / G * spatial); x: (B, C, ...) or a block of these."""
    return x.unflatten(-2, (groups, -1)).flatten(-2)


def flat(x: Tensor, like: Tensor) -> Tensor:
    """A value (B, C, ...) or a block of it as (..., B, C, pixels)."""
    lead = x.shape[: x.dim() - like.dim() + 2]
    return x.reshape(*lead, -1)


def normal_of(x: Tensor, mean: Tensor, inverse: Tensor, groups: int) -> Tensor:
    """Normalised input (B, G, C / G * pixels)."""
    return (grouped(flat(x, x), groups) - mean[..., None]) * inverse[..., None]


def _scaled(block: Tensor, weight: Tangent) -> Tensor:
    return block if weight is None else block * weight[:, None]


@rule(aten.native_group_norm.default)
def _group_norm(args: Sequence[Any], dots: Sequence[Any], out: Any) -> Any:
    x, weight, _, batch, channels, pixels, groups, _ = args
    _, mean, inverse = out
    normal = normal_of(x, mean, inverse, groups)
    total = None
    if dots[0] is not None:
        moved = normal_tangent(grouped(flat(dots[0], x), groups), normal, inverse[..., None], 1)
        total = _scaled(moved.reshape(-1, batch, channels, pixels), weight)
    if dots[1] is not None:
        change = dots[1][:, None, :, None] * normal.reshape(batch, channels, pixels)
        total = added(total, change)
    if dots[2] is not None:
        shift = dots[2][:, None, :, None].expand(-1, batch, channels, pixels)
        total = shift if total is None else total + shift
    assert total is not None
    return total.reshape(-1, *x.shape), None, None


@rule(aten.native_group_norm_backward.default, reads="arguments")
def _group_norm_backward(args: Sequence[Any], dots: Sequence[Any], out: Any) -> Any:
    delta, x, mean, inverse, weight, batch, channels, pixels, groups, mask = args
    shape = (batch, channels, pixels)
    normal, inverse = normal_of(x, mean, inverse, groups), inverse[..., None]
    delta, plain_normal = delta.reshape(shape), normal.reshape(shape)
    delta_dot = None if dots[0] is None else flat(dots[0], x)
    x_dot = None if dots[1] is None else grouped(flat(dots[1], x), groups)
    normal_dot = None if x_dot is None else normal_tangent(x_dot, normal, inverse, 1)
    input_dot = weight_dot = bias_dot = None
    if mask[0]:
        scaled_dot = None if delta_dot is None else _scaled(delta_dot, weight)
        if dots[4] is not None:
            scaled_dot = added(dots[4][:, None, :, None] * delta, scaled_dot)
        input_dot = gradient_tangent(
            grouped(_scaled(delta, weight), groups),
            None if scaled_dot is None else grouped(scaled_dot, groups),
            normal,
            inverse,
            x_dot,
            1,
        )
        input_dot = None if input_dot is None else input_dot.reshape(-1, *x.shape)
    if mask[1]:
        if delta_dot is not None:
            weight_dot = (delta_dot * plain_normal).sum((1, 3))
        if normal_dot is not None:
            change = normal_dot.reshape(-1, *shape) * delta
            weight_dot = added(weight_dot, change.sum((1, 3)))
    if mask[2] and delta_dot is not None:
        bias_dot = delta_dot.sum((1, 3))
    return input_dot, weight_dot, bias_dot
