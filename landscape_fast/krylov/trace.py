"""The trace from random quadratic forms, with a standard error that decides when to stop."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from landscape_fast import _native
from landscape_fast.arguments import require_seed, require_whole
from landscape_fast.krylov.adapter import as_operator
from landscape_fast.krylov.allocation import Estimated, Part, require_bounds, sum_until
from landscape_fast.results import Trace


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
    require_bounds(rtol, atol, max_products)
    require_whole(1, block=block)
    require_seed(seed)
    op = as_operator(op)

    def draw(first: int, count: int) -> Tensor:
        signs = torch.empty(count, op.shape[0], dtype=op.dtype, device=op.device)
        _native.signs_(signs, seed, first_row=first)
        return _native.row_dots(signs, op(signs)).cpu()[:, None]

    drawn = sum_until(
        [Part(draw, 1.0, block)],
        rtol=rtol,
        atol=atol,
        max_products=max_products,
    )
    found = Estimated(drawn.draws)
    return Trace(
        value=found.value,
        stderr=math.sqrt(found.variance),
        draws=drawn.draws[0][:, 0],
        converged=drawn.converged,
        products=len(drawn.draws[0]),
        samples=op.samples,
    )
