"""Curved reductions over dimensions: logarithms of sums, norms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from landscape_fast.linearise.rules.registry import rule

aten = torch.ops.aten


def spread_over(out: Tensor, x: Tensor, over: Sequence[int], kept: bool) -> Tensor:
    """``out``, a reduction of ``x`` over ``over``, with the reduced dimensions of size one."""
    if kept:
        return out
    for dim in sorted(dim % x.dim() for dim in over):
        out = out.unsqueeze(dim)
    return out


def reduced(args: Sequence[Any], position: int) -> tuple[list[int], bool]:
    """Dimensions that a call reduces, named at ``position``, and whether it keeps them."""
    given = args[position] if len(args) > position else None
    dims = [given] if isinstance(given, int) else list(given or range(args[0].dim()))
    kept = args[position + 1] if len(args) > position + 1 else False
    return dims, bool(kept)


def behind(dims: Sequence[int], x: Tensor) -> list[int]:
    """Positions of the primal's dimensions in a block."""
    return [dim % x.dim() + 1 for dim in dims]


@rule(aten.logsumexp.default)
def _log_sum(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Any:
    x = args[0]
    over, kept = reduced(args, 1)
    if not over:
        return NotImplemented
    p = (x - spread_over(out, x, over, kept)).exp()
    return (dots[0] * p).sum(behind(over, x), keepdim=kept)


@rule(aten.linalg_vector_norm.default, aten.norm.ScalarOpt_dim, aten.norm.Scalar)
def _norm(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Any:
    x = args[0]
    if not euclidean(args):
        return NotImplemented
    over, kept = reduced(args, 2)
    unit = direction(x, spread_over(out, x, over, kept))
    return (dots[0] * unit).sum(behind(over, x), keepdim=kept)


def euclidean(args: Sequence[Any]) -> bool:
    """Whether a call of the vector norm is the square root of a sum of squares."""
    plain = len(args) < 2 or args[1] in (2, None)
    return plain and args[0].dim() > 0 and not args[0].is_complex()


def direction(x: Tensor, norm: Tensor) -> Tensor:
    """``x / norm``, zero where the norm is: the derivative that autograd takes there."""
    return torch.where(norm == 0, 0.0, x / norm)
