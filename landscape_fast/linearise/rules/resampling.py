"""Linear operations on images: padding by what is there, interpolation, pooling.

They work on every channel of every image alike, so K folds into the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from landscape_fast.linearise.rules.linear import fold_rows, unfold_rows
from landscape_fast.linearise.rules.registry import Rule, Tangent, linear

aten = torch.ops.aten


def _folded(operation: Any, dims: int) -> Rule:
    """Rule of ``operation(images, ...)``; ``dims``: of an image without channels."""

    def push(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
        if out.dim() == dims + 1:  # one image without a batch
            return operation(dots[0], *args[1:])
        return unfold_rows(operation(fold_rows(dots[0]), *args[1:]), len(dots[0]), out)

    return push


def _folded_back(operation: Any, dims: int) -> Rule:
    """Rule of ``operation(gradient, images, ...)``, which reads the images' shape only."""

    def push(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
        if dots[0] is None:
            return None
        k = len(dots[0])
        like = args[1].new_zeros(()).expand(k, *args[1].shape)
        if out.dim() == dims + 1:
            return operation(dots[0], like, *args[2:])
        # Padding reads the shape, and some pooling asks for memory that is laid out plainly.
        images = fold_rows(like).contiguous()
        return unfold_rows(operation(fold_rows(dots[0]).contiguous(), images, *args[2:]), k, out)

    return push


def _folded_sizes(operation: Any) -> Rule:
    """Rule of ``operation(gradient, output size, input size, ...)``."""

    def push(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
        _, output, (batch, *image), *rest = args
        k = len(dots[0])
        folded = operation(fold_rows(dots[0]), output, [k * batch, *image], *rest)
        return unfold_rows(folded, k, out)

    return push


for _dims in (1, 2, 3):
    for _name in ("reflection_pad", "replication_pad"):
        _forward = getattr(aten, f"{_name}{_dims}d").default
        _backward = getattr(aten, f"{_name}{_dims}d_backward").default
        linear(_forward, reads="shapes")(_folded(_forward, _dims))
        linear(_backward, reads="shapes")(_folded_back(_backward, _dims))

for _name, _dims in (
    ("upsample_nearest1d", 1),
    ("upsample_nearest2d", 2),
    ("upsample_nearest3d", 3),
    ("_upsample_nearest_exact1d", 1),
    ("_upsample_nearest_exact2d", 2),
    ("upsample_linear1d", 1),
    ("upsample_bilinear2d", 2),
    ("upsample_bicubic2d", 2),
    ("upsample_trilinear3d", 3),
    ("_upsample_bilinear2d_aa", 2),
    ("_upsample_bicubic2d_aa", 2),
):
    _forward = getattr(aten, _name).default
    _backward = getattr(aten, f"{_name}_backward").default
    linear(_forward, reads="shapes")(_folded(_forward, _dims))
    linear(_backward, reads="shapes")(_folded_sizes(_backward))

linear(aten.avg_pool3d.default, reads="shapes")(_folded(aten.avg_pool3d.default, 3))
linear(aten.avg_pool3d_backward.default, reads="shapes")(
    _folded_back(aten.avg_pool3d_backward.default, 3)
)
linear(aten._adaptive_avg_pool3d.default, reads="shapes")(
    _folded(aten._adaptive_avg_pool3d.default, 3)
)
for _dims in (2, 3):
    _backward = getattr(aten, f"_adaptive_avg_pool{_dims}d_backward").default
    linear(_backward, reads="shapes")(_folded_back(_backward, _dims))


def _picked(dims: int) -> Rule:
    """Rule of pooling that returns (values, places), places counted within an image."""

    def push(args: Sequence[Any], dots: Sequence[Any], out: Any) -> Any:
        values, places = out
        k = len(dots[0])
        chosen = places.flatten(-dims).expand(k, *places.shape[:-dims], -1)
        return dots[0].flatten(-dims).gather(-1, chosen).reshape(k, *values.shape), None

    return push


def _picked_back(dims: int) -> Rule:
    def push(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
        if dots[0] is None:
            return None
        k, places = len(dots[0]), args[-1]
        lead, size = out.shape[:-dims], out.shape[-dims:].numel()
        flat = dots[0].new_zeros(k, *lead, size)
        chosen = places.flatten(-dims).expand(k, *lead, -1)
        # Windows may overlap, so values are added, not stored.
        return flat.scatter_add_(-1, chosen, dots[0].flatten(-dims)).reshape(k, *out.shape)

    return push


linear(aten.max_pool3d_with_indices.default)(_picked(3))
linear(aten.max_pool3d_with_indices_backward.default, reads="arguments")(_picked_back(3))
for _dims in (2, 3):
    linear(getattr(aten, f"adaptive_max_pool{_dims}d").default)(_picked(_dims))
    linear(getattr(aten, f"adaptive_max_pool{_dims}d_backward").default, reads="arguments")(
        _picked_back(_dims)
    )
linear(aten.fractional_max_pool2d.default)(_picked(2))
linear(aten.fractional_max_pool2d_backward.default, reads="arguments")(_picked_back(2))
