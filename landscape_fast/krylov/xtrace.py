"""The trace from vectors that each take their turn at being the random form of the rest."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from landscape_fast import _native
from landscape_fast.arguments import require_seed, require_whole
from landscape_fast.krylov.adapter import as_operator
from landscape_fast.krylov.allocation import require_bounds
from landscape_fast.krylov.hutchpp import (
    beside_sketch,
    is_all,
    of_columns,
    of_sketch,
    trace_result,
)
from landscape_fast.krylov.sketch import Sketch
from landscape_fast.results import Trace

FIRST = 8  # vectors of the first look


def xtrace(
    op: Any,
    *,
    rtol: float = 0.01,
    atol: float = 0.0,
    seed: int = 0,
    block: int = 8,
    max_products: int = 1000,
) -> Trace:
    r"""Estimate :math:`\operatorname{tr} A` by XTrace, enlarged until the error is small enough.

    Of m Gaussian vectors each in turn is left out: the others make an orthonormal basis Q of their
    products, on which the trace is exact, and the one left out, projected off Q, estimates the
    rest. The estimate is the mean of these m. Every product serves all of them, and for a spectrum
    that decays the error falls faster than that of any method of independent draws.

    The m estimates are exchangeable and each is unbiased, but they share vectors: their spread over
    the root of m, the leave-one-out error, is an indication and no proven standard error.
    ``docs/density.md`` says how often its interval held the truth. Memory is ``2 m n`` elements.

    Args:
        op: Symmetric operator on vectors of length n, or what
            :func:`~landscape_fast.krylov.adapter.as_operator` takes.
        rtol: Leave-one-out error wanted, relative to the estimate.
        atol: Leave-one-out error wanted, absolute; the looser of both ends the run.
        seed: Chooses the vectors. Vector i depends on ``(seed, i)`` alone, not on ``block``.
        block: Vectors sent through ``op`` together.
        max_products: Bound on products, two per vector, at least 4.

    Returns:
        Value, leave-one-out error as ``stderr``, and the m estimates as ``draws``. Exact, with
        error zero, when A is of rank below m, and when n products with unit vectors cost no more
        than the next enlargement.

    Raises:
        ValueError: An argument is out of range.

    References:
        Epperly, Tropp and Webber (2024), doi:10.1137/23M1548323.

    Example:
        >>> from landscape_fast.krylov.operator import DenseOperator
        >>> decaying = torch.diag(0.5 ** torch.arange(200.0).double())
        >>> found = xtrace(DenseOperator(decaying), rtol=1e-3)
        >>> abs(found.value - 2) < 4e-3, found.products
        (True, 32)
    """
    require_bounds(rtol, atol, max_products, fewest=4)
    require_whole(1, block=block)
    require_seed(seed)
    op = as_operator(op)
    n = op.shape[0]
    sketch = Sketch(op, seed=seed, block=block)
    wanted = min(FIRST, max_products // 2)
    while True:
        if n <= min(2 * (wanted - sketch.drawn), max_products - sketch.products):
            return of_columns(op, block, sketch.products)
        sketch.grow(wanted - sketch.drawn)
        if is_all(sketch, rtol, atol):
            return of_sketch(op, sketch)
        if sketch.complete:  # no vector can be left out of the basis: some added nothing to it
            return beside_sketch(op, sketch, rtol, atol, max_products, block)
        draws = _left_out(sketch, block)
        value, stderr = float(draws.mean()), float(draws.std()) / math.sqrt(len(draws))
        converged = stderr <= max(rtol * abs(value), atol)
        following = min(2 * wanted, max_products // 2)
        if converged or following <= wanted:
            return trace_result(op, draws, sketch, converged=converged)
        wanted = following


def _left_out(sketch: Sketch, block: int) -> Tensor:
    """Estimates (m,) of the trace, each from a basis without one of the vectors and that vector."""
    m, n = sketch.rows.shape
    inside, crossed, norms = [], [], []
    for first in range(0, m, block):
        gaussians = sketch.gaussians(first, min(block, m - first))
        inside.append(_native.block_dots(gaussians, sketch.rows).cpu())
        crossed.append(_native.block_dots(gaussians, sketch.images).cpu())
        norms.append(_native.row_dots(gaussians, gaussians).cpu())
    # One vector per row: w = Q omega, t = A Q omega, r its column of R, h = Q A Q^T.
    w, t, squares = torch.cat(inside), torch.cat(crossed), torch.cat(norms)
    r, h = sketch.factor.T, sketch.core
    # Row i of the inverse of R is the direction of Q that vector i alone spans.
    s = torch.linalg.solve_triangular(sketch.factor, torch.eye(m, dtype=torch.float64), upper=True)
    s = s / s.norm(dim=1, keepdim=True)
    own = (s * w).sum(1)
    u = w - own[:, None] * s
    form = (w * r).sum(1) - (u * (t + r)).sum(1) + ((u @ h) * u).sum(1)
    square = squares - w.square().sum(1) + own.square()
    low_rank = h.trace() - ((s @ h) * s).sum(1)
    return low_rank + (n - m + 1) * form / square.clamp_min(torch.finfo(torch.float64).eps * n)
