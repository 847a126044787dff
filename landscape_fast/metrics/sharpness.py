"""Extreme eigenvalues of the Hessian of the dataset-level loss."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from landscape_fast.krylov.eigen import extreme_eigenpairs, require_search
from landscape_fast.krylov.operator import SymmetricOperator
from landscape_fast.krylov.preconditioned import PreconditionedOperator
from landscape_fast.linearise.objective import Criterion, LossFunction
from landscape_fast.linearise.operators import HessianOperator
from landscape_fast.linearise.params import Selection
from landscape_fast.linearise.rules.precision import Precision
from landscape_fast.results import Eigenpairs

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

# Relative rounding of factors in precisions that are no dtype of the model's.
_ROUNDING = {"bfloat16": torch.finfo(torch.bfloat16).eps, "tf32": 2.0**-10}

# The gradient lies mostly in the span of the top eigenvectors (Gur-Ari, Roberts and Dyer 2018,
# arXiv:1812.04754): a search from there takes fewer products than from a random vector. Of the
# lower end it knows nothing. It may also lie along a lower eigenvector, whose pair converges before
# the top one shows: the examination finds that, so without one a search starts at random.
_ALONG_GRADIENT = ("largest", "magnitude")


def top_eigs(
    model: nn.Module,
    loader: Iterable[Any],
    k: int = 1,
    *,
    criterion: Criterion | None = None,
    loss_fn: LossFunction | None = None,
    which: str = "largest",
    tol: float = 1e-3,
    risk: float = 0.01,
    params: Selection = None,
    preconditioner: Tensor | Mapping[str, Tensor] | None = None,
    seed: int = 0,
    max_products: int = 1000,
    memory_budget: int | None = None,
    basis_memory: int = 2**30,
    precision: Precision = "float32",
    process_group: ProcessGroup | None = None,
    progress: bool | None = None,
) -> Eigenpairs:
    r"""Extreme eigenvalues of the Hessian of the dataset-level loss, with a certificate.

    The operator is :class:`HessianOperator`, the method
    :func:`~landscape_fast.krylov.eigen.extreme_eigenpairs`. ``tol`` bounds an error: each reported
    value lies within ``residuals[i] <= tol * |lambda_1|`` of an eigenvalue. All copies of a
    multiple eigenvalue come back: with ``complete``, at most with probability ``risk`` one is
    missing that exceeds the last reported by more than ``tolerance``. ``cluster_cut`` says that the
    next eigenvalue may lie within ``tolerance`` of the last reported, whose vector is then one
    choice of several.

    The search starts from the gradient of the loss, one pass over the data, for the largest and
    those of largest magnitude; at random for others, and where ``risk=1`` leaves the examination
    out that would find what the gradient hides.

    Differs from PyHessian in: Lanczos in place of power iteration restarted per eigenvalue;
    ``tol`` bounds the residual, not the change between two steps; values come sorted, vectors with
    norm 1, copies of a value as often as it occurs; ragged batches, class weights,
    ``ignore_index`` and summed losses have the right normaliser; the model comes back as it went
    in.

    Args:
        model: Any module; measured in evaluation mode and left untouched.
        loader: Iterable of batches.
        k: Eigenpairs wanted.
        criterion: ``criterion(model(inputs), targets)``; default cross-entropy.
        loss_fn: ``loss_fn(model, batch)``, a mean over rows or ``(sum, count)``.
        which: ``"largest"``, ``"smallest"``, ``"magnitude"`` or ``"both"``.
        tol: Residual allowed, relative to the eigenvalue of largest magnitude. Ten roundings of the
            model's arithmetic are always allowed: ``rounding`` says how much that is, 8% for a
            bfloat16 model.
        risk: Probability with which ``complete`` may be wrong; 1 saves the products that look for
            missing eigenvalues.
        params: Names or modules to restrict the Hessian to; None for all trainable parameters.
        preconditioner: Diagonal of a positive D, (n,) or a dict of parameter-shaped tensors: the
            eigenpairs and residuals are then those of :math:`D^{-1/2} H D^{-1/2}`, whose largest
            eigenvalue is the sharpness that an adaptive optimiser sees (Cohen et al. 2022). With
            u one of ``vectors``, :math:`D^{-1/2} u` is an eigenvector of :math:`D^{-1} H`.
        seed: Chooses the random vectors.
        max_products: Bound on Hessian-vector products over the whole data.
        memory_budget: Bytes of data to keep in memory.
        basis_memory: Bytes for the vectors of the search, n elements each; the search restarts
            when they are full. At least ``k + 10`` vectors are kept.
        precision: Of products, see :class:`HessianOperator`; recorded in the result.
        process_group: Processes that share the data, see :class:`HessianOperator`.
        progress: Whether a line on standard error says how far products are, likewise.

    Returns:
        ``values`` (k,), ``vectors`` (k, n), ``residuals`` (k,), ``converged``, ``complete``,
        ``cluster_cut``; ``products`` and ``sample_products``, what they cost.

    Raises:
        ValueError: See :class:`HessianOperator`; or k exceeds the number of parameters, or the
            preconditioner does not fit or is not positive.

    References:
        Wu and Simon (2000), doi:10.1137/S0895479898334605. van Dorsselaer, Hochstenbach and van der
        Vorst (1999), https://ir.cwi.nl/pub/4505. Cohen et al. (2022), arXiv:2207.14484.

    Example:
        A linear model with two outputs has every eigenvalue twice:

        >>> import torch
        >>> model = torch.nn.Linear(2, 2, bias=False)
        >>> data = [(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.zeros(2, 2))]
        >>> result = top_eigs(model, data, k=3, criterion=torch.nn.MSELoss())
        >>> result.values.round(decimals=4)
        tensor([2.0000, 2.0000, 0.5000], dtype=torch.float64)
        >>> result.converged, result.complete, result.cluster_cut
        (True, True, True)
    """
    require_search(k, which, tol, risk, seed, max_products, basis_memory)
    if not isinstance(preconditioner, Tensor | Mapping | None):
        kind = type(preconditioner).__name__
        raise TypeError(f"preconditioner must be a tensor or a dict of tensors, got {kind}")
    op = HessianOperator(
        model,
        loader,
        criterion=criterion,
        loss_fn=loss_fn,
        params=params,
        memory_budget=memory_budget,
        precision=precision,
        process_group=process_group,
        progress=progress,
    )
    eps = max(torch.finfo(tensor.dtype).eps for tensor in op.space.tensors)
    seen: SymmetricOperator = op
    begin: Tensor | None = None
    if which in _ALONG_GRADIENT and risk < 1:
        begin = op.loss_and_gradient()[1]
    if preconditioner is not None:
        if isinstance(preconditioner, Mapping):
            preconditioner = op.space.to_vector(preconditioner)
        seen = conditioned = PreconditionedOperator(op, preconditioner)
        begin = None if begin is None else begin * conditioned.scale
    found = extreme_eigenpairs(
        seen,
        k,
        which=which,
        tol=tol,
        risk=risk,
        seed=seed,
        block=1 if begin is None else 0,
        start=None if begin is None else begin[None],
        max_products=max_products,
        basis_memory=basis_memory,
        eps=max(eps, _ROUNDING.get(precision, 0.0)),
    )
    return replace(found, precision=op.precision)
