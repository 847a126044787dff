"""Forms of operations that rules can serve: keyword-only arguments and rare operations are gone.

A rule sees the positional arguments of its operation only. What a keyword-only argument changes is
therefore written as another operation, when a program is traced or right after.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

aten = torch.ops.aten

# Decide where and how a value is stored, not what it is.
_STORAGE = {"layout", "device", "pin_memory", "memory_format", "dtype", "non_blocking"}


@dataclass(frozen=True)
class Worded:
    """An operation with keyword-only arguments that change its result."""

    operation: Any
    keywords: tuple[tuple[str, Any], ...]

    @property
    def __name__(self) -> str:
        """For the code that a graph writes of itself."""
        return str(self.operation.__name__)

    def __call__(self, *args: Any) -> Any:
        """Call the operation with its keywords."""
        return self.operation(*args, **dict(self.keywords))

    def __str__(self) -> str:
        return f"{self.operation}({', '.join(f'{key}={value}' for key, value in self.keywords)})"


GELU_TANH = Worded(aten.gelu.default, (("approximate", "tanh"),))
GELU_TANH_BACKWARD = Worded(aten.gelu_backward.default, (("approximate", "tanh"),))


def positional(node: fx.Node) -> None:
    """Give ``node`` all arguments that rules read by position, and none by keyword alone."""
    target = node.target
    if not isinstance(target, torch._ops.OpOverload):
        return
    told_by_name = dict(node.kwargs)
    for argument in target._schema.arguments[len(node.args) :]:
        if argument.kwarg_only:
            break
        given = told_by_name.pop(argument.name, argument.default_value)
        node.args = (*node.args, given)
    node.kwargs = told_by_name
    defaults = {a.name: a.default_value for a in target._schema.arguments if a.kwarg_only}
    told = tuple(
        (key, value)
        for key, value in node.kwargs.items()
        if key in defaults and key not in _STORAGE and value != defaults[key]
    )
    if told:
        node.target = Worded(target, told)
        node.kwargs = {k: v for k, v in node.kwargs.items() if k not in dict(told)}


def _sum(first: Any, second: Any, *, alpha: Any = 1) -> Any:
    return NotImplemented if alpha == 1 else first + alpha * second


def _difference(first: Any, second: Any, *, alpha: Any = 1) -> Any:
    return NotImplemented if alpha == 1 else first - alpha * second


def _reversed_difference(first: Tensor, second: Any, *, alpha: Any = 1) -> Any:
    return torch.sub(second, first, alpha=alpha)


def _plus_product(bias: Tensor, first: Tensor, second: Tensor, *, value: Any = 1) -> Tensor:
    product = first * second
    return bias + (product if value == 1 else value * product)


def _plus_quotient(bias: Tensor, first: Tensor, second: Tensor, *, value: Any = 1) -> Tensor:
    quotient = first / second
    return bias + (quotient if value == 1 else value * quotient)


def _affine(product: Callable[..., Tensor]) -> Callable[..., Any]:
    """``beta * bias + alpha * a b`` as product, scale and sum."""

    def decomposed(
        bias: Tensor, first: Tensor, second: Tensor, *, beta: Any = 1, alpha: Any = 1
    ) -> Any:
        total = product(first, second)
        total = total if alpha == 1 else alpha * total
        return total if beta == 0 else total + (bias if beta == 1 else beta * bias)

    return decomposed


def _addmm(bias: Tensor, first: Tensor, second: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Any:
    if alpha == 1 and beta == 1:
        return NotImplemented
    return _affine(torch.mm)(bias, first, second, beta=beta, alpha=alpha)


def _matrix_vector(matrix: Tensor, vector: Tensor) -> Tensor:
    return torch.mm(matrix, vector[:, None]).squeeze(1)


def _inner_product(first: Tensor, second: Tensor) -> Any:
    return NotImplemented if first.is_complex() else (first * second).sum()


def _overwritten(x: Tensor, values: Tensor, non_blocking: bool = False) -> Tensor:
    return values.to(x.dtype).expand(x.shape).clone()


def _gated(x: Tensor, dim: int = -1) -> Tensor:
    value, gate = x.chunk(2, dim)
    return value * torch.sigmoid(gate)


def _gated_backward(gradient: Tensor, x: Tensor, dim: int) -> Tensor:
    value, gate = x.chunk(2, dim)
    open_ = torch.sigmoid(gate)
    return torch.cat([gradient * open_, gradient * value * open_ * (1 - open_)], dim)


def _variance(
    x: Tensor, dim: Any = None, *, correction: Any = None, keepdim: bool = False
) -> Tensor:
    over = list(range(x.dim())) if not dim else [dim] if isinstance(dim, int) else dim
    count = 1
    for axis in over:
        count *= x.shape[axis]
    freedom = count - (1 if correction is None else correction)
    centred = x - x.mean(over, keepdim=True)
    return (centred * centred).sum(over, keepdim=keepdim) / max(freedom, 0)


def _deviation(
    x: Tensor, dim: Any = None, *, correction: Any = None, keepdim: bool = False
) -> Tensor:
    return _variance(x, dim, correction=correction, keepdim=keepdim).sqrt()


def _shuffled(x: Tensor, factor: int) -> Tensor:
    *lead, channels, height, width = x.shape
    x = x.reshape(*lead, channels // factor**2, factor, factor, height, width)
    n = len(lead)
    x = x.permute(*range(n), n, n + 3, n + 1, n + 4, n + 2)
    return x.reshape(*lead, channels // factor**2, height * factor, width * factor)


def _unshuffled(x: Tensor, factor: int) -> Tensor:
    *lead, channels, height, width = x.shape
    x = x.reshape(*lead, channels, height // factor, factor, width // factor, factor)
    n = len(lead)
    x = x.permute(*range(n), n, n + 2, n + 4, n + 1, n + 3)
    return x.reshape(*lead, channels * factor**2, height // factor, width // factor)


# How operations are traced that are rare, or whose keyword-only arguments change the result.
DECOMPOSED: dict[Any, Callable[..., Any]] = {
    aten.add.Tensor: _sum,
    aten.sub.Tensor: _difference,
    aten.rsub.Tensor: _reversed_difference,
    aten.addcmul.default: _plus_product,
    aten.addcdiv.default: _plus_quotient,
    aten.addmm.default: _addmm,
    aten.baddbmm.default: _affine(torch.bmm),
    aten.addbmm.default: _affine(lambda first, second: torch.bmm(first, second).sum(0)),
    aten.addmv.default: _affine(_matrix_vector),
    aten.mv.default: _matrix_vector,
    aten.dot.default: _inner_product,
    aten.vdot.default: _inner_product,
    aten.copy.default: _overwritten,
    aten.glu.default: _gated,
    aten.glu_backward.default: _gated_backward,
    aten.var.correction: _variance,
    aten.std.correction: _deviation,
    aten.pixel_shuffle.default: _shuffled,
    aten.pixel_unshuffle.default: _unshuffled,
}
