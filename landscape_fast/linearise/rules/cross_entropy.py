"""Softmax cross-entropy: gradient in the logits and curvature, one native pass over a block.

With row weights a and probabilities p the Hessian of the loss in a row's logits is
``a (diag p - p p^T)``, whatever class weights, ignored targets or smoothing made a.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from landscape_fast import _native
from landscape_fast.linearise.rules.curvature import CURVATURES
from landscape_fast.linearise.rules.layers import served
from landscape_fast.linearise.rules.registry import Tangent, added, rule

aten = torch.ops.aten


def softmax_gradient(gradient: Tensor, logits: Tensor) -> Tensor:
    """Gradient in the logits from that in the log-probabilities, classes last."""
    return gradient - logits.softmax(-1) * gradient.sum(-1, keepdim=True)


@rule(softmax_gradient, reads="arguments")
def _softmax_gradient(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    gradient, logits = args
    p = logits.softmax(-1)
    total = None
    if dots[0] is not None:
        total = dots[0] - p * dots[0].sum(-1, keepdim=True)
    if dots[1] is None:
        return total
    weight = -gradient.sum(-1)
    if not served(logits):
        weighted = dots[1] * p
        bent = weight[..., None] * (weighted - p * weighted.sum(-1, keepdim=True))
        return added(total, bent)
    dot = _rows(dots[1])
    classes = logits.shape[-1]
    bent = _native.softmax_tangent_(
        p.reshape(-1, classes).contiguous(), dot, weight.reshape(-1), torch.empty_like(dot)
    )
    return added(total, bent.reshape(dots[1].shape))


def _rows(block: Tensor) -> Tensor:
    """(K, ..., C) as (K, R, C), contiguous."""
    return block.contiguous().reshape(len(block), -1, block.shape[-1])


_plain = CURVATURES[aten._log_softmax.default]


def _log_softmax(args: Sequence[Any], dots: Sequence[Any], out: Tensor, adjoint: Tensor) -> Any:
    if args[1] not in (-1, out.dim() - 1) or not served(out):
        return _plain(args, dots, out, adjoint)
    p = out.exp().reshape(-1, out.shape[-1])
    weight = -adjoint.sum(-1).reshape(-1)
    return _native.softmax_quadratic(p, _rows(dots[0]), weight)


CURVATURES[aten._log_softmax.default] = _log_softmax
