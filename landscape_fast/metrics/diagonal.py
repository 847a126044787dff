"""The diagonal of the Hessian or of the Gauss-Newton matrix: exact where it can be."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from landscape_fast.arguments import require_switch
from landscape_fast.krylov.allocation import PILOT_DRAWS, require_bounds
from landscape_fast.linearise.objective import Criterion, LossFunction
from landscape_fast.linearise.params import Selection
from landscape_fast.linearise.samplewise.dataset import GaussNewtonDiagonal
from landscape_fast.metrics.probes import Probes
from landscape_fast.metrics.trace import RTOL_OMITTED
from landscape_fast.results import Diagonal

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

BLOCK = 8  # draws that go through the operators together


def diagonal(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    criterion: Criterion | None = None,
    loss_fn: LossFunction | None = None,
    gauss_newton: bool = False,
    rtol: float = 0.05,
    atol: float = 0.0,
    params: Selection = None,
    seed: int = 0,
    max_products: int = 1000,
    memory_budget: int | None = None,
    rtol_omitted: float = RTOL_OMITTED,
    process_group: ProcessGroup | None = None,
) -> Diagonal:
    r"""Diagonal of the Hessian of the dataset-level loss, exact where it can be.

    As :func:`~landscape_fast.metrics.trace.trace`: that of the Gauss-Newton matrix G is a sum of
    squared per-sample gradients, and the Hessian has the same one in every parameter in which the
    outputs are piecewise linear. In the others, sign vectors v estimate the diagonal of R = H - G
    as the mean of v times R v, entry by entry, with variance :math:`\sum_{j \ne i} R_{ij}^2` per
    draw. Where unit vectors through R are fewer than the draws it would take, they give it exactly.

    Args:
        model: Any module; measured in evaluation mode and left untouched.
        loader: Iterable of batches.
        criterion: ``criterion(model(inputs), targets)``; default cross-entropy.
        loss_fn: ``loss_fn(model, batch)``, a mean over rows or ``(sum, count)``.
        gauss_newton: Whether the diagonal of G alone is wanted.
        rtol: Norm of the standard errors wanted, relative to the norm of the diagonal.
        atol: The same, absolute; the looser of both ends the run.
        params: Names or modules to restrict the Hessian to; None for all trainable parameters.
        seed: Chooses the draws and the probes.
        max_products: Bound on vectors through H or G over the whole data, for the estimated part.
        memory_budget: Bytes of data to keep in memory.
        rtol_omitted: Directions of the outputs whose curvature sums to at most this share of all
            output curvature are estimated by a few draws, whose error is in ``stderr``;
            ``.omitted`` is their share. 0 takes all.
        process_group: Processes of ``torch.distributed`` that each hold a share of the data.

    Returns:
        ``values`` and ``stderr`` (n,), ``named()``, ``exact``, ``omitted``, ``converged``,
        ``products`` (cotangents per row, rounded up, and vectors through H and G), ``note``.

    Raises:
        ValueError: See :class:`HessianOperator`; or an argument is out of range.

    References:
        Bekas, Kokiopoulou and Saad (2007), doi:10.1016/j.apnum.2007.01.003.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> data = [(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.zeros(2, 1))]
        >>> result = diagonal(model, data, criterion=torch.nn.MSELoss())
        >>> result.named()["weight"].round(decimals=5)
        tensor([[4., 1.]], dtype=torch.float64)
    """
    require_bounds(rtol, atol, max_products)
    require_switch(gauss_newton=gauss_newton)
    loss: dict[str, Any] = {"criterion": criterion, "loss_fn": loss_fn}
    known = GaussNewtonDiagonal(
        model,
        loader,
        **loss,
        params=params,
        memory_budget=memory_budget,
        rtol_omitted=rtol_omitted,
        seed=seed,
        process_group=process_group,
    )
    names = known.open_names(gauss_newton)
    found = _Found(known.values + known.correction, known.variance.sqrt(), True, 0)
    if names:
        shared = {"memory_budget": memory_budget, "process_group": process_group}
        probes = Probes(model, known, names, gauss_newton, **loss, **shared)
        found = _estimated(known, probes, rtol, atol, seed, max_products)
    return Diagonal(
        values=found.values,
        stderr=found.stderr,
        names=known.space.names,
        shapes=tuple(tuple(shape) for shape in known.space.shapes),
        exact=tuple(name for name in known.space.names if name not in set(names)),
        omitted=known.omitted,
        converged=found.converged,
        products=found.products + math.ceil(known.cotangents / max(1, known.samples)),
        samples=known.samples,
        note=known.note,
    )


class _Found(NamedTuple):
    """A diagonal, and what its open part took."""

    values: Tensor
    stderr: Tensor
    converged: bool
    products: int


def _estimated(
    known: GaussNewtonDiagonal,
    probes: Probes,
    rtol: float,
    atol: float,
    seed: int,
    max_products: int,
) -> _Found:
    """Add sign vectors until the error allows, or unit vectors where these are fewer."""
    sure, draws = known.values + known.correction, 0
    mean, squares = torch.zeros_like(sure), torch.zeros_like(sure)
    most = max(2, max_products // probes.price)
    needed = float(PILOT_DRAWS)
    while True:
        spent = draws * probes.price
        if probes.exact_price <= min(probes.price * (needed - draws), max_products - spent):
            values = sure + probes.exact()
            return _Found(values, known.variance.sqrt(), True, spent + probes.exact_price)
        for row in probes.entries(draws, min(BLOCK, most - draws), seed):
            draws += 1
            change = row - mean  # Welford's update
            mean += change / draws
            squares += change * (row - mean)
        values = sure + mean
        stderr = (known.variance + squares / (max(1, draws - 1) * draws)).sqrt()
        error, allowed = float(stderr.norm()), max(rtol * float(values.norm()), atol)
        converged = draws >= min(PILOT_DRAWS, most) and error <= allowed
        if converged or draws >= most:
            return _Found(values, stderr, converged, draws * probes.price)
        if draws >= PILOT_DRAWS:
            needed = draws * (error / allowed) ** 2 if allowed > 0 else math.inf
