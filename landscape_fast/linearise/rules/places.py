"""Operations that move entries about: reading by index, writing into a part, sorting.

All are linear in the values they move, as long as these do not change places.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from landscape_fast.linearise.rules.reductions import behind, reduced, spread_over
from landscape_fast.linearise.rules.registry import Rule, Tangent, broadcast, linear

aten = torch.ops.aten


def _jointly(operation: Any, *positions: int) -> Rule:
    """Rule of an operation linear in the arguments at ``positions`` together."""

    def push(args: Sequence[Any], dots: Sequence[Any], out: Any) -> Any:
        moving = [index for index in positions if dots[index] is not None]
        if not moving:
            return None
        rest = list(args)
        for index in positions:
            if isinstance(args[index], Tensor):
                rest[index] = torch.zeros_like(args[index])
            elif index not in moving:
                rest[index] = 0

        def of_moving(*blocks: Tensor) -> Any:
            given = list(rest)
            for index, block in zip(moving, blocks, strict=True):
                given[index] = block
            return operation(*given)

        return torch.vmap(of_moving)(*(dots[index] for index in moving))

    return push


for _operation in (
    aten.index.Tensor,
    aten._unsafe_index.Tensor,
    aten.cumsum.default,
    aten.diagonal.default,
    aten.diag_embed.default,
    aten.diagonal_backward.default,
    aten.unfold.default,
    aten.unfold_backward.default,
    aten.im2col.default,
    aten.col2im.default,
    aten.trace.default,
):
    linear(_operation, reads="arguments")(_jointly(_operation, 0))

linear(aten.diagonal_scatter.default, reads="arguments")(
    _jointly(aten.diagonal_scatter.default, 0, 1)
)

for _operation in (aten.index_put.default, aten._unsafe_index_put.default):
    linear(_operation, reads="arguments")(_jointly(_operation, 0, 2))

for _operation in (
    aten.index_add.default,
    aten.index_copy.default,
    aten.scatter_add.default,
    aten.scatter.src,
):
    linear(_operation, reads="arguments")(_jointly(_operation, 0, 3))

linear(aten.masked_fill.Tensor, reads="arguments")(_jointly(aten.masked_fill.Tensor, 0, 2))
linear(aten.lerp.Scalar, reads="arguments")(_jointly(aten.lerp.Scalar, 0, 1))


@linear(aten.slice_scatter.default, reads="shapes")
def _slice_written(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    _, _, dim, *place = args
    return _written(aten.slice.Tensor, dots, out, [dim % out.dim() + 1, *place])


@linear(aten.select_scatter.default, reads="shapes")
def _select_written(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    return _written(aten.select.int, dots, out, [args[2] % out.dim() + 1, args[3]])


def _written(view: Any, dots: Sequence[Any], out: Tensor, place: list[Any]) -> Tangent:
    """A block with the part that ``view`` gives overwritten."""
    if dots[0] is None and dots[1] is None:
        return None
    if dots[0] is None:
        block = dots[1].new_zeros(len(dots[1]), *out.shape)
    else:
        block = dots[0].clone(memory_format=torch.contiguous_format)
    part = view(block, *place)
    part.copy_(torch.zeros_like(part) if dots[1] is None else dots[1])
    return block


@linear(aten.as_strided.default, reads="arguments")
def _strided(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    if dots[0] is None:
        return None
    return torch.vmap(lambda dot: aten.as_strided.default(dot, *args[1:]))(dots[0].contiguous())


@linear(aten.scatter.value, reads="arguments")
def _scattered(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    _, dim, index, _ = args
    return torch.vmap(lambda dot: aten.scatter.value(dot, dim, index, 0))(dots[0])


@linear(aten.fill.Tensor, reads="shapes")
def _filled(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    if dots[1] is None:
        return None
    return broadcast(dots[1], out.dim()).expand(-1, *out.shape).to(out.dtype)


@linear(aten._to_copy.default, reads="shapes")
def _converted(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    return dots[0].to(out.dtype)


@linear(aten.embedding.default, reads="arguments")
def _embedded(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    # The padding row is a constant to autograd, also where another layer shares the table.
    _, indices, *padding = args
    rows = dots[0].index_select(1, indices.reshape(-1)).unflatten(1, indices.shape)
    if not padding or padding[0] < 0:
        return rows
    return rows.masked_fill((indices == padding[0])[..., None], 0.0)


# Operations that choose entries along a dimension: the position of that argument.
_CHOICES = {
    aten.topk.default: 2,
    aten.sort.default: 1,
    aten.max.dim: 1,
    aten.min.dim: 1,
    aten.median.dim: 1,
    aten.kthvalue.default: 2,
    aten.cummax.default: 1,
    aten.cummin.default: 1,
}


def _choice(position: int) -> Rule:
    def push(args: Sequence[Any], dots: Sequence[Any], out: Any) -> Any:
        dims = args[0].dim()
        dim = (args[position] if len(args) > position else -1) % dims
        reduced = out[1].dim() < dims
        places = out[1].unsqueeze(dim) if reduced else out[1]
        chosen = dots[0].gather(dim + 1, places.expand(len(dots[0]), *places.shape))
        return chosen.squeeze(dim + 1) if reduced else chosen, None

    return push


for _operation, _position in _CHOICES.items():
    linear(_operation)(_choice(_position))


@linear(aten.amax.default, aten.amin.default, aten.max.default, aten.min.default)
def _extreme(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    # Entries that share the extreme share its derivative, as in the backward pass.
    x = args[0]
    over, kept = reduced(args, 1)
    at = (x == spread_over(out, x, over, kept)).to(x.dtype)
    share = at / at.sum(over, keepdim=True)
    return (dots[0] * share).sum(behind(over, x), keepdim=kept)
