"""Operations linear in each of two tensors: f(a', b) + f(a, b'), K folded into one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from landscape_fast.linearise.rules.linear import fold_rows, unfold_rows
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


@rule(aten.convolution.default, reads="arguments")
def _convolution(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    x, weight, _, *geometry = args
    transposed, groups = geometry[3], geometry[5]
    total = None
    if dots[0] is not None:
        k = len(dots[0])
        folded = aten.convolution.default(fold_rows(dots[0]), weight, None, *geometry)
        total = unfold_rows(folded, k, out)
    if dots[1] is not None:
        total = added(total, _by_weight(x, dots[1], geometry, transposed or groups > 1))
    if dots[2] is not None:
        bias = dots[2].reshape(len(dots[2]), 1, -1, *(1,) * (out.dim() - 2))
        total = bias.expand(-1, *out.shape) if total is None else total.add_(bias)
    return total


def _by_weight(x: Tensor, dot: Tensor, geometry: Sequence[Any], one_by_one: bool) -> Tensor:
    """Convolve x with every w'_k: K folds into the output channels, memory [B, K, O, ...]."""
    if one_by_one:
        return torch.stack([aten.convolution.default(x, w, None, *geometry) for w in dot])
    k = len(dot)
    folded = aten.convolution.default(x, dot.flatten(0, 1), None, *geometry)
    return folded.unflatten(1, (k, dot.shape[1])).transpose(0, 1)


@rule(aten.convolution_backward.default, reads="arguments")
def _convolution_backward(args: Sequence[Any], dots: Sequence[Any], out: Any) -> Any:
    delta, x, weight, _, *geometry, mask = args
    if geometry[3] or geometry[5] > 1:
        return NotImplemented
    return (
        _input_gradient(delta, x, weight, dots, geometry) if mask[0] else None,
        _weight_gradient(delta, x, weight, dots, geometry) if mask[1] else None,
        dots[0].sum([1, *range(3, delta.dim() + 1)]) if mask[2] and dots[0] is not None else None,
    )


def _input_gradient(
    delta: Tensor, x: Tensor, weight: Tensor, dots: Sequence[Any], geometry: Sequence[Any]
) -> Tangent:
    total = None
    if dots[0] is not None:
        k = len(dots[0])
        like = x.new_empty(()).expand(x.shape[0] * k, *x.shape[1:])
        folded = aten.convolution_backward.default(
            fold_rows(dots[0]), like, weight, None, *geometry, [True, False, False]
        )[0]
        total = unfold_rows(folded, k, x)
    if dots[2] is not None:
        k, _, inputs = dots[2].shape[:3]
        folded = dots[2].transpose(0, 1).flatten(1, 2)
        like = x.new_empty(()).expand(x.shape[0], k * inputs, *x.shape[2:])
        gradient = aten.convolution_backward.default(
            delta, like, folded, None, *geometry, [True, False, False]
        )[0]
        total = added(total, gradient.unflatten(1, (k, inputs)).transpose(0, 1))
    return total


def _weight_gradient(
    delta: Tensor, x: Tensor, weight: Tensor, dots: Sequence[Any], geometry: Sequence[Any]
) -> Tangent:
    outputs, inputs, *window = weight.shape
    total = None
    if dots[0] is not None:
        k = len(dots[0])
        like = weight.new_empty(()).expand(k * outputs, inputs, *window)
        gradient = aten.convolution_backward.default(
            dots[0].transpose(0, 1).flatten(1, 2), x, like, None, *geometry, [False, True, False]
        )[1]
        total = gradient.unflatten(0, (k, outputs))
    if dots[1] is not None:
        k = len(dots[1])
        like = weight.new_empty(()).expand(outputs, k * inputs, *window)
        gradient = aten.convolution_backward.default(
            delta,
            dots[1].transpose(0, 1).flatten(1, 2),
            like,
            None,
            *geometry,
            [False, True, False],
        )[1]
        total = added(total, gradient.unflatten(1, (k, inputs)).transpose(0, 1))
    return total
