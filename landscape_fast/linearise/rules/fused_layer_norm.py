"""Layer normalisation whose tangents, forward and backward, are one native pass over a block.

The rules they replace (:mod:`landscape_fast.linearise.rules.norm`) serve every other type.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from torch import Tensor, empty_like, ops

from landscape_fast import _native
from landscape_fast.linearise.rules.curvature import CURVATURES
from landscape_fast.linearise.rules.layers import served
from landscape_fast.linearise.rules.registry import RULES, Tangent

aten = ops.aten

_plain = RULES[aten.native_layer_norm.default]
_plain_backward = RULES[aten.native_layer_norm_backward.default]
_plain_curvature = CURVATURES[aten.native_layer_norm.default]


def _fits(x: Tensor, mean: Tensor) -> bool:
    """Whether the native operations take these; statistics of a mixed layer have their own type."""
    return served(x) and mean.dtype == x.dtype and x.numel() > 0


class _Layer:
    """The primal values in the form that the native operations take them in."""

    def __init__(
        self,
        x: Tensor,
        shape: Sequence[int],
        mean: Tensor,
        inverse: Tensor,
        weight: Tensor | None,
        weight_dot: Tangent,
    ) -> None:
        self.columns = prod(shape)
        self.given = (
            self.rows(x),
            mean.reshape(-1),
            inverse.reshape(-1),
            None if weight is None else weight.reshape(-1),
            self.vectors(weight_dot),
        )

    def rows(self, primal: Tensor) -> Tensor:
        """(..., *shape) as (R, C)."""
        return primal.reshape(-1, self.columns).contiguous()

    def lines(self, block: Tensor) -> Tensor:
        """(K, ..., *shape) as (K, R, C), a view where memory is [K, R, C] or [R, K, C]."""
        return _lines(block.reshape(len(block), -1, self.columns))

    def vectors(self, dot: Tangent) -> Tangent:
        """(K, *shape) as (K, C)."""
        return None if dot is None else _lines(dot.reshape(len(dot), self.columns))


def _lines(block: Tensor) -> Tensor:
    return block if block.shape[-1] < 2 or block.stride(-1) == 1 else block.contiguous()


def _forward(args: Sequence[Any], dots: Sequence[Any], out: Any) -> Any:
    x, shape, weight, _, _ = args
    _, mean, inverse = out
    if not _fits(x, mean):
        return _plain(args, dots, out)
    layer = _Layer(x, shape, mean, inverse, weight, dots[2])
    dot = None if dots[0] is None else layer.lines(dots[0])
    k = len(next(one for one in dots if one is not None))
    total = x.new_empty(k, *layer.given[0].shape) if dot is None else empty_like(dot)
    _native.layer_norm_tangent_(dot, *layer.given, layer.vectors(dots[3]), total)
    return total.reshape(k, *x.shape), None, None


def _backward(args: Sequence[Any], dots: Sequence[Any], out: Any) -> Any:
    delta, x, shape, mean, inverse, weight, _, mask = args
    if not _fits(x, mean):
        return _plain_backward(args, dots, out)
    layer = _Layer(x, shape, mean, inverse, weight, dots[5])
    delta_dot, x_dot = (None if dot is None else layer.lines(dot) for dot in dots[:2])
    k = len(next(one for one in dots if one is not None))
    like = x_dot if delta_dot is None else delta_dot
    total = x.new_empty(k, *layer.given[0].shape) if like is None else empty_like(like)
    rows = _native.layer_norm_gradient_tangent_(
        delta_dot, x_dot, layer.rows(delta), *layer.given, total
    )
    weight_dot, bias_dot = (row.to(x.dtype).reshape(k, *shape) for row in rows)
    return (
        total.reshape(k, *x.shape) if mask[0] else None,
        weight_dot if mask[1] else None,
        bias_dot if mask[2] else None,
    )


def _form(args: Sequence[Any], dots: Sequence[Any], out: Any, adjoint: Tensor) -> Any:
    x, shape, weight, _, _ = args
    _, mean, inverse = out
    if dots[0] is None or not _fits(x, mean):
        return _plain_curvature(args, dots, out, adjoint)
    layer = _Layer(x, shape, mean, inverse, weight, dots[2])
    dot = layer.lines(dots[0])
    return _native.layer_norm_quadratic(dot, *layer.given, layer.rows(adjoint))


RULES[aten.native_layer_norm.default] = _forward
RULES[aten.native_layer_norm_backward.default] = _backward
CURVATURES[aten.native_layer_norm.default] = _form
