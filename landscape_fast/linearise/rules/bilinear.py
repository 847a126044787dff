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
    return added(_left(dots[0], args[1]), _right(args[0], dots[1]))


@rule(aten.addmm.default, reads="arguments")
def _addmm(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    product = added(_left(dots[1], args[2]), _right(args[1], dots[2]))
    if dots[0] is None:
        return product
    bias = broadcast(dots[0], out.dim())
    return bias.expand(len(bias), *out.shape) if product is None else product.add_(bias)


def _left(dot: Tangent, b: Tensor) -> Tangent:
    """a'_k b for all k: (K, M, P), (P, N) -> (K, M, N)."""
    if dot is None:
        return None
    if dot.stride(0) > dot.stride(1) or dot.shape[1] == 1:
        return (dot.flatten(0, 1) @ b).unflatten(0, dot.shape[:2])
    return (fold_rows(dot) @ b).unflatten(0, (dot.shape[1], dot.shape[0])).transpose(0, 1)


def _right(a: Tensor, dot: Tangent) -> Tangent:
    """A b'_k for all k: (M, P), (K, P, N) -> (K, M, N), in memory [M, K, N]."""
    if dot is None:
        return None
    k, _, n = dot.shape
    folded = dot.transpose(0, 1).flatten(1)
    return (a @ folded).unflatten(1, (k, n)).transpose(0, 1)


@rule(aten.bmm.default, reads="arguments")
def _bmm(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    first = None
    if dots[0] is not None:
        k, _, m, _ = dots[0].shape
        folded = dots[0].permute(1, 2, 0, 3).flatten(1, 2)
        first = torch.bmm(folded, args[1]).unflatten(1, (m, k)).permute(2, 0, 1, 3)
    second = None
    if dots[1] is not None:
        k, _, _, n = dots[1].shape
        folded = dots[1].permute(1, 2, 0, 3).flatten(2, 3)
        second = torch.bmm(args[0], folded).unflatten(2, (k, n)).permute(2, 0, 1, 3)
    return added(first, second)


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
