"""Operations that are linear in their one tensor: the operation itself, on the tangents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from landscape_fast.linearise.rules.registry import Tangent, broadcast, linear

aten = torch.ops.aten


@linear(aten.detach.default, aten.alias.default, aten.lift_fresh.default, reads="shapes")
def _same(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    return dots[0]


@linear(aten.clone.default, reads="shapes")
def _copied(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    return dots[0]


@linear(aten.view.default, aten._unsafe_view.default, aten.reshape.default, reads="shapes")
def _viewed(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    return None if dots[0] is None else dots[0].reshape(len(dots[0]), *out.shape)


@linear(aten.expand.default, reads="shapes")
def _expanded(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    dot = dots[0]
    return None if dot is None else broadcast(dot, out.dim()).expand(len(dot), *out.shape)


@linear(aten.t.default, reads="shapes")
def _turned(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    return dots[0] if dots[0] is None or args[0].dim() < 2 else dots[0].transpose(1, 2)


def _behind(dim: int, dims: int) -> int:
    """Position of the primal's dimension ``dim`` in a block."""
    return dim + 1 if dim >= 0 else dim + dims + 1


@linear(aten.transpose.int, reads="shapes")
def _transposed(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    dims = args[0].dim()
    if dots[0] is None:
        return None
    return dots[0].transpose(_behind(args[1], dims), _behind(args[2], dims))


@linear(aten.permute.default, reads="shapes")
def _permuted(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    if dots[0] is None:
        return None
    return dots[0].permute(0, *(_behind(dim, args[0].dim()) for dim in args[1]))


@linear(aten.unsqueeze.default, reads="shapes")
def _unsqueezed(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    return None if dots[0] is None else dots[0].unsqueeze(_behind(args[1], out.dim()))


@linear(aten.squeeze.dim, aten.squeeze.default, aten.squeeze.dims, reads="shapes")
def _squeezed(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    return None if dots[0] is None else dots[0].reshape(len(dots[0]), *out.shape)


@linear(aten.select.int, reads="shapes")
def _selected(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    return None if dots[0] is None else dots[0].select(_behind(args[1], args[0].dim()), args[2])


@linear(aten.sum.dim_IntList, reads="shapes")
def _summed(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    if dots[0] is None:
        return None
    dims = args[1] or range(args[0].dim())
    kept = args[2] if len(args) > 2 else False
    return dots[0].sum([_behind(dim, args[0].dim()) for dim in dims], kept)


@linear(aten.avg_pool2d.default, reads="shapes")
def _pooled(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    if dots[0] is None:
        return None
    folded = aten.avg_pool2d.default(fold_rows(dots[0]), *args[1:])
    return unfold_rows(folded, len(dots[0]), out)


@linear(aten.avg_pool2d_backward.default, reads="shapes")
def _pooled_back(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    if dots[0] is None:
        return None
    k = len(dots[0])
    like = args[1][:, None].expand(-1, k, *args[1].shape[1:]).flatten(0, 1)
    return unfold_rows(
        aten.avg_pool2d_backward.default(fold_rows(dots[0]), like, *args[2:]), k, out
    )


@linear(aten.max_pool2d_with_indices.default)
def _max_pooled(args: Sequence[Any], dots: Sequence[Any], out: Any) -> Any:
    values, indices = out
    chosen = indices.flatten(-2).expand(len(dots[0]), *indices.shape[:-2], -1)
    return dots[0].flatten(-2).gather(-1, chosen).reshape(len(dots[0]), *values.shape), None


@linear(aten.max_pool2d_with_indices_backward.default)
def _max_pooled_back(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    if dots[0] is None:
        return None
    block, indices = dots[0], args[-1]
    flat = block.new_zeros(len(block), *out.shape[:-2], out.shape[-2] * out.shape[-1])
    chosen = indices.flatten(-2).expand(len(block), *indices.shape[:-2], -1)
    # Windows may overlap, so values are added, not stored.
    return flat.scatter_add_(-1, chosen, block.flatten(-2)).reshape(len(block), *out.shape)


@linear(aten.mul.Scalar, reads="shapes")
def _scaled(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    return dots[0] * args[1]


@linear(aten.add.Scalar, aten.sub.Scalar, reads="shapes")
def _shifted(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    return dots[0]


@linear(aten.rsub.Scalar, reads="shapes")
def _mirrored(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    return -dots[0] if args[2] == 1 else -args[2] * dots[0]


@linear(aten.div.Scalar, reads="shapes")
def _divided(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    return dots[0] / args[1]


@linear(aten.cat.default, aten.stack.default)
def _joined(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    k = next(len(dot) for dot in dots[0] if dot is not None)
    parts = [
        part.new_zeros(()).expand(k, *part.shape) if dot is None else dot
        for part, dot in zip(args[0], dots[0], strict=True)
    ]
    dim = _behind(args[1] if len(args) > 1 else 0, out.dim())
    return (torch.cat if len(parts[0].shape) == out.dim() + 1 else torch.stack)(parts, dim)


@linear(aten.masked_fill.Scalar)
def _masked(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    # What is filled in is a constant; the same holds for padding.
    return dots[0].masked_fill(args[1], 0.0)


@linear(aten.constant_pad_nd.default)
def _padded(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    return aten.constant_pad_nd.default(dots[0], args[1], 0.0)


def _mapped(operation: Any) -> Any:
    """Rule of an operation that is linear in its first argument: itself, under vmap."""

    def push(args: Sequence[Any], dots: Sequence[Any], out: Any) -> Any:
        if dots[0] is None:
            return None
        return torch.vmap(lambda dot: operation(dot, *args[1:]))(dots[0])

    return push


for _operation in (
    aten.neg.default,
    aten.sum.default,
    aten.mean.default,
    aten.mean.dim,
    aten.slice.Tensor,
    aten.select_backward.default,
    aten.slice_backward.default,
    aten.unbind.int,
    aten.split.Tensor,
    aten.split_with_sizes.default,
    aten.unsafe_split.Tensor,
    aten.unsafe_split_with_sizes.default,
    aten.flip.default,
    aten.roll.default,
    aten.index_select.default,
    aten.gather.default,
    aten.embedding_dense_backward.default,
    aten.tril.default,
    aten.triu.default,
    aten.repeat.default,
    aten._adaptive_avg_pool2d.default,
):
    linear(_operation)(_mapped(_operation))


def fold_rows(block: Tensor) -> Tensor:
    """``(K, B, ...)`` to ``(B * K, ...)``: free when memory is laid out as ``[B, K, ...]``."""
    return block.transpose(0, 1).flatten(0, 1)


def unfold_rows(folded: Tensor, k: int, out: Tensor) -> Tensor:
    """``(B * K, ...)`` to ``(K, B, ...)`` for an output like ``out`` (B, ...)."""
    return folded.unflatten(0, (out.shape[0], k)).transpose(0, 1)
