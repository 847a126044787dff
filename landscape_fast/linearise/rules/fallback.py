"""Any operation: forward-mode derivative of that one operation, mapped over the block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten


def forward_mode(
    operation: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], dots: Sequence[Any]
) -> Any:
    """Tangents of ``operation(*args)`` by ``torch.func.jvp`` under ``vmap``: slower, general.

    Raises:
        RuntimeError: By torch, where an operation has no forward-mode derivative.
    """
    # An argument that does not move may be a list of numbers, and has one None for all of them.
    spread = [
        tree_map(lambda _: None, arg) if dot is None else dot
        for arg, dot in zip(args, dots, strict=True)
    ]
    leaves, structure = tree_flatten(list(args))
    flat_dots = tree_flatten(spread, is_leaf=lambda item: item is None)[0]
    active = [index for index, dot in enumerate(flat_dots) if dot is not None]
    moving: list[bool] = []  # per output; indices and the like have no tangent

    def of_active(*values: Tensor) -> Any:
        filled = list(leaves)
        for index, value in zip(active, values, strict=True):
            filled[index] = value
        out = operation(*tree_unflatten(filled, structure), **kwargs)
        if isinstance(out, Tensor):
            return out
        # An output that its mask leaves out is None.
        moving[:] = [
            item is not None and (item.is_floating_point() or item.is_complex()) for item in out
        ]
        return [item for item, moves in zip(out, moving, strict=True) if moves]

    def push(*tangents: Tensor) -> Any:
        # Forward mode refuses values that are expanded from fewer numbers.
        return torch.func.jvp(of_active, tuple(leaves[i].contiguous() for i in active), tangents)[1]

    blocks = torch.func.vmap(push)(*(flat_dots[i] for i in active))
    if isinstance(blocks, Tensor):
        return blocks
    remaining = iter(blocks)
    return tuple(next(remaining) if moves else None for moves in moving)
