"""Which tangent rule serves which ATen operation.

A tangent block of a value of shape ``s`` is a tensor of shape ``(K, *s)``: K tangents, probe axis
first in the shape. Where the probe axis lies in *memory* is free, and the rules for convolutions
and matrix products leave it right before the feature axis, ``[B, K, C, H, W]``: K then folds into
the batch or into the channels of one ordinary convolution without a copy.

A rule gets the operation's arguments in the order of its schema, for each of them the tangent block
or None (None is zero, and at least one is not None), and the primal output. It returns the tangent
block of the output, a tuple of them for several outputs, None for zero, or NotImplemented to pass
the call to the general rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

Tangent = Tensor | None
Rule = Callable[[Sequence[Any], Sequence[Any], Any], Any]

RULES: dict[Any, Rule] = {}

# Operations whose result does not move with the values of their arguments.
_aten = torch.ops.aten
_COMPARED = (_aten.eq, _aten.ne, _aten.lt, _aten.le, _aten.gt, _aten.ge)
FIXED = frozenset(
    {
        _aten.ones_like.default,
        _aten.zeros_like.default,
        _aten.full_like.default,
        _aten.empty_like.default,
        _aten.new_zeros.default,
        _aten.new_ones.default,
        _aten.new_full.default,
        _aten.new_empty.default,
        _aten.fill.Scalar,
        _aten.sign.default,
        _aten.sgn.default,
        _aten.argmax.default,
        _aten.argmin.default,
        _aten.argsort.default,
        _aten.floor.default,
        _aten.ceil.default,
        _aten.round.default,
        _aten.trunc.default,
        _aten.isnan.default,
        _aten.isinf.default,
        _aten.logical_not.default,
        *(operation.Scalar for operation in _COMPARED),
        *(operation.Tensor for operation in _COMPARED),
    }
)


# Operations linear in all that moves: their second derivative is zero.
LINEAR: set[Any] = set()

# What a rule reads beside the tangents: nothing but shapes, or all arguments but not the output.
# A rule in neither may read everything. Values that no rule reads are not computed.
READS_SHAPES: set[Any] = set()
READS_ARGUMENTS: set[Any] = set()


Reads = Literal["all", "arguments", "shapes"]


def linear(*operations: Any, reads: Reads = "all") -> Callable[[Rule], Rule]:
    """Register the decorated function as the tangent rule of linear ``operations``."""
    LINEAR.update(operations)
    return rule(*operations, reads=reads)


def rule(*operations: Any, reads: Reads = "all") -> Callable[[Rule], Rule]:
    """Register the decorated function as the tangent rule of ``operations``."""
    if reads != "all":
        (READS_SHAPES if reads == "shapes" else READS_ARGUMENTS).update(operations)

    def register(function: Rule) -> Rule:
        for operation in operations:
            if operation in RULES:
                raise ValueError(f"{operation} has two rules")
            RULES[operation] = function
        return function

    return register


def added(first: Tangent, second: Tangent, out: Tensor | None = None) -> Tangent:
    """Sum of two tangents, either of which may be zero. Overwrites a ``first`` made by the rule."""
    if first is None or second is None:
        return second if first is None else first
    if out is not None and first.shape[1:] != out.shape:
        return first + second
    return first.add_(second)


def broadcast(tangent: Tensor, dims: int) -> Tensor:
    """Give a block of a value with fewer dimensions the ones that broadcasting would insert."""
    missing = dims + 1 - tangent.dim()
    return tangent[(slice(None), *(None,) * missing)] if missing > 0 else tangent
