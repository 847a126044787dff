"""Any operation: forward-mode derivative of that one operation, mapped over the block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten


def forward_mode(
    operation: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], dots: Sequence[Any]
) -> Any:
    """Tangents of ``operation(*args)`` by ``torch.func.jvp`` under ``vmap``: slower, general.

    Raises:
        NotImplementedError: The operation has no forward-mode derivative.
    """
    leaves, structure = tree_flatten(list(args))
    flat_dots = tree_flatten(list(dots), is_leaf=lambda item: item is None)[0]
    active = [index for index, dot in enumerate(flat_dots) if dot is not None]

    def of_active(*values: Tensor) -> Any:
        filled = list(leaves)
        for index, value in zip(active, values, strict=True):
            filled[index] = value
        return operation(*tree_unflatten(filled, structure), **kwargs)

    def push(*tangents: Tensor) -> Any:
        return torch.func.jvp(of_active, tuple(leaves[i] for i in active), tangents)[1]

    return torch.func.vmap(push)(*(flat_dots[i] for i in active))
