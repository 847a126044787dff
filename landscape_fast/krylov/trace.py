"""The trace from random quadratic forms, with a standard error that decides when to stop."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from landscape_fast import _native
from landscape_fast.krylov.adapter import as_operator
from landscape_fast.results import Trace

PILOT_DRAWS = 16  # a standard error from fewer draws is too unsure to stop on


def hutchinson(
    op: Any,
    *,
    rtol: float = 0.01,
    atol: float = 0.0,
    seed: int = 0,
    block: int = 8,
    max_products: int = 1000,
) -> Trace:
    r"""Estimate :math:`\operatorname{tr} A` from random sign vectors.

    Averages :math:`z_i^\top A z_i` over sign vectors :math:`z_i`. The mean is unbiased for any
    square A; for a symmetric one a draw has variance
    :math:`2 (\lVert A \rVert_F^2 - \sum_j A_{jj}^2)`.

    Args:
        op: Symmetric operator on vectors of length n, or what
            :func:`~landscape_fast.krylov.adapter.as_operator` takes.
        rtol: Standard error wanted, relative to the estimate.
        atol: Standard error wanted, absolute; the looser of both ends the run.
        seed: Chooses the sign vectors. Draw i depends on ``(seed, i)`` alone: not on ``block``.
        block: Vectors sent through ``op`` together. Trades memory for speed.
        max_products: Bound on draws, one product each.

    Returns:
        The mean, its standard error and the draws; ``converged`` says whether it met rtol or atol.

    Raises:
        ValueError: An argument is out of range.

    References:
        Hutchinson (1989), doi:10.1080/03610918908812806. Girard (1989), doi:10.1007/BF01395775.

    Example:
        Sign vectors read a diagonal exactly:

        >>> from landscape_fast.krylov.operator import DenseOperator
        >>> op = DenseOperator(torch.diag(torch.tensor([1.0, 2.0, 4.0])))
        >>> hutchinson(op, seed=0).value
        7.0
    """
    op = as_operator(op)

    def draw(first: int, count: int) -> Tensor:
        signs = torch.empty(count, op.shape[0], dtype=op.dtype, device=op.device)
        _native.signs_(signs, seed, first_row=first)
        return _native.row_dots(signs, op(signs)).cpu()

    return mean_until(
        draw, rtol=rtol, atol=atol, block=block, max_products=max_products, samples=op.samples
    )


def mean_until(
    draw: Callable[[int, int], Tensor],
    *,
    rtol: float,
    atol: float,
    block: int,
    max_products: int,
    samples: int,
) -> Trace:
    """Average independent unbiased draws until the standard error is small enough.

    Args:
        draw: ``draw(first, count)`` returns draws ``first .. first + count - 1``, (count,) float64,
            at the price of one product each.
        rtol: Standard error wanted, relative to the mean.
        atol: Standard error wanted, absolute.
        block: Draws asked for at once.
        max_products: Bound on draws.
        samples: Rows of data, for the result.
    """
    require_bounds(rtol, atol, max_products)
    if block < 1:
        raise ValueError(f"block must be at least 1, got {block}")
    draws = torch.empty(0, dtype=torch.float64)
    wanted = min(PILOT_DRAWS, max_products)
    while True:
        while len(draws) < wanted:
            draws = torch.cat([draws, draw(len(draws), min(block, wanted - len(draws)))])
        value, stderr = float(draws.mean()), float(draws.std()) / math.sqrt(len(draws))
        allowed = max(rtol * abs(value), atol)
        if stderr <= allowed or len(draws) >= max_products:
            return Trace(
                value=value,
                stderr=stderr,
                draws=draws,
                converged=stderr <= allowed,
                products=len(draws),
                samples=samples,
            )
        # Few, large looks at the data: stopping at the first lucky look would bias the error down.
        needed = len(draws) * (stderr / allowed) ** 2 if allowed > 0 else math.inf
        wanted = int(
            min(max_products, max(1.25 * len(draws), min(1.1 * needed, 4 * len(draws))) + 1)
        )


def require_bounds(rtol: float, atol: float, max_products: float) -> None:
    """Check what ends a run of draws.

    Raises:
        ValueError: An argument is out of range.
    """
    if not rtol >= 0 or not atol >= 0:
        raise ValueError(f"rtol and atol must not be negative, got {rtol} and {atol}")
    if max_products < 2:
        raise ValueError(f"max_products must be at least 2, got {max_products}")
