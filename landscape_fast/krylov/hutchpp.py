"""The trace from a low-rank part that is exact and random quadratic forms of the rest."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from landscape_fast import _native
from landscape_fast.arguments import require_seed, require_whole
from landscape_fast.krylov.adapter import as_operator
from landscape_fast.krylov.allocation import require_bounds
from landscape_fast.krylov.operator import SymmetricOperator
from landscape_fast.krylov.sketch import Sketch, trace_by_columns
from landscape_fast.results import Trace

FIRST = 16  # vectors of the first look: an error from fewer is too unsure to stop on
ROUNDING = 16  # machine epsilons of the low-rank part that a result may be off by
_FORMS = 2**60  # where the rows of the second set of Gaussians begin


def hutchpp(
    op: Any,
    *,
    rtol: float = 0.01,
    atol: float = 0.0,
    seed: int = 0,
    block: int = 8,
    max_products: int = 1000,
) -> Trace:
    r"""Estimate :math:`\operatorname{tr} A` by Hutch++, enlarged until the error is small enough.

    With Q an orthonormal basis of A times k Gaussian vectors, and k more of them g projected off Q,

    .. math:: \operatorname{tr} A = \operatorname{tr} Q^\top A Q
              + \mathbb{E} \, (n - k) \, \frac{x^\top A x}{x^\top x}, \quad x = (I - Q Q^\top) g .

    Given Q the draws are independent and unbiased, of a matrix without the k largest directions:
    the error falls as 1/products for any positive semidefinite A, and with the tail of the spectrum
    where that decays. Doubling k keeps all products made before.

    Of 3 k products 2 k make the basis. For an operator whose trace is spread evenly over its
    eigenvalues they are wasted and :func:`~landscape_fast.krylov.trace.hutchinson` is better.
    :func:`~landscape_fast.krylov.xtrace.xtrace` needs fewer products for the same error; here the
    standard error is that of independent draws. Memory is ``3 k n`` elements.

    Args:
        op: Symmetric operator on vectors of length n, or what
            :func:`~landscape_fast.krylov.adapter.as_operator` takes.
        rtol: Standard error wanted, relative to the estimate.
        atol: Standard error wanted, absolute; the looser of both ends the run.
        seed: Chooses the vectors. Vector i depends on ``(seed, i)`` alone, not on ``block``.
        block: Vectors sent through ``op`` together.
        max_products: Bound on products, at least 6.

    Returns:
        Value, standard error and draws. Exact, with error zero, when A is of rank below k, and when
        n products with unit vectors cost no more than the next enlargement.

    Raises:
        ValueError: An argument is out of range.

    References:
        Meyer, Musco, Musco and Woodruff (2021), arXiv:2010.09649.
        Epperly, Tropp and Webber (2024), normalisation of x, doi:10.1137/23M1548323.

    Example:
        >>> from landscape_fast.krylov.operator import DenseOperator
        >>> low_rank = torch.zeros(100, 100).double()
        >>> low_rank[0, 0], low_rank[1, 1] = 3.0, -1.0
        >>> found = hutchpp(DenseOperator(low_rank))
        >>> round(found.value, 9), found.stderr, found.products
        (2.0, 0.0, 18)
    """
    require_bounds(rtol, atol, max_products, fewest=6)
    require_whole(1, block=block)
    require_seed(seed)
    op = as_operator(op)
    n = op.shape[0]
    sketch = Sketch(op, seed=seed, block=block)
    products = torch.empty(0, n, dtype=op.dtype, device=op.device)  # A g
    wanted = min(FIRST, max_products // 3)
    while True:
        if n <= min(3 * (wanted - sketch.drawn), max_products - sketch.products):
            return of_columns(op, block, sketch.products)
        sketch.grow(wanted - sketch.drawn)
        if is_all(sketch, rtol, atol):
            return of_sketch(op, sketch)
        fresh = sketch.gaussians(_FORMS + len(products), wanted - len(products))
        products = torch.cat([products, sketch.apply(fresh)])
        draws = float(sketch.core.trace()) + _forms(sketch, products, block)
        value, stderr = float(draws.mean()), float(draws.std()) / math.sqrt(len(draws))
        converged = stderr <= max(rtol * abs(value), atol)
        following = min(2 * wanted, max_products // 3)
        if converged or following <= wanted:
            return trace_result(op, draws, sketch, converged=converged)
        wanted = following


def _forms(sketch: Sketch, products: Tensor, block: int) -> Tensor:
    """``(n - q) x^T A x / x^T x`` of every Gaussian projected off Q, from ``A g`` and ``A Q``."""
    found = []
    n, left = sketch.rows.shape[1], sketch.rows.shape[1] - len(sketch.rows)
    for first in range(0, len(products), block):
        images = products[first : first + block]
        gaussians = sketch.gaussians(_FORMS + first, len(images))
        inside = _native.block_dots(gaussians, sketch.rows).cpu()  # g Q^T
        crossed = _native.block_dots(gaussians, sketch.images).cpu()  # g A Q^T
        whole = _native.row_dots(gaussians, images).cpu()
        form = whole - 2 * (inside * crossed).sum(1) + ((inside @ sketch.core) * inside).sum(1)
        norms = _native.row_dots(gaussians, gaussians).cpu() - inside.square().sum(1)
        found.append(left * form / norms.clamp_min(torch.finfo(torch.float64).eps * n))
    return torch.cat(found)


def beside_sketch(
    op: SymmetricOperator,
    sketch: Sketch,
    rtol: float,
    atol: float,
    max_products: int,
    block: int,
) -> Trace:
    """The trace from a ``sketch`` that grows no more, and as many forms of the rest as it takes."""
    products = torch.empty(0, op.shape[0], dtype=op.dtype, device=op.device)
    wanted = FIRST
    while True:
        count = max(2 - len(products), min(wanted - len(products), max_products - sketch.products))
        fresh = sketch.gaussians(_FORMS + len(products), count)
        products = torch.cat([products, sketch.apply(fresh)])
        draws = float(sketch.core.trace()) + _forms(sketch, products, block)
        found = trace_result(op, draws, sketch, converged=False)
        if found.stderr <= max(rtol * abs(found.value), atol):
            return replace(found, converged=True)
        if sketch.products >= max_products:
            return found
        wanted *= 2


def trace_result(op: SymmetricOperator, draws: Tensor, sketch: Sketch, *, converged: bool) -> Trace:
    """The mean of several draws, with what rounding of the low-rank part may add."""
    return Trace(
        value=float(draws.mean()),
        stderr=float(draws.std()) / math.sqrt(len(draws)),
        draws=draws,
        converged=converged,
        products=sketch.products,
        samples=op.samples,
        rounding=_rounding(op, sketch.size),
    )


def is_all(sketch: Sketch, rtol: float, atol: float) -> bool:
    """Whether what a ``sketch`` leaves out of the trace is less than the error wanted, if any is.

    Directions that vanish to rounding one by one may count together, where there are many.
    """
    allowed = max(rtol * sketch.size, atol)
    return sketch.complete and (allowed == 0 or sketch.omitted <= allowed)


def of_sketch(op: SymmetricOperator, sketch: Sketch) -> Trace:
    """A trace without a random part, of a ``sketch`` that spans the range."""
    rounding = _rounding(op, sketch.size) + sketch.omitted
    return _exact(op, float(sketch.core.trace()), sketch.products, rounding)


def of_columns(op: SymmetricOperator, block: int, products: int) -> Trace:
    """A trace without a random part, of unit vectors, after ``products`` others."""
    value, size = trace_by_columns(op, block)
    return _exact(op, value, products + op.shape[0], _rounding(op, size))


def _exact(op: SymmetricOperator, value: float, products: int, rounding: float) -> Trace:
    return Trace(
        value=value,
        stderr=0.0,
        draws=torch.tensor([value], dtype=torch.float64),
        converged=True,
        products=products,
        samples=op.samples,
        rounding=rounding,
    )


def _rounding(op: SymmetricOperator, size: float) -> float:
    return ROUNDING * torch.finfo(op.dtype).eps * size
