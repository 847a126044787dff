"""Activations whose tangents, forward and backward, are one native pass over a block.

The rules they replace (:mod:`landscape_fast.linearise.rules.pointwise`) serve every other type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from landscape_fast import _native
from landscape_fast.linearise.rules.curvature import CURVATURES
from landscape_fast.linearise.rules.forms import GELU_TANH, GELU_TANH_BACKWARD
from landscape_fast.linearise.rules.layers import served
from landscape_fast.linearise.rules.registry import RULES, Tangent

aten = torch.ops.aten


def _default_softplus(arguments: Sequence[Any]) -> bool:
    return [float(value) for value in arguments] in ([], [1.0], [1.0, 20.0])


def _always(_: Sequence[Any]) -> bool:
    return True


# Native name, forward and backward operation, and whether what follows the tensors is served.
_ACTIVATIONS: tuple[tuple[str, Any, Any, Callable[[Sequence[Any]], bool]], ...] = (
    ("gelu", aten.gelu.default, aten.gelu_backward.default, _always),
    ("gelu_tanh", GELU_TANH, GELU_TANH_BACKWARD, _always),
    ("silu", aten.silu.default, aten.silu_backward.default, _always),
    ("softplus", aten.softplus.default, aten.softplus_backward.default, _default_softplus),
)


def _forward(kind: str, plain: Callable[..., Any], fits: Callable[[Sequence[Any]], bool]) -> Any:
    def push(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
        z = args[0]
        if not (served(z) and fits(args[1:])):
            return plain(args, dots, out)
        dot = _lines(dots[0])
        found = _native.pointwise_tangent_(kind, _flat(z, dot), dot, _like(dot))
        return found.reshape(dots[0].shape)

    return push


def _backward(kind: str, plain: Callable[..., Any], fits: Callable[[Sequence[Any]], bool]) -> Any:
    def push(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
        delta, z = args[:2]
        if not (served(z) and fits(args[2:]) and delta.shape == z.shape):
            return plain(args, dots, out)
        delta_dot, z_dot = _together(dots[0], dots[1])
        some = z_dot if z_dot is not None else delta_dot
        assert some is not None
        found = _native.pointwise_gradient_tangent_(
            kind, _flat(z, some), _flat(delta, some), z_dot, delta_dot, _like(some)
        )
        return found.reshape(len(some), *z.shape)

    return push


def _form(kind: str, plain: Callable[..., Any], fits: Callable[[Sequence[Any]], bool]) -> Any:
    def bend(args: Sequence[Any], dots: Sequence[Any], out: Tensor, adjoint: Tensor) -> Any:
        z = args[0]
        if not (served(z) and fits(args[1:])):
            return plain(args, dots, out, adjoint)
        dot = _lines(dots[0])
        return _native.pointwise_quadratic(kind, _flat(z, dot), _flat(adjoint, dot), dot)

    return bend


def _lines(block: Tensor) -> Tensor:
    """(K, B, ...) as (K, R, C), without a copy where memory is [K, B, ...] or [B, K, ...]."""
    if block[0].is_contiguous():
        return block.reshape(len(block), 1, -1)
    if block.dim() > 2 and block[0, 0].is_contiguous():
        return block.reshape(*block.shape[:2], -1)
    return block.contiguous().reshape(len(block), 1, -1)


def _together(first: Tangent, second: Tangent) -> tuple[Tangent, Tangent]:
    """Both blocks as (K, R, C) with one R."""
    if first is None or second is None:
        only = [None if block is None else _lines(block) for block in (first, second)]
        return only[0], only[1]
    one, other = _lines(first), _lines(second)
    if one.shape != other.shape:
        one, other = (b.contiguous().reshape(len(b), 1, -1) for b in (first, second))
    return one, other


def _flat(primal: Tensor, block: Tensor) -> Tensor:
    return primal.contiguous().reshape(block.shape[1:])


def _like(block: Tensor) -> Tensor:
    """New memory in the order of ``block``'s."""
    k, r, c = block.shape
    if r > 1 and block.stride(1) > block.stride(0):
        return block.new_empty(r, k, c).transpose(0, 1)
    return block.new_empty(k, r, c)


for _kind, _operation, _gradient, _fits in _ACTIVATIONS:
    RULES[_operation] = _forward(_kind, RULES[_operation], _fits)
    RULES[_gradient] = _backward(_kind, RULES[_gradient], _fits)
    CURVATURES[_operation] = _form(_kind, CURVATURES[_operation], _fits)
