"""Second-order terms of operations, contracted with an adjoint: <lambda, D^2 phi[u', u']>.

For a program ``u_j = phi_j(...)`` with adjoints ``lambda_j = dL/du_j``, the second derivative of L
along one direction is the sum of these terms over the operations. They need forward tangents only:
no tangent of a backward pass is computed or stored. Operations that are linear in what moves, or
piecewise linear, contribute nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from landscape_fast import _native
from landscape_fast.linearise.rules import batch_statistics
from landscape_fast.linearise.rules.layers import channel_sums, norm, served
from landscape_fast.linearise.rules.norm import normal_tangent, under
from landscape_fast.linearise.rules.pointwise import SMOOTH
from landscape_fast.linearise.rules.registry import broadcast

aten = torch.ops.aten

# (args, dots, out, adjoint) -> (K,), or None for zero
Curvature = Callable[[Sequence[Any], Sequence[Any], Any, Tensor], Tensor | None]
CURVATURES: dict[Any, Curvature] = {}

STRAIGHT = frozenset(
    {
        aten.relu.default,
        aten.leaky_relu.default,
        aten.hardtanh.default,
        aten.abs.default,
        aten.clamp.default,
        aten.clamp_min.default,
        aten.clamp_max.default,
        aten.clamp.Tensor,
        aten.clamp_min.Tensor,
        aten.clamp_max.Tensor,
        aten.maximum.default,
        aten.minimum.default,
        aten.where.self,
        aten.add.Tensor,
        aten.sub.Tensor,
        aten.nll_loss_forward.default,
        aten.nll_loss2d_forward.default,
    }
)


def _curvature(*operations: Any) -> Callable[[Curvature], Curvature]:
    def register(function: Curvature) -> Curvature:
        CURVATURES.update(dict.fromkeys(operations, function))
        return function

    return register


def inner_products(block: Tensor, other: Tensor) -> Tensor:
    """Sum over all but the probe axis of ``block * other``: (K,) float64.

    An adjoint of complex values is the conjugate of their derivative, in autograd's convention.
    """
    if other.is_complex():
        return (block * other.conj()).real.reshape(len(block), -1).sum(1, dtype=torch.float64)
    fits = torch.broadcast_shapes(block.shape, other.shape) == block.shape
    if not (fits and served(block) and block[0].is_contiguous() and other.dtype == block.dtype):
        return (block * other).reshape(len(block), -1).sum(1, dtype=torch.float64)
    flat = block.reshape(len(block), -1)  # no copy
    if other.dim() == block.dim():
        return _native.row_dots(flat, other.expand(block.shape).reshape(flat.shape).contiguous())
    whole = other.expand(block.shape[1:]).contiguous()
    return _native.block_dots(flat, whole.reshape(1, -1))[:, 0]


@_curvature(aten.mul.Tensor)
def _product(
    args: Sequence[Any], dots: Sequence[Any], out: Tensor, adjoint: Tensor
) -> Tensor | None:
    if dots[0] is None or dots[1] is None:
        return None
    first, second = (broadcast(dot, out.dim()) for dot in dots[:2])
    return 2 * inner_products(first * second, adjoint)


@_curvature(aten.mm.default)
def _mm(args: Sequence[Any], dots: Sequence[Any], out: Tensor, adjoint: Tensor) -> Tensor | None:
    if dots[0] is None or dots[1] is None:
        return None
    if adjoint.is_complex():
        return 2 * inner_products(dots[0] @ dots[1], adjoint)
    # <adjoint, a'_k b'_k> = <a'_k^T adjoint, b'_k>, in the orientation that b' has in memory.
    first, second = dots[:2]
    repeated = adjoint.expand(len(first), *adjoint.shape)
    if second[0].is_contiguous():
        return 2 * inner_products(second, torch.bmm(first.transpose(1, 2), repeated))
    return 2 * inner_products(second.transpose(1, 2), torch.bmm(repeated.transpose(1, 2), first))


@_curvature(aten.addmm.default)
def _addmm(args: Sequence[Any], dots: Sequence[Any], out: Tensor, adjoint: Tensor) -> Tensor | None:
    return _mm(args[1:], dots[1:], out, adjoint)


@_curvature(aten.bmm.default)
def _bmm(args: Sequence[Any], dots: Sequence[Any], out: Tensor, adjoint: Tensor) -> Tensor | None:
    if dots[0] is None or dots[1] is None:
        return None
    return 2 * inner_products(torch.matmul(dots[0], dots[1]), adjoint)


@_curvature(aten.convolution.default)
def _convolution(
    args: Sequence[Any], dots: Sequence[Any], out: Tensor, adjoint: Tensor
) -> Tensor | None:
    if dots[0] is None or dots[1] is None:
        return None
    _, weight, _, *geometry = args
    k = len(dots[0])
    if geometry[3] or geometry[5] > 1 or adjoint.is_complex():
        pairs = zip(dots[0], dots[1], strict=True)
        images = [aten.convolution.default(one, w, None, *geometry) for one, w in pairs]
        return 2 * inner_products(torch.stack(images), adjoint)
    # One gradient of a convolution in its weights, K folded into the input channels.
    outputs, inputs, *window = weight.shape
    like = weight.new_empty(()).expand(outputs, k * inputs, *window)
    gradient = aten.convolution_backward.default(
        adjoint, dots[0].transpose(0, 1).flatten(1, 2), like, None, *geometry, [False, True, False]
    )[1]
    return 2 * inner_products(dots[1], gradient.unflatten(1, (k, inputs)).transpose(0, 1))


@_curvature(aten.native_batch_norm.default)
def _batch_norm(
    args: Sequence[Any], dots: Sequence[Any], out: Any, adjoint: Tensor
) -> Tensor | None:
    _, _, _, _, var, training, _, eps = args
    if training:
        return batch_statistics.curvature(args, dots, out, adjoint)
    if dots[0] is None or dots[1] is None:
        return None
    over = [1, *range(3, dots[0].dim())]
    return 2 * inner_products((dots[0] * adjoint).sum(over) * (var + eps).rsqrt(), dots[1])


@_curvature(norm)
def _norm(args: Sequence[Any], dots: Sequence[Any], out: Tensor, adjoint: Tensor) -> Tensor | None:
    x, _, _, _, var, eps, _, relu = args
    if dots[0] is None or dots[1] is None:
        return None
    masked = adjoint * (out > 0) if relu else adjoint
    if served(x):
        rows = channel_sums(dots[0], masked)
    else:
        rows = (dots[0] * masked).sum([1, *range(3, dots[0].dim())])
    return 2 * inner_products(rows * (var + eps).rsqrt(), dots[1])


@_curvature(aten.native_layer_norm.default)
def _layer_norm(
    args: Sequence[Any], dots: Sequence[Any], out: Any, adjoint: Tensor
) -> Tensor | None:
    x, shape, weight, _, _ = args
    _, mean, inverse = out
    if dots[0] is None:
        return None
    normal = (x - mean) * inverse
    slope, bend = normal_terms(dots[0], normal, inverse, len(shape))
    total = inner_products(bend, adjoint if weight is None else adjoint * weight)
    return (
        total if dots[2] is None else total + 2 * inner_products(slope * under(dots[2], x), adjoint)
    )


def normal_terms(dot: Tensor, normal: Tensor, inverse: Tensor, dims: int) -> tuple[Tensor, Tensor]:
    """First and second derivative of ``(x - mean) / deviation`` along ``dot``."""
    over = list(range(-dims, 0))
    slope = normal_tangent(dot, normal, inverse, dims)
    along = (dot * normal).mean(over, keepdim=True)
    change = (slope * (dot - dot.mean(over, keepdim=True))).mean(over, keepdim=True)
    return slope, -inverse * (2 * along * slope + normal * change)


@_curvature(aten._log_softmax.default)
def _log_softmax(args: Sequence[Any], dots: Sequence[Any], out: Tensor, adjoint: Tensor) -> Tensor:
    return -inner_products(
        _variance(dots[0], out.exp(), args[1]), adjoint.sum(args[1], keepdim=True)
    )


@_curvature(aten._softmax.default, aten._safe_softmax.default)
def _softmax(args: Sequence[Any], dots: Sequence[Any], out: Tensor, adjoint: Tensor) -> Tensor:
    dim = args[1] if args[1] < 0 else args[1] + 1
    centred = dots[0] - (dots[0] * out).sum(dim, keepdim=True)
    spread = centred.square()
    return inner_products(out * (spread - (out * spread).sum(dim, keepdim=True)), adjoint)


def _variance(block: Tensor, p: Tensor, dim: int) -> Tensor:
    """Variance of ``block`` under the probabilities ``p`` along the primal's dimension ``dim``."""
    behind = dim if dim < 0 else dim + 1
    centred = block - (block * p).sum(behind, keepdim=True)
    return (centred.square() * p).sum(behind, keepdim=True)


