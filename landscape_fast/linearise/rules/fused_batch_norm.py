"""Normalisation by the batch's own statistics: tangents are one native call per block.

The rules they replace (:mod:`landscape_fast.linearise.rules.batch_statistics`) serve every other
type, and features without positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from landscape_fast import _native
from landscape_fast.linearise.rules.curvature import CURVATURES
from landscape_fast.linearise.rules.layers import block_like, plane, planes, served
from landscape_fast.linearise.rules.registry import RULES, Tangent

aten = torch.ops.aten

# Positions below which a channel of one sample does not fill the registers.
_FEWEST_POSITIONS = 16

_plain = RULES[aten.native_batch_norm.default]
_plain_backward = RULES[aten.native_batch_norm_backward.default]
_plain_curvature = CURVATURES[aten.native_batch_norm.default]


def _fits(x: Tensor, *others: Tensor | None) -> bool:
    """Whether the native operations take these; a mixed layer's statistics have their own type."""
    alike = all(other is None or other.dtype == x.dtype for other in others)
    return served(x) and alike and len(x) > 0 and x[0].numel() >= _FEWEST_POSITIONS * x.shape[1] > 0


def _planes(block: Tangent) -> Tangent:
    return None if block is None else planes(block)


def _vectors(dot: Tangent) -> Tangent:
    return None if dot is None else dot.contiguous()


def _forward(args: Sequence[Any], dots: Sequence[Any], out: Any) -> Any:
    x, weight, _, _, _, training, _, eps = args
    if not (training and _fits(x, weight)):
        return _plain(args, dots, out)
    var, mean = torch.var_mean(x, [0, *range(2, x.dim())], correction=0)
    k = len(next(dot for dot in dots if dot is not None))
    total = _native.batch_norm_tangent_(
        _planes(dots[0]),
        plane(x),
        mean,
        (var + eps).rsqrt(),
        weight,
        _vectors(dots[1]),
        _vectors(dots[2]),
        block_like(x, k),
    )
    return total.reshape(k, *x.shape), None, None


def _backward(args: Sequence[Any], dots: Sequence[Any], out: Any) -> Any:
    delta, x, weight, _, _, mean, inverse, training, _, mask = args
    if not (training and _fits(x, weight, mean)):
        return _plain_backward(args, dots, out)
    k = len(next(dot for dot in dots if dot is not None))
    total = block_like(x, k)
    weight_rows, bias_rows = _native.batch_norm_gradient_tangent_(
        _planes(dots[0]),
        _planes(dots[1]),
        plane(delta),
        plane(x),
        mean,
        inverse,
        weight,
        _vectors(dots[2]),
        total,
    )
    return (
        total.reshape(k, *x.shape) if mask[0] else None,
        weight_rows.to(x.dtype) if mask[1] else None,
        bias_rows.to(x.dtype) if mask[2] else None,
    )


def _form(args: Sequence[Any], dots: Sequence[Any], out: Any, adjoint: Tensor) -> Any:
    x, weight, _, _, _, training, _, _ = args
    _, mean, inverse = out
    if not (training and dots[0] is not None and _fits(x, weight, mean)):
        return _plain_curvature(args, dots, out, adjoint)
    return _native.batch_norm_quadratic(
        planes(dots[0]), plane(x), mean, inverse, weight, _vectors(dots[1]), plane(adjoint)
    )


RULES[aten.native_batch_norm.default] = _forward
RULES[aten.native_batch_norm_backward.default] = _backward
CURVATURES[aten.native_batch_norm.default] = _form
