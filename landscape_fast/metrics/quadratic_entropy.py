"""Local entropy of the quadratic that touches the loss, from its spectrum."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from landscape_fast.arguments import require_number, require_seed, require_whole
from landscape_fast.krylov.density import lanczos_quadrature
from landscape_fast.krylov.lanczos import tridiagonalise
from landscape_fast.linearise.objective import Criterion, LossFunction
from landscape_fast.linearise.operators import HessianOperator
from landscape_fast.linearise.params import Selection
from landscape_fast.results import LocalEntropy, SpectralDensity


def quadratic_local_entropy(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    gamma: float,
    criterion: Criterion | None = None,
    loss_fn: LossFunction | None = None,
    starts: int = 10,
    steps: int = 80,
    params: Selection = None,
    seed: int = 0,
    memory_budget: int | None = None,
) -> LocalEntropy:
    r"""Local entropy where the loss is taken for its second-order expansion.

    The log of the mean of :math:`\exp(-L)` under :math:`N(\theta, I/\gamma)` is then
    :math:`-L(\theta) - \tfrac12 \log\det(I + H/\gamma) + \tfrac12 g^\top (H + \gamma I)^{-1} g`.
    The determinant comes from stochastic Lanczos quadrature, with the error over its starts; the
    gradient's part from Lanczos steps that start at it, as a lower bound whose distance from the
    truth is bounded. Exact for a quadratic loss; how far it holds for others,
    :func:`~landscape_fast.metrics.langevin_entropy.langevin_local_entropy` tells.

    Args:
        model: Any module; measured in evaluation mode and left untouched.
        loader: Iterable of batches.
        gamma: Inverse of the neighbourhood's variance along each weight: the typical distance of
            its points is ``sqrt(n / gamma)``. It must exceed minus the smallest eigenvalue, or the
            expansion has no bottom within the neighbourhood.
        criterion: ``criterion(model(inputs), targets)``; default cross-entropy.
        loss_fn: ``loss_fn(model, batch)``, a mean over rows or ``(sum, count)``.
        starts: Random starts of the quadrature; at least 2 for an error.
        steps: Lanczos steps of each, and of the gradient. The error over starts does not hold what
            too few steps leave: double them to see it.
        params: Names or modules that the neighbourhood extends over; None for all trainable
            parameters.
        seed: Chooses the starts.
        memory_budget: Bytes of data to keep in memory.

    Returns:
        ``value`` in nats, larger where the neighbourhood is flatter, with ``stderr``,
        ``gradient_part`` and ``gradient_bound``. The bound is that of exact arithmetic and of the
        smallest eigenvalue found: it leaves out what products with the Hessian round.

    Raises:
        ValueError: ``gamma`` does not exceed minus the smallest eigenvalue found, an argument is
            out of range, or see :class:`~landscape_fast.linearise.operators.HessianOperator`.

    References:
        Chaudhari et al. (2017), arXiv:1611.01838, for local entropy. Ubaru, Chen and Saad (2017),
        doi:10.1137/16M1104974, for the quadrature. Golub and Meurant (1994), Matrices, moments and
        quadrature, for the gradient's part.

    Example:
        For the loss w^2 at its minimum, -log(1 + 2 / gamma) / 2:

        >>> import math, torch
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> data = [(torch.ones(1, 1), model(torch.ones(1, 1)).detach())]
        >>> found = quadratic_local_entropy(model, data, gamma=2.0, criterion=torch.nn.MSELoss())
        >>> round(found.value, 5) == round(-math.log(2) / 2, 5)
        True
    """
    require_number(above=0, gamma=gamma)
    require_whole(1, starts=starts, steps=steps)
    require_seed(seed)
    op = HessianOperator(
        model,
        loader,
        criterion=criterion,
        loss_fn=loss_fn,
        params=params,
        memory_budget=memory_budget,
    )
    density = lanczos_quadrature(op, starts=starts, steps=steps, seed=seed)
    lowest = _lowest(density)
    if not gamma > -lowest:
        raise ValueError(
            f"gamma must exceed minus the smallest eigenvalue, which after {steps} steps may be as "
            f"low as {lowest:.3g}, got {gamma}: the expansion falls without end; take more steps, "
            "a smaller neighbourhood, or langevin_local_entropy"
        )
    determinant = density.functional(lambda x: torch.log1p(x / gamma))
    loss, gradient = op.loss_and_gradient()
    part, bound = _gradient_part(op, gradient, gamma, steps, lowest)
    return LocalEntropy(
        value=-loss - determinant.value / 2 + part,
        stderr=determinant.stderr / 2,
        draws=-loss - determinant.draws / 2 + part,
        loss=loss,
        gamma=gamma,
        method="quadratic",
        dimension=op.shape[0],
        samples=op.samples,
        gradient_part=part,
        gradient_bound=bound,
    )


def _lowest(density: SpectralDensity) -> float:
    """The smallest Ritz value of any start, less how far from an eigenvalue it may be."""
    assert density.residuals is not None
    at = density.nodes.argmin(1, keepdim=True)
    return float((density.nodes.gather(1, at) - density.residuals.gather(1, at)).min())


def _gradient_part(
    op: HessianOperator, gradient: Tensor, gamma: float, steps: int, lowest: float
) -> tuple[float, float]:
    """``g^T (H + gamma I)^-1 g / 2`` from below, and what it may lack.

    The solution y in the Krylov space leaves a residual r, and what is missing of the form is
    ``r^T (H + gamma I)^-1 r``, at most ``|r|^2 / (lowest + gamma)``.
    """
    norm = float(torch.linalg.vector_norm(gradient, dtype=torch.float64))
    if norm == 0.0:
        return 0.0, 0.0
    lanczos = tridiagonalise(op, gradient[None], min(steps, op.shape[0]))
    depth = int(lanczos.depth[0])
    off = lanczos.offdiagonal[0, : depth - 1]
    t = torch.diag(lanczos.diagonal[0, :depth] + gamma) + torch.diag(off, 1) + torch.diag(off, -1)
    y = torch.linalg.solve(t, norm * torch.eye(depth, dtype=torch.float64)[0])
    residual = float(lanczos.residual[0] * y[-1].abs())
    return norm * float(y[0]) / 2, residual**2 / (lowest + gamma) / 2
