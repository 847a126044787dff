"""Top eigenvalue and trace by the rules behind the published measurements of Yang et al. (2021).

For comparison with numbers that were made this way. Both rules stop when two estimates in a row
agree, which also happens by chance; :func:`~landscape_fast.metrics.sharpness.top_eigs` and
:func:`~landscape_fast.metrics.trace.trace` state errors instead.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from landscape_fast import _native
from landscape_fast.arguments import require_number, require_seed, require_whole
from landscape_fast.linearise.objective import Criterion, LossFunction
from landscape_fast.linearise.operators import HessianOperator
from landscape_fast.results import Eigenpairs, Trace

_GUARD = 1e-6  # added to every denominator, as in the released code


def power_iteration(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    criterion: Criterion | None = None,
    loss_fn: LossFunction | None = None,
    tol: float = 1e-3,
    max_products: int = 100,
    seed: int = 0,
) -> Eigenpairs:
    r"""Estimate the Hessian's eigenvalue of largest modulus as the released code does.

    From a normalised Gaussian vector, :math:`\lambda_t = v^\top H v` and :math:`v \leftarrow H v /
    \lVert H v \rVert`, until :math:`|\lambda_{t-1} - \lambda_t| < \mathrm{tol}\, |\lambda_{t-1}|`.
    The value is then :math:`\lambda_{t-1}`: the step that ends the iteration does not count.

    Args:
        model: Any module; measured in evaluation mode and left untouched.
        loader: Iterable of batches; the published values are of one batch of 200 rows.
        criterion: ``criterion(model(inputs), targets)``; default cross-entropy.
        loss_fn: ``loss_fn(model, batch)``, a mean over rows or ``(sum, count)``.
        tol: Relative change that ends it.
        max_products: Steps at most; then the value is that of the last one.
        seed: Chooses the start.

    Returns:
        One value with the vector that gave it and its true residual. ``converged`` says that two
        estimates agreed, not that the residual is small.

    Raises:
        ValueError: An argument is out of range; or as
            :class:`~landscape_fast.linearise.operators.HessianOperator`.

    References:
        Yang et al. (2021), arXiv:2107.11228, and Yao et al. (2020), arXiv:1912.07145.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> data = [(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.zeros(2, 1))]
        >>> found = power_iteration(model, data, criterion=torch.nn.MSELoss())
        >>> round(float(found.values[0]), 2), found.converged
        (4.0, True)
    """
    _check(tol, max_products, seed)
    op = HessianOperator(model, loader, criterion=criterion, loss_fn=loss_fn)
    start = torch.empty(1, op.shape[0], dtype=op.dtype, device=op.device)
    _native.normals_(start, seed)
    vector = start / (start.norm() + _GUARD)
    value, settled, products = math.nan, False, 0
    kept, residual = vector, math.nan
    while products < max_products and not settled:
        image = op(vector)
        products += 1
        found = float((image.double() * vector.double()).sum())
        settled = abs(value - found) / (abs(value) + _GUARD) < tol
        if not settled:
            value, kept = found, vector
            residual = float((image.double() - value * vector.double()).norm())
        vector = image / (image.norm() + _GUARD)
    return Eigenpairs(
        values=torch.tensor([value], dtype=torch.float64),
        vectors=kept,
        residuals=torch.tensor([residual], dtype=torch.float64),
        tolerance=math.inf,
        converged=settled,
        products=products,
        samples=op.samples,
    )


def settling_trace(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    criterion: Criterion | None = None,
    loss_fn: LossFunction | None = None,
    tol: float = 1e-3,
    max_products: int = 100,
    seed: int = 0,
) -> Trace:
    r"""Estimate the Hessian's trace by sign vectors until their running mean settles.

    The rule of the released code: after each probe the mean m of all :math:`v^\top H v` is
    compared with the one before, m', and the run ends at :math:`|m - m'| / (m' + 10^{-6}) <
    \mathrm{tol}`. The denominator has no absolute value there: a negative m' ends the run at once.

    Args:
        model: Any module; measured in evaluation mode and left untouched.
        loader: Iterable of batches; the published values are of one batch of 200 rows.
        criterion: ``criterion(model(inputs), targets)``; default cross-entropy.
        loss_fn: ``loss_fn(model, batch)``, a mean over rows or ``(sum, count)``.
        tol: Relative change that ends it.
        max_products: Probes at most.
        seed: Chooses the probes.

    Returns:
        The mean of all probes with its standard error, which the rule does not look at: it is nan
        for a single probe. ``converged`` says that the rule ended the run.

    Raises:
        ValueError: An argument is out of range; or as
            :class:`~landscape_fast.linearise.operators.HessianOperator`.

    References:
        Yang et al. (2021), arXiv:2107.11228, and Yao et al. (2020), arXiv:1912.07145.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> data = [(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.zeros(2, 1))]
        >>> found = settling_trace(model, data, criterion=torch.nn.MSELoss())
        >>> found.value, found.products, found.converged
        (5.0, 2, True)
    """
    _check(tol, max_products, seed)
    op = HessianOperator(model, loader, criterion=criterion, loss_fn=loss_fn)
    draws: list[float] = []
    mean, settled = 0.0, False
    probe = torch.empty(1, op.shape[0], dtype=op.dtype, device=op.device)
    while len(draws) < max_products and not settled:
        _native.signs_(probe, seed, first_row=len(draws))
        draws.append(float((op(probe).double() * probe.double()).sum()))
        before, mean = mean, math.fsum(draws) / len(draws)
        settled = abs(mean - before) / (before + _GUARD) < tol
    kept = torch.tensor(draws, dtype=torch.float64)
    return Trace(
        value=mean,
        stderr=float(kept.std()) / math.sqrt(len(draws)) if len(draws) > 1 else math.nan,
        draws=kept,
        converged=settled,
        products=len(draws),
        samples=op.samples,
    )


def _check(tol: float, max_products: int, seed: int) -> None:
    require_number(above=0, tol=tol)
    require_whole(1, max_products=max_products)
    require_seed(seed)
