"""Operations linear in each of two tensors: f(a', b) + f(a, b'), K folded into one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from landscape_fast.linearise.rules.precision import factor, reduced, result
from landscape_fast.linearise.rules.registry import Tangent, added, broadcast, rule

aten = torch.ops.aten


@rule(aten.mul.Tensor, reads="arguments")
def _multiplied(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    total = None if dots[0] is None else broadcast(dots[0], out.dim()) * args[1]
    second = dots[1] if len(dots) > 1 else None
    if second is None:
        return total
    return added(total, broadcast(second, out.dim()) * args[0], out)


@rule(aten.mm.default, reads="arguments")
def _mm(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    return _matrix_product(args[0], args[1], dots[0], dots[1])


@rule(aten.addmm.default, reads="arguments")
def _addmm(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    product = _matrix_product(args[1], args[2], dots[1], dots[2])
    if dots[0] is None:
        return product
    bias = broadcast(dots[0], out.dim())
    return bias.expand(len(bias), *out.shape) if product is None else product.add_(bias)


def _matrix_product(a: Tensor, b: Tensor, a_dot: Tangent, b_dot: Tangent) -> Tangent:
    """a'_k b + a b'_k for all k: (K, M, N), the second product added in place."""
    if reduced():
        first = None if a_dot is None else result(factor(a_dot) @ factor(b), a)
        return added(first, None if b_dot is None else result(factor(a) @ factor(b_dot), a))
    total = None
    if a_dot is not None:
        k, m, _ = a_dot.shape
        if a_dot.is_contiguous():
            total = (a_dot.flatten(0, 1) @ b).unflatten(0, (k, m))
        else:
            total = torch.bmm(a_dot, b.expand(k, *b.shape))
    if b_dot is not None:
        repeated = a.expand(len(b_dot), *a.shape)
        if total is None:
            return torch.bmm(repeated, b_dot)
        total.baddbmm_(repeated, b_dot)
    return total


@rule(aten.bmm.default, reads="arguments")
def _bmm(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    if reduced():
        return _matrix_product(args[0], args[1], dots[0], dots[1])
    k = next(len(dot) for dot in dots if dot is not None)
    total = out.new_empty(k, *out.shape)
    # One call per vector: a repeated batch of matrices would have to be copied to be folded.
    for row, part in enumerate(total):
        if dots[0] is not None:
            torch.bmm(dots[0][row], args[1], out=part)
            if dots[1] is not None:
                part.baddbmm_(args[0], dots[1][row])
        else:
            torch.bmm(args[0], dots[1][row], out=part)
    return total
