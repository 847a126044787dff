"""Softmax and the losses behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from landscape_fast.linearise.rules.registry import Tangent, rule

aten = torch.ops.aten


@rule(aten._log_softmax.default)
def _log_softmax(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    if dots[0] is None:
        return None
    dim = args[1] if args[1] < 0 else args[1] + 1
    return dots[0] - (dots[0] * out.exp()).sum(dim, keepdim=True)


@rule(aten._softmax.default, aten._safe_softmax.default)
def _softmax(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    dim = args[1] if args[1] < 0 else args[1] + 1
    weighted = dots[0] * out
    return torch.addcmul(weighted, out, weighted.sum(dim, keepdim=True), value=-1)


@rule(aten._softmax_backward_data.default)
def _softmax_backward(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    gradient, output, dim, _ = args
    behind = dim if dim < 0 else dim + 1
    total = None
    if dots[0] is not None:
        weighted = dots[0] * output
        total = torch.addcmul(weighted, output, weighted.sum(behind, keepdim=True), value=-1)
    if dots[1] is not None:
        inner = (gradient * output).sum(dim, keepdim=True)
        change = dots[1] * (gradient - inner)
        change.sub_(output * (dots[1] * gradient).sum(behind, keepdim=True))
        total = change if total is None else total.add_(change)
    return total


@rule(aten._log_softmax_backward_data.default)
def _log_softmax_backward(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    gradient, output, dim, _ = args
    behind = dim if dim < 0 else dim + 1
    p = output.exp()
    total = None
    if dots[0] is not None:
        total = dots[0] - p * dots[0].sum(behind, keepdim=True)
    if dots[1] is not None:
        change = p * dots[1] * gradient.sum(dim, keepdim=True)
        total = -change if total is None else total.sub_(change)
    return total


@rule(aten.nll_loss_forward.default, aten.nll_loss2d_forward.default)
def _nll(args: Sequence[Any], dots: Sequence[Any], out: Any) -> Any:
    forward = aten.nll_loss_forward if args[0].dim() < 3 else aten.nll_loss2d_forward
    return torch.vmap(lambda dot: forward.default(dot, *args[1:])[0])(dots[0]), None


@rule(aten.nll_loss_backward.default, aten.nll_loss2d_backward.default)
def _nll_backward(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Any:
    # Linear in the incoming gradient and independent of the log-probabilities themselves.
    return None if dots[0] is None else NotImplemented