def elementwise(operation: Callable[..., Any]) -> Curvature:
    """Term of ``operation``, elementwise in all its tensors."""

    def term(args: Sequence[Any], dots: Sequence[Any], out: Tensor, adjoint: Tensor) -> Any:
        active = [index for index, dot in enumerate(dots) if dot is not None]
        filled = list(args)
        with torch.enable_grad():
            for index in active:
                filled[index] = args[index].expand(out.shape).detach().requires_grad_()
            leaves = [filled[index] for index in active]
            value = operation(*filled)
            slopes = torch.autograd.grad(
                value, leaves, torch.ones_like(value), create_graph=True, materialize_grads=True
            )
            bends = [
                torch.autograd.grad(
                    slope, leaves, torch.ones_like(slope), retain_graph=True, materialize_grads=True
                )
                if slope.requires_grad
                else [torch.zeros_like(leaf) for leaf in leaves]
                for slope in slopes
            ]
        blocks = [broadcast(dots[index], out.dim()) for index in active]
        total = torch.zeros(len(blocks[0]), dtype=torch.float64, device=out.device)
        for row, first in zip(bends, blocks, strict=True):
            for bend, second in zip(row, blocks, strict=True):
                total = total + inner_products(first * second, bend * adjoint)
        return total

    return term


for _operation in SMOOTH:
    if _operation not in STRAIGHT:
        CURVATURES[_operation] = elementwise(_operation)


def second_forward_mode(
    operation: Callable[..., Any],
    args: Sequence[Any],
    kwargs: dict[str, Any],
    dots: Sequence[Any],
    adjoint: Tensor,
) -> Tensor:
    """The term of any operation: forward mode twice along the same direction, mapped over K."""
    active = [index for index, dot in enumerate(dots) if isinstance(dot, Tensor)]

    def first_output(*values: Tensor) -> Any:
        filled = list(args)
        for index, value in zip(active, values, strict=True):
            filled[index] = value
        out = operation(*filled, **kwargs)
        return out if isinstance(out, Tensor) else out[0]

    def bend(*directions: Tensor) -> Any:
        def slope(*values: Tensor) -> Any:
            return torch.func.jvp(first_output, values, directions)[1]

        return torch.func.jvp(slope, tuple(args[i].contiguous() for i in active), directions)[1]

    return inner_products(torch.func.vmap(bend)(*(dots[i] for i in active)), adjoint)
