"""Two ways of computing one thing must agree: the measures of how well they do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from landscape_fast import _native
from landscape_fast.linearise.capture import LossInputs
from landscape_fast.linearise.objective import Objective
from landscape_fast.linearise.second_derivative import Tangents, custom_functions, double_backward
from landscape_fast.linearise.structure import map_tensors, rows

SEPARATE = 1e-10  # relative rounding allowed in float64 where two ways of computing must agree
SETTLED = 0.01  # relative difference of two difference quotients that have found a derivative


def spread_rows(batch: Any) -> Any:
    """At most eight rows from all over ``batch``; the first alone may be of one kind."""
    count = rows(batch)
    if not count:
        return batch
    chosen = torch.linspace(0, count - 1, min(8, count)).round().long()
    return map_tensors(lambda leaf: leaf[chosen.to(leaf.device)] if leaf.dim() else leaf, batch)


def worst(*errors: float) -> float:
    """The largest error; nan is worse than any."""
    return max(errors, key=lambda error: math.inf if math.isnan(error) else error)


def by_vector(block: Tensor) -> Tensor:
    """Sums (K,) of a block (K, ...), also of parameters without a dimension or an entry."""
    return block.reshape(len(block), block[:1].numel()).sum(1)


def finite(products: Tensor) -> Tensor:
    """``products``, a block or a vector, if all of it is finite.

    Raises:
        FloatingPointError: It is not.
    """
    # Squares of finite float32 numbers are finite in float64, and one pass adds them up.
    sizes = _native.row_dots(products, products) if products.dim() == 2 else products
    if not torch.isfinite(sizes).all():
        raise FloatingPointError("a product is not finite; see loss, data and dtype")
    return products


def form_error(forms: Tensor, dots: Sequence[Tensor], products: Tangents) -> float:
    """Error of quadratic forms against products, relative to what rounding of these allows."""
    exact, scale = torch.zeros_like(forms), torch.zeros_like(forms)
    for dot, product in zip(dots, products, strict=True):
        if product is not None:
            exact += by_vector(dot * product)
            scale += by_vector((dot * product).abs())
    return float(((forms - exact).abs() / scale.clamp_min(1e-300)).max())


def relative_error(ours: Sequence[Tensor | None], exact: Sequence[Tensor | None]) -> float:
    """Largest difference relative to the largest entry of ``exact``; None is zero."""
    largest, scale = 0.0, 0.0
    for one, other in zip(ours, exact, strict=True):
        if one is None and other is None:
            continue
        like = other if other is not None else one
        assert like is not None
        zero = torch.zeros_like(like)
        one, other = zero if one is None else one, zero if other is None else other
        largest = worst(largest, float((one - other).abs().max()))
        scale = max(scale, float(other.abs().max()))
    return largest / scale if scale > 0 else largest


def derivative_error(
    inputs: LossInputs, objective: Objective, batch: Any, parameters: int
) -> tuple[float, list[str]]:
    """Error of double backward against differences of the gradient, in float64.

    A custom Function whose backward leaves the graph has silently wrong second derivatives.
    The smallest error over shrinking steps counts, so that kinks within the longer ones do not, and
    only if two steps agree on the derivative: a kink right at these parameters (a relu whose input
    is exactly zero) makes the differences grow without end, and then nothing is shown.

    Returns:
        The relative error, and the names of the custom Functions of the loss.
    """
    few = spread_rows(batch)
    values = inputs.gather(few, torch.float64)
    starts, others = values[:parameters], values[parameters:]
    generator = torch.Generator().manual_seed(2)
    direction = [
        torch.randn(start.shape, generator=generator, dtype=torch.float64).to(start.device)
        for start in starts
    ]

    def value_at(step: float) -> tuple[Tensor, list[Tensor]]:
        leaves = [
            (start + step * part).requires_grad_()
            for start, part in zip(starts, direction, strict=True)
        ]
        return inputs.call(objective, few, [*leaves, *others]), leaves

    with torch.enable_grad():
        value, leaves = value_at(0.0)
        functions = custom_functions(value)
        exact = double_backward(value, leaves, [part[None] for part in direction])
        found: list[Tangents] = []
        # A large network has kinks within the longer steps whatever the direction; rounding leaves
        # several digits even to the shortest.
        for step in (1e-4, 1e-6, 1e-8, 1e-10):
            sides = [
                torch.autograd.grad(*value_at(signed), materialize_grads=True)
                for signed in (step, -step)
            ]
            found.append(
                [(one - other)[None] / (2 * step) for one, other in zip(*sides, strict=True)]
            )
    errors = [relative_error(slopes, exact) for slopes in found]
    settled = any(relative_error(*pair) < SETTLED for pair in pairwise(found))
    return min(errors) if settled else 0.0, functions
