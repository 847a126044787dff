"""Losses that compare an output with a target entry by entry, then add or average.

All of them are ``reduce(phi(input, target))``, and their backward operations are ``phi'`` times the
incoming gradient: two derivatives in the input give every term. They are written out rather than
composed of absolute values and minima, whose derivatives are lost where the arguments meet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from landscape_fast.linearise.rules.registry import Tangent, added, rule

aten = torch.ops.aten
MEAN = 1  # as ATen counts reductions: none, mean, sum
NONE = 0

# (input, target, *parameters) -> first and second derivative in the input
Derivatives = Callable[..., tuple[Tensor, Tensor]]


def _squared(x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    return 2 * (x - target), torch.full_like(x, 2.0)


def _smooth(x: Tensor, target: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    apart = x - target
    if beta == 0:
        return apart.sign(), torch.zeros_like(apart)
    return (apart / beta).clamp(-1, 1), (apart.abs() < beta).to(x.dtype) / beta


def _huber(x: Tensor, target: Tensor, delta: float) -> tuple[Tensor, Tensor]:
    apart = x - target
    return apart.clamp(-delta, delta), (apart.abs() < delta).to(x.dtype)


def _margin(x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    miss = torch.sigmoid(-target * x)
    return -target * miss, target.square() * miss * (1 - miss)


def _binary(x: Tensor, target: Tensor, weight: Tangent) -> tuple[Tensor, Tensor]:
    spread = (x * (1 - x)).clamp_min(1e-12)  # the floor that the operation itself has
    slope = (x - target) / spread
    bend = (x.square() - 2 * target * x + target) / spread.square()
    return (slope, bend) if weight is None else (slope * weight, bend * weight)


def _binary_logits(
    x: Tensor, target: Tensor, weight: Tangent, positive: Tangent
) -> tuple[Tensor, Tensor]:
    p = torch.sigmoid(x)
    share = 1 if positive is None else 1 + (positive - 1) * target
    slope, bend = (1 - target) - share * (1 - p), share * p * (1 - p)
    return (slope, bend) if weight is None else (slope * weight, bend * weight)


def _scale(like: Tensor, reduction: int) -> float:
    return 1 / like.numel() if reduction == MEAN else 1.0


def _parameters(args: Sequence[Any], position: int) -> list[Any]:
    """All arguments of a loss but input, target and the reduction at ``position``."""
    return [item for index, item in enumerate(args) if index > 1 and index != position]


class _Loss:
    """Rules of one loss.

    Args:
        derivatives: In the input.
        reduction: Position of that argument.
        symmetric: Whether only the difference of input and target counts, so that both may move.
    """

    def __init__(self, derivatives: Derivatives, reduction: int, symmetric: bool) -> None:
        self._derivatives = derivatives
        self._position = reduction
        self._symmetric = symmetric

    def _moved(self, dots: Sequence[Any]) -> Any:
        """Tangent of the input, or of its difference from the target."""
        if any(dot is not None for dot in dots[1:]) and not self._symmetric:
            return NotImplemented
        if dots[1] is None:
            return dots[0]
        return -dots[1] if dots[0] is None else dots[0] - dots[1]

    def tangent(self, args: Sequence[Any], dots: Sequence[Any], _: Tensor) -> Any:
        """Tangent rule of the loss."""
        moved = self._moved(dots)
        if moved is NotImplemented:
            return moved
        slope, _ = self._derivatives(*args[:2], *_parameters(args, self._position))
        change = moved * slope
        if args[self._position] == NONE:
            return change
        return change.flatten(1).sum(1) * _scale(args[0], args[self._position])

    def curvature(
        self, args: Sequence[Any], dots: Sequence[Any], _: Tensor, adjoint: Tensor
    ) -> Any:
        """Second-order term of the loss."""
        moved = self._moved(dots)
        if moved is NotImplemented:
            return moved
        _, bend = self._derivatives(*args[:2], *_parameters(args, self._position))
        terms = moved.square() * (bend * adjoint)
        return terms.flatten(1).sum(1, dtype=torch.float64) * _scale(args[0], args[self._position])

    def backward(self, args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Any:
        """Tangent rule of the backward operation."""
        moved = self._moved(dots[1:])
        if moved is NotImplemented:
            return moved
        gradient, *rest = args
        slope, bend = self._derivatives(*rest[:2], *_parameters(rest, self._position))
        scale = _scale(rest[0], rest[self._position])
        total = None
        if dots[0] is not None:
            incoming = dots[0].reshape(len(dots[0]), *(gradient.shape or (1,) * out.dim()))
            total = incoming * (slope * scale)
        return total if moved is None else added(total, moved * (bend * gradient * scale), out)


LOSSES = {
    aten.mse_loss.default: _Loss(_squared, 2, True),
    aten.smooth_l1_loss.default: _Loss(_smooth, 2, True),
    aten.huber_loss.default: _Loss(_huber, 2, True),
    aten.soft_margin_loss.default: _Loss(_margin, 2, False),
    aten.binary_cross_entropy.default: _Loss(_binary, 3, False),
    aten.binary_cross_entropy_with_logits.default: _Loss(_binary_logits, 4, False),
}
_BACKWARDS = {
    aten.mse_loss_backward.default: aten.mse_loss.default,
    aten.smooth_l1_loss_backward.default: aten.smooth_l1_loss.default,
    aten.huber_loss_backward.default: aten.huber_loss.default,
    aten.soft_margin_loss_backward.default: aten.soft_margin_loss.default,
    aten.binary_cross_entropy_backward.default: aten.binary_cross_entropy.default,
}
for _operation, _loss in LOSSES.items():
    rule(_operation, reads="arguments")(_loss.tangent)
for _operation, _forward in _BACKWARDS.items():
    rule(_operation, reads="arguments")(LOSSES[_forward].backward)
