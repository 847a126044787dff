"""Convolutions: K folds into the batch or into the channels of one ordinary convolution.

On a CPU a convolution with fewer channels than a register has lanes runs at a fraction of its
speed. The same sums can then be had from a convolution with more channels: several vectors side by
side, or input and kernel exchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from landscape_fast.linearise.rules.linear import fold_rows, unfold_rows
from landscape_fast.linearise.rules.precision import factor, result
from landscape_fast.linearise.rules.registry import Tangent, added, rule

aten = torch.ops.aten

# Channels below which a convolution on a CPU is slow: the lanes of a 512-bit register in float32.
NARROW = 16


@rule(aten.convolution.default, reads="arguments")
def _convolution(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    x, weight, _, *geometry = args
    total = None
    if dots[0] is not None:
        total = by_input(dots[0], weight, geometry, out)
    if dots[1] is not None:
        total = added(total, by_weight(x, dots[1], geometry))
    if dots[2] is not None:
        bias = dots[2].reshape(len(dots[2]), 1, -1, *(1,) * (out.dim() - 2))
        total = bias.expand(-1, *out.shape) if total is None else total.add_(bias)
    return total


def by_input(dot: Tensor, weight: Tensor, geometry: Sequence[Any], out: Tensor) -> Tensor:
    """Convolve every x'_k: K folds into the batch, memory [B, K, O, ...]."""
    return unfold_rows(_convolved(fold_rows(dot), weight, geometry), len(dot), out)


def by_weight(x: Tensor, dot: Tensor, geometry: Sequence[Any]) -> Tensor:
    """Convolve x with every w'_k: K folds into the output channels, memory [B, K, O, ...]."""
    transposed, groups = geometry[3], geometry[5]
    if transposed or groups > 1:
        return torch.stack([_convolved(x, w, geometry) for w in dot])
    folded = _convolved(x, dot.flatten(0, 1), geometry)
    return folded.unflatten(1, (len(dot), dot.shape[1])).transpose(0, 1)


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
        block, kernel = _side_by_side(fold_rows(dots[0]), weight, k)
        like = (len(block), kernel.shape[1], *x.shape[2:])
        folded = _gradient_in_input(block, kernel, like, geometry)
        total = unfold_rows(folded.reshape(-1, *x.shape[1:]), k, x)
    if dots[2] is not None:
        k, _, inputs = dots[2].shape[:3]
        kernels = dots[2].transpose(0, 1).flatten(1, 2)
        if _exchangeable(delta, weight, geometry):
            turned = kernels.flip(list(range(2, kernels.dim()))).transpose(0, 1)
            folded = _convolved(delta, turned, _full(geometry, weight))
        else:
            like = (len(x), k * inputs, *x.shape[2:])
            folded = _gradient_in_input(delta, kernels, like, geometry)
        total = added(total, folded.unflatten(1, (k, inputs)).transpose(0, 1))
    return total


def _weight_gradient(
    delta: Tensor, x: Tensor, weight: Tensor, dots: Sequence[Any], geometry: Sequence[Any]
) -> Tangent:
    outputs, inputs, *window = weight.shape
    total = None
    if dots[0] is not None:
        k = len(dots[0])
        block = dots[0].transpose(0, 1).flatten(1, 2)
        folded = _gradient_in_weight(block, x, (k * outputs, inputs, *window), geometry)
        total = folded.unflatten(0, (k, outputs))
    if dots[1] is not None:
        k = len(dots[1])
        block = dots[1].transpose(0, 1).flatten(1, 2)
        if _exchangeable(delta, weight, geometry):
            shape = (k * inputs, outputs, *window)
            turned = _gradient_in_weight(block, delta, shape, _full(geometry, weight))
            turned = turned.flip(list(range(2, turned.dim())))
            found = turned.unflatten(0, (k, inputs)).transpose(1, 2)
        else:
            shape = (outputs, k * inputs, *window)
            folded = _gradient_in_weight(delta, block, shape, geometry)
            found = folded.unflatten(1, (k, inputs)).transpose(0, 1)
        total = added(total, found)
    return total


def _convolved(x: Tensor, weight: Tensor, geometry: Sequence[Any]) -> Tensor:
    return result(aten.convolution.default(factor(x), factor(weight), None, *geometry), x)


def _gradient_in_input(
    delta: Tensor, weight: Tensor, shape: Sequence[int], geometry: Sequence[Any]
) -> Tensor:
    delta_, weight_ = factor(delta), factor(weight)
    like = delta_.new_empty(()).expand(shape)
    gradients = aten.convolution_backward.default(
        delta_, like, weight_, None, *geometry, [True, False, False]
    )
    return result(gradients[0], delta)


def _gradient_in_weight(
    delta: Tensor, x: Tensor, shape: Sequence[int], geometry: Sequence[Any]
) -> Tensor:
    delta_, x_ = factor(delta), factor(x)
    like = delta_.new_empty(()).expand(shape)
    gradients = aten.convolution_backward.default(
        delta_, x_, like, None, *geometry, [False, True, False]
    )
    return result(gradients[1], delta)


def _side_by_side(block: Tensor, weight: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Narrow images of several vectors as the channels of one, and a kernel to keep them apart.

    Most of the wider kernel is zero, so the sums are the same ones.
    """
    outputs, inputs, *window = weight.shape
    several = NARROW // outputs if block.device.type == "cpu" else 1
    if several < 2 or k % several:
        return block, weight
    kernel = weight.new_zeros(several, outputs, several, inputs, *window)
    for index in range(several):
        kernel[index, :, index] = weight
    wide = kernel.reshape(several * outputs, several * inputs, *window)
    return block.reshape(-1, several * outputs, *block.shape[2:]), wide


def _exchangeable(delta: Tensor, weight: Tensor, geometry: Sequence[Any]) -> bool:
    """Whether input and kernel are better exchanged: few outputs, and each input position is read.

    A sum over output positions of a product of shifted images is symmetric in the images.
    """
    stride, padding, dilation = geometry[:3]
    simple = all(step == 1 for step in (*stride, *dilation))
    fits = all(pad < size for pad, size in zip(padding, weight.shape[2:], strict=True))
    return delta.device.type == "cpu" and weight.shape[0] < NARROW and simple and fits


def _full(geometry: Sequence[Any], weight: Tensor) -> list[Any]:
    """The geometry that undoes ``geometry``: as much padding as the kernel has left."""
    stride, padding, *rest = geometry
    left = [size - 1 - pad for pad, size in zip(padding, weight.shape[2:], strict=True)]
    return [stride, left, *rest]
