"""Extreme eigenvalues of the Hessian of the dataset-level loss."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from torch import nn

from landscape_fast.krylov.eigen import extreme_eigenpairs
from landscape_fast.linearise.objective import Criterion, LossFunction
from landscape_fast.linearise.operators import HessianOperator
from landscape_fast.linearise.params import Selection
from landscape_fast.linearise.rules.precision import Precision
from landscape_fast.results import Eigenpairs


def top_eigs(
    model: nn.Module,
    loader: Iterable[Any],
    k: int = 1,
    *,
    criterion: Criterion | None = None,
    loss_fn: LossFunction | None = None,
    which: str = "largest",
    tol: float = 1e-3,
    params: Selection = None,
    seed: int = 0,
    max_products: int = 1000,
    memory_budget: int | None = None,
    precision: Precision = "float32",
) -> Eigenpairs:
    r"""Extreme eigenvalues of the Hessian of the dataset-level loss, with true residuals.

    The operator is :class:`HessianOperator`, the method
    :func:`~landscape_fast.krylov.eigen.extreme_eigenpairs`. ``tol`` bounds an error: each reported
    value lies within ``residuals[i] <= tol * |lambda_1|`` of an eigenvalue. It does not certify
    that no eigenvalue is missing: of an exactly repeated one, as linear models with several outputs
    have, a single copy may be returned, with the next distinct value in the place of another.

    Differs from PyHessian in: Lanczos in place of power iteration restarted per eigenvalue;
    ``tol`` bounds the residual, not the change between two steps; values come sorted, vectors with
    norm 1; ragged batches, class weights, ``ignore_index`` and summed losses have the right
    normaliser; the model comes back as it went in.

    Args:
        model: Any module; measured in evaluation mode and left untouched.
        loader: Iterable of batches.
        k: Eigenpairs wanted.
        criterion: ``criterion(model(inputs), targets)``; default cross-entropy.
        loss_fn: ``loss_fn(model, batch)``, a mean over rows or ``(sum, count)``.
        which: ``"largest"``, ``"smallest"``, ``"magnitude"`` or ``"both"``.
        tol: Residual allowed, relative to the eigenvalue of largest magnitude.
        params: Names or modules to restrict the Hessian to; None for all trainable parameters.
        seed: Chooses the start vector.
        max_products: Bound on Hessian-vector products over the whole data.
        memory_budget: Bytes of data to keep in memory.
        precision: Of products, see :class:`HessianOperator`; recorded in the result.

    Returns:
        ``values`` (k,), ``vectors`` (k, n), ``residuals`` (k,), ``converged``.

    Raises:
        ValueError: See :class:`HessianOperator`; or k exceeds the number of parameters.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> data = [(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.zeros(2, 1))]
        >>> result = top_eigs(model, data, k=2, criterion=torch.nn.MSELoss())
        >>> result.values.round(decimals=4)
        tensor([4., 1.], dtype=torch.float64)
        >>> result.converged
        True
    """
    op = HessianOperator(
        model,
        loader,
        criterion=criterion,
        loss_fn=loss_fn,
        params=params,
        memory_budget=memory_budget,
        precision=precision,
    )
    found = extreme_eigenpairs(op, k, which=which, tol=tol, seed=seed, max_products=max_products)
    return replace(found, precision=op.precision)
