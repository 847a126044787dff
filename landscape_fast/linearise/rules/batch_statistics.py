"""Batch normalisation by the batch's own statistics, as a function of its input alone.

As for layer normalisation, mean and inverse deviation depend on the input, and their dependence is
accounted for where they are used. Blocks are (K, B, C, ...), and so are primal values, with K = 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from landscape_fast.linearise.rules.registry import added


def forward(args: Sequence[Any], dots: Sequence[Any]) -> tuple[Tensor, None, None]:
    """Tangents of ``native_batch_norm`` in training mode."""
    x, weight, _, _, _, _, _, eps = args
    var, mean = torch.var_mean(x, _over(x)[0], correction=0)
    inverse = _spread((var + eps).rsqrt(), x)
    normal = (x[None] - _spread(mean, x)) * inverse
    total = None
    if dots[0] is not None:
        total = _centred(dots[0], normal) * inverse
        total = total if weight is None else total.mul_(_spread(weight, x))
    if dots[1] is not None:
        total = added(_spread(dots[1], x) * normal, total)
    if dots[2] is not None:
        shift = _spread(dots[2], x).expand(-1, *x.shape)
        total = shift if total is None else total.add_(shift)
    assert total is not None
    return total, None, None


def backward(args: Sequence[Any], dots: Sequence[Any]) -> tuple[Any, Any, Any]:
    """Tangents of ``native_batch_norm_backward`` in training mode."""
    delta, x, weight, _, _, mean, inverse, _, _, mask = args
    over = _over(x)[1]
    inverse = _spread(inverse, x)
    normal = (x[None] - _spread(mean, x)) * inverse
    normal_dot = None if dots[1] is None else _centred(dots[1], normal) * inverse
    gain = 1.0 if weight is None else _spread(weight, x)
    input_dot = weight_dot = bias_dot = None
    if mask[0]:
        scaled = delta * gain if weight is not None else delta[None]
        scaled_dot = None if dots[0] is None else dots[0] * gain
        if dots[2] is not None:
            scaled_dot = added(_spread(dots[2], x) * delta, scaled_dot)
        if scaled_dot is not None:
            input_dot = _centred(scaled_dot, normal).mul_(inverse)
        if normal_dot is not None:
            along = (scaled * normal).mean(over, keepdim=True)
            change = (scaled * normal_dot).mean(over, keepdim=True)
            slope = (dots[1] * normal).mean(over, keepdim=True) * inverse
            moved = (normal_dot * along).add_(normal * change)
            moved = moved.add_(slope * _centred(scaled, normal)).mul_(inverse)
            input_dot = moved.neg_() if input_dot is None else input_dot.sub_(moved)
    if mask[1]:
        if dots[0] is not None:
            weight_dot = (dots[0] * normal).sum(over)
        if normal_dot is not None:
            weight_dot = added(weight_dot, (normal_dot * delta).sum(over))
    if mask[2] and dots[0] is not None:
        bias_dot = dots[0].sum(over)
    return input_dot, weight_dot, bias_dot


def curvature(args: Sequence[Any], dots: Sequence[Any], out: Any, adjoint: Tensor) -> Tensor | None:
    """Second-order term of ``native_batch_norm`` in training mode, (K,) float64."""
    x, weight = args[:2]
    if dots[0] is None:
        return None
    over = _over(x)[1]
    inverse = _spread(out[2], x)
    normal = (x[None] - _spread(out[1], x)) * inverse
    slope = _centred(dots[0], normal) * inverse
    along = (dots[0] * normal).mean(over, keepdim=True)
    spread = dots[0] - dots[0].mean(over, keepdim=True)
    change = (slope * spread).mean(over, keepdim=True)
    term = -inverse * (2 * along * slope + normal * change)
    term = term if weight is None else term * _spread(weight, x)
    if dots[1] is not None:
        term = term + 2 * slope * _spread(dots[1], x)
    return (term * adjoint).flatten(1).sum(1, dtype=torch.float64)


def _over(x: Tensor) -> tuple[list[int], list[int]]:
    """Dimensions that statistics run over: of x, and of a block."""
    return [0, *range(2, x.dim())], [1, *range(3, x.dim() + 1)]


def _spread(vector: Tensor, x: Tensor) -> Tensor:
    """(C,) or (K, C) to (K, 1, C, 1, ...), K = 1 for the first."""
    return vector.reshape(-1, 1, vector.shape[-1], *(1,) * (x.dim() - 2))


def _centred(block: Tensor, normal: Tensor) -> Tensor:
    """``block`` without its mean and without its component along ``normal``, per channel."""
    over = [1, *range(3, block.dim())]
    along = (block * normal).mean(over, keepdim=True)
    return torch.addcmul(block - block.mean(over, keepdim=True), normal, along, value=-1)
