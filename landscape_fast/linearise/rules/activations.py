"""Activations whose operation has weights, more outputs, or no second derivative of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from landscape_fast.linearise.rules.forms import GELU_TANH, GELU_TANH_BACKWARD
from landscape_fast.linearise.rules.pointwise import elementwise
from landscape_fast.linearise.rules.registry import Tangent, added, broadcast, rule

aten = torch.ops.aten

for _operation in (
    GELU_TANH,
    GELU_TANH_BACKWARD,
    aten.celu.default,
    aten.mish.default,
):
    rule(_operation, reads="arguments")(elementwise(_operation))


def _mish_backward(gradient: Tensor, x: Tensor) -> Tensor:
    # The operation of this name has no derivative of its own in torch.
    t = torch.tanh(F.softplus(x))
    return gradient * (t + x * torch.sigmoid(x) * (1 - t * t))


rule(aten.mish_backward.default, reads="arguments")(elementwise(_mish_backward))

_log_sigmoid = elementwise(F.logsigmoid)
rule(aten.log_sigmoid_backward.default, reads="arguments")(
    elementwise(lambda gradient, x, _: gradient * torch.sigmoid(-x))
)


@rule(aten.log_sigmoid_forward.default)
def _log_sigmoid_forward(args: Sequence[Any], dots: Sequence[Any], out: Any) -> Any:
    # The second output is a buffer for the backward operation, whose rule does not read it.
    return _log_sigmoid(args, dots, out[0]), None


@rule(aten._prelu_kernel.default, reads="arguments")
def _prelu(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    x, weight = args
    up = x > 0
    total = None if dots[0] is None else dots[0] * torch.where(up, 1.0, weight)
    if dots[1] is None:
        return total
    return added(total, broadcast(dots[1], out.dim()) * torch.where(up, 0.0, x), out)


@rule(aten._prelu_kernel_backward.default, reads="arguments")
def _prelu_backward(args: Sequence[Any], dots: Sequence[Any], out: Any) -> Any:
    gradient, x, weight = args
    up = x > 0
    input_dot = weight_dot = None
    if dots[0] is not None:
        input_dot = dots[0] * torch.where(up, 1.0, weight)
        weight_dot = dots[0] * torch.where(up, 0.0, x)
    if dots[1] is not None:
        weight_dot = added(weight_dot, dots[1] * torch.where(up, 0.0, gradient))
    if dots[2] is not None:
        change = broadcast(dots[2], x.dim()) * torch.where(up, 0.0, gradient)
        input_dot = added(input_dot, change)
    return input_dot, weight_dot
