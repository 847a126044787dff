"""Second-order terms of group normalisation, of losses and activations, of norms and sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from landscape_fast.linearise.rules.curvature import (
    CURVATURES,
    Curvature,
    elementwise,
    inner_products,
    normal_terms,
)
from landscape_fast.linearise.rules.errors import LOSSES
from landscape_fast.linearise.rules.forms import GELU_TANH
from landscape_fast.linearise.rules.groups import flat, grouped, normal_of
from landscape_fast.linearise.rules.reductions import (
    behind,
    direction,
    euclidean,
    reduced,
    spread_over,
)
from landscape_fast.linearise.rules.registry import broadcast

aten = torch.ops.aten

CURVATURES.update({operation: loss.curvature for operation, loss in LOSSES.items()})
for _operation in (GELU_TANH, aten.celu.default, aten.mish.default):
    CURVATURES[_operation] = elementwise(_operation)


def _term(*operations: Any) -> Callable[[Curvature], Curvature]:
    def register(function: Curvature) -> Curvature:
        CURVATURES.update(dict.fromkeys(operations, function))
        return function

    return register


@_term(aten.native_group_norm.default)
def _group_norm(
    args: Sequence[Any], dots: Sequence[Any], out: Any, adjoint: Tensor
) -> Tensor | None:
    x, weight, _, batch, channels, pixels, groups, _ = args
    _, mean, inverse = out
    if dots[0] is None:
        return None
    normal, adjoint = normal_of(x, mean, inverse, groups), flat(adjoint, x)
    block = grouped(flat(dots[0], x), groups)
    slope, bend = (
        part.reshape(-1, batch, channels, pixels)
        for part in normal_terms(block, normal, inverse[..., None], 1)
    )
    total = inner_products(bend, adjoint if weight is None else adjoint * weight[:, None])
    if dots[1] is None:
        return total
    return total + 2 * inner_products(slope * dots[1][:, None, :, None], adjoint)


@_term(aten._prelu_kernel.default)
def _prelu(args: Sequence[Any], dots: Sequence[Any], out: Tensor, adjoint: Tensor) -> Tensor | None:
    if dots[0] is None or dots[1] is None:
        return None
    change = dots[0] * broadcast(dots[1], out.dim())
    return 2 * inner_products(change, torch.where(args[0] > 0, 0.0, adjoint))


@_term(aten.log_sigmoid_forward.default)
def _log_sigmoid(
    args: Sequence[Any], dots: Sequence[Any], out: Any, adjoint: Tensor
) -> Tensor | None:
    p = torch.sigmoid(args[0])
    return -inner_products(dots[0].square(), p * (1 - p) * adjoint)


@_term(aten.logsumexp.default)
def _log_sum(args: Sequence[Any], dots: Sequence[Any], out: Tensor, adjoint: Tensor) -> Any:
    x = args[0]
    over, kept = reduced(args, 1)
    p = (x - spread_over(out, x, over, kept)).exp()
    mean = (dots[0] * p).sum(behind(over, x), keepdim=True)
    return inner_products((dots[0] - mean).square() * p, spread_over(adjoint, x, over, kept))


@_term(aten.linalg_vector_norm.default, aten.norm.ScalarOpt_dim, aten.norm.Scalar)
def _vector_norm(args: Sequence[Any], dots: Sequence[Any], out: Tensor, adjoint: Tensor) -> Any:
    x = args[0]
    if not euclidean(args):
        return NotImplemented
    over, kept = reduced(args, 2)
    norm, adjoint = (spread_over(part, x, over, kept) for part in (out, adjoint))
    unit = direction(x, norm)
    along = (dots[0] * unit).sum(behind(over, x), keepdim=True)
    return inner_products((dots[0] - along * unit).square(), direction(adjoint, norm))
