"""A two-layer network whose data of different magnitudes give the loss different scales."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from landscape_fast.arguments import require_number, require_switch, require_whole
from landscape_fast.multiscale.scalar import ScalarLoss


@dataclass(frozen=True, slots=True, kw_only=True)
class MagnitudeProblem:
    r"""A network at a minimum of loss 0, its data, and what its loss does along a line from there.

    Along ``direction`` the loss is :math:`L(t) = \frac1d \mathrm{mean}_i\, w \tanh^2 (r_i t / \sqrt
    w)`: a sample of magnitude r is quadratic up to :math:`\sqrt w / r`, and level beyond.
    """

    model: nn.Module  # two layers, the second frozen; its first layer is 0
    data: list[tuple[Tensor, Tensor]]  # one batch, targets 0
    criterion: nn.Module
    direction: Tensor  # (n,) float64, unit vector: all hidden units alike, along the first input
    scales: tuple[tuple[float, float], ...]  # (radius, curvature) predicted, from the centre out
    line: ScalarLoss  # the loss along `direction`


def magnitude_problem(
    magnitudes: Tensor | Sequence[float],
    *,
    inputs: int = 1,
    width: int = 16,
    linear: bool = False,
) -> MagnitudeProblem:
    r"""Build a two-layer problem out of samples of the given magnitudes.

    The network is :math:`f(x) = \sum_j a_j \tanh(w_j \cdot x)` with fixed
    :math:`a_j = \pm 1 / \sqrt{\text{width}}`, on samples :math:`r_i e_k` for every magnitude and
    every axis, all with target 0 and squared loss; :math:`w = 0` is a minimum. A sample of
    magnitude r adds curvature of order :math:`r^2` near the minimum and none beyond a distance of
    order 1 / r, where the network is saturated, so:

    - few separate magnitudes give separate scales, plateaus of effective curvature at ``scales``:
      one for each magnitude, with the samples of that magnitude and all smaller ones;
    - magnitudes of density :math:`r^{-\alpha}`, 1 < alpha < 3, give growth with exponent
      :math:`\alpha - 1`, below 2: :math:`\int \phi(r t)\, r^{-\alpha} dr = t^{\alpha - 1} \int
      \phi(u)\, u^{-\alpha} du`;
    - a linear network on the same data gives neither.

    Args:
        magnitudes: r > 0 of every sample (N,); see :func:`power_law_magnitudes`.
        inputs: d, axes of the inputs; the data have N d rows.
        width: Hidden units.
        linear: Whether tanh is left out, as a control.

    Returns:
        Model and data in float64, the predicted scales, and the loss of one parameter that descent
        from a point of the line sees.

    Raises:
        ValueError: A magnitude is not positive and finite, or a number is below 1.

    References:
        Ma, Kunin, Wu and Ying (2022), doi:10.4208/jml.220404, for the claim that data of different
        magnitudes in a two-layer problem give the loss different scales; this network and its
        closed form are this package's own.

    Example:
        >>> problem = magnitude_problem([100.0, 1.0])
        >>> [round(curvature) for _, curvature in problem.scales]
        [10001, 1]
    """
    r = torch.as_tensor(magnitudes, dtype=torch.float64).reshape(-1)
    if not len(r) or not bool((r.isfinite() & (r > 0)).all()):
        raise ValueError("magnitudes must be positive and finite, at least one")
    require_whole(1, inputs=inputs, width=width)
    require_switch(linear=linear)
    signs = 1.0 - 2.0 * (torch.arange(width, dtype=torch.float64) % 2)
    first = nn.Linear(inputs, width, bias=False, dtype=torch.float64)
    second = nn.Linear(width, 1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        first.weight.zero_()
        second.weight.copy_(signs / math.sqrt(width))
    second.weight.requires_grad_(False)
    x = (r[:, None, None] * torch.eye(inputs, dtype=torch.float64)).reshape(-1, inputs)
    direction = torch.zeros(width, inputs, dtype=torch.float64)
    direction[:, 0] = signs / math.sqrt(width)
    return MagnitudeProblem(
        model=nn.Sequential(first, nn.Identity() if linear else nn.Tanh(), second),
        data=[(x, torch.zeros(len(x), 1, dtype=torch.float64))],
        criterion=nn.MSELoss(),
        direction=direction.reshape(-1),
        scales=_scales(r, inputs, width, linear=linear),
        line=_line(r.numpy(), inputs, width, linear=linear),
    )


def power_law_magnitudes(count: int, alpha: float, *, low: float, high: float) -> Tensor:
    r"""Magnitudes (count,) of density :math:`r^{-\alpha}` from ``low`` to ``high``: its quantiles.

    Args:
        count: How many.
        alpha: 1 is uniform in the logarithm.
        low: Smallest.
        high: Largest.

    Raises:
        ValueError: ``count`` is below 1, or not 0 < low < high.

    Example:
        >>> power_law_magnitudes(2, 1.0, low=1.0, high=16.0)
        tensor([2., 8.], dtype=torch.float64)
    """
    require_whole(1, count=count)
    require_number(alpha=alpha)
    if not 0 < low < high < math.inf:
        raise ValueError(f"low and high must be 0 < low < high, got {low} and {high}")
    share = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    power = 1.0 - alpha
    if power == 0:
        return low * (high / low) ** share
    return (low**power + share * (high**power - low**power)) ** (1 / power)


def _scales(r: Tensor, inputs: int, width: int, *, linear: bool) -> tuple[tuple[float, float], ...]:
    """Where each magnitude saturates, and the curvature of all samples up to it."""
    ordered = r.sort().values
    sums = (2.0 * ordered.square() / (inputs * len(r))).cumsum(0)
    if linear:
        return ((math.inf, float(sums[-1])),)
    different, counts = ordered.unique_consecutive(return_counts=True)
    up_to = sums[counts.cumsum(0) - 1]
    return tuple(zip((math.sqrt(width) / different).tolist(), up_to.tolist(), strict=True))[::-1]


def _line(r: np.ndarray, inputs: int, width: int, *, linear: bool) -> ScalarLoss:
    root, squares = math.sqrt(width), 2.0 * r**2 / (inputs * len(r))
    if linear:
        total = float(squares.sum())
        return ScalarLoss(
            lambda t: total * t**2 / 2, lambda t: total * t, lambda t: np.full_like(t, total)
        )

    def tanh(t: np.ndarray) -> np.ndarray:
        return np.tanh(np.multiply.outer(t, r) / root)

    def slope(t: np.ndarray) -> np.ndarray:
        u = tanh(t)
        return (u * (1 - u**2)) @ (squares / r) * root

    return ScalarLoss(
        value=lambda t: (tanh(t) ** 2).sum(-1) * width / (inputs * len(r)),
        slope=slope,
        curvature=lambda t: ((1 - tanh(t) ** 2) * (1 - 3 * tanh(t) ** 2)) @ squares,
    )
