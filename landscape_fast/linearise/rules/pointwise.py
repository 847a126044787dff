"""Elementwise operations: the derivative, computed once from the primal, times every tangent.

The derivative of an elementwise operation in one of its arguments is itself elementwise, so one
reverse pass over the primal gives it, whatever the operation. Its cost does not grow with K.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from landscape_fast.linearise.rules.registry import RULES, Tangent, broadcast, rule

aten = torch.ops.aten

SMOOTH = (
    aten.tanh.default,
    aten.tanh_backward.default,
    aten.sigmoid.default,
    aten.sigmoid_backward.default,
    aten.gelu.default,
    aten.gelu_backward.default,
    aten.silu.default,
    aten.softplus.default,
    aten.softplus_backward.default,
    aten.elu.default,
    aten.elu_backward.default,
    aten.leaky_relu.default,
    aten.leaky_relu_backward.default,
    aten.hardtanh.default,
    aten.hardtanh_backward.default,
    aten.hardswish.default,
    aten.hardswish_backward.default,
    aten.exp.default,
    aten.log.default,
    aten.log1p.default,
    aten.sqrt.default,
    aten.rsqrt.default,
    aten.reciprocal.default,
    aten.sin.default,
    aten.cos.default,
    aten.erf.default,
    aten.abs.default,
    aten.pow.Tensor_Scalar,
    aten.div.Tensor,
    aten.clamp.default,
    aten.clamp.Tensor,
    aten.clamp_min.default,
    aten.clamp_min.Tensor,
    aten.clamp_max.default,
    aten.clamp_max.Tensor,
    aten.pow.Scalar,
    aten.pow.Tensor_Tensor,
    aten.exp2.default,
    aten.expm1.default,
    aten.log2.default,
    aten.log10.default,
    aten.tan.default,
    aten.atan.default,
    aten.atan2.default,
    aten.asin.default,
    aten.acos.default,
    aten.sinh.default,
    aten.cosh.default,
    aten.asinh.default,
    aten.erfc.default,
    aten.lgamma.default,
    aten.digamma.default,
    aten.logaddexp.default,
    aten.xlogy.Tensor,
    aten.maximum.default,
    aten.minimum.default,
)


def elementwise(operation: Callable[..., Any]) -> Callable[..., Any]:
    """Tangent rule of ``operation``, elementwise in all its tensors."""

    def push(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Any:
        if out.is_complex() or any(isinstance(a, Tensor) and a.is_complex() for a in args):
            return NotImplemented
        active = [index for index, dot in enumerate(dots) if dot is not None]
        filled = list(args)
        with torch.enable_grad():
            for index in active:
                filled[index] = args[index].expand(out.shape).detach().requires_grad_()
            value = operation(*filled)
            slopes = torch.autograd.grad(
                value, [filled[index] for index in active], torch.ones_like(value)
            )
        total = broadcast(dots[active[0]], out.dim()) * slopes[0]
        for index, slope in zip(active[1:], slopes[1:], strict=True):
            total = torch.addcmul(total, broadcast(dots[index], out.dim()), slope)
        return total

    return push


for _operation in SMOOTH:
    RULES[_operation] = elementwise(_operation)


def _silu_backward(gradient: Tensor, x: Tensor) -> Tensor:
    # The operation of this name has no derivative of its own in torch.
    s = torch.sigmoid(x)
    return gradient * s * (1 + x * (1 - s))


RULES[aten.silu_backward.default] = elementwise(_silu_backward)


@rule(aten.relu.default)
def _relu(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    return dots[0] * (out > 0)


@rule(aten.threshold_backward.default, reads="arguments")
def _relu_backward(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    return None if dots[0] is None else dots[0] * (args[1] > args[2])


@rule(aten.add.Tensor, reads="shapes")
def _add(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    return _sum(dots, out, 1)


@rule(aten.sub.Tensor, reads="shapes")
def _subtract(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    return _sum(dots, out, -1)


def _sum(dots: Sequence[Any], out: Tensor, sign: int) -> Tangent:
    first, second = (None if dot is None else broadcast(dot, out.dim()) for dot in dots[:2])
    if second is None or first is None:
        only = first if first is not None else second
        assert only is not None
        only = only.expand(len(only), *out.shape)
        return -only if first is None and sign < 0 else only
    return torch.add(first, second, alpha=sign)


@rule(aten.where.self)
def _where(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    zero = out.new_zeros(())
    first, second = (zero if dot is None else broadcast(dot, out.dim()) for dot in dots[1:3])
    return torch.where(args[0], first, second)
