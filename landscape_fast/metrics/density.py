"""Spectral density of the Hessian of the dataset-level loss."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import nn

from landscape_fast.krylov.density import lanczos_quadrature, require_quadrature
from landscape_fast.linearise.objective import Criterion, LossFunction
from landscape_fast.linearise.operators import HessianOperator
from landscape_fast.linearise.params import Selection
from landscape_fast.linearise.rules.precision import Precision
from landscape_fast.results import SpectralDensity

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


def spectral_density(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    criterion: Criterion | None = None,
    loss_fn: LossFunction | None = None,
    starts: int = 10,
    steps: int = 80,
    params: Selection = None,
    seed: int = 0,
    block: int | None = None,
    memory_budget: int | None = None,
    precision: Precision = "float32",
    process_group: ProcessGroup | None = None,
    progress: bool | None = None,
) -> SpectralDensity:
    r"""Spectral density of the Hessian of the dataset-level loss, as weighted nodes.

    See :func:`~landscape_fast.krylov.density.lanczos_quadrature` for the estimate and its error.

    Differs from PyHessian in: all starts are one block; a breakdown ends a start instead of filling
    it with noise; weights are real, not negative, and sum to 1.

    Args:
        model: Any module; measured in evaluation mode and left untouched.
        loader: Iterable of batches.
        criterion: ``criterion(model(inputs), targets)``; default cross-entropy.
        loss_fn: ``loss_fn(model, batch)``, a mean over rows or ``(sum, count)``.
        starts: Independent random starts.
        steps: Lanczos steps of each.
        params: Names or modules to restrict the Hessian to; None for all trainable parameters.
        seed: Chooses the starts.
        block: Starts that run together; memory is ``block * steps * n`` elements. None for as many
            as keep that below 512 MiB.
        memory_budget: Bytes of data to keep in memory.
        precision: Of products, see :class:`HessianOperator`; recorded in the result.
        process_group: Processes that share the data, see :class:`HessianOperator`.
        progress: Whether a line on standard error says how far products are, likewise.

    Returns:
        ``nodes`` and ``weights`` (starts, steps), float64, with methods for what is read off them:
        ``functional``, ``count``, ``mass_at_zero``, ``outliers``, ``curve`` and ``plot``.

    Raises:
        ValueError: See :class:`HessianOperator`.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> data = [(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.zeros(2, 1))]
        >>> density = spectral_density(model, data, criterion=torch.nn.MSELoss(), starts=1)
        >>> density.nodes.round(decimals=4)
        tensor([[1., 4.]], dtype=torch.float64)
    """
    require_quadrature(starts, steps, seed, block)
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
    found = lanczos_quadrature(op, starts=starts, steps=steps, seed=seed, block=block)
    return replace(found, precision=op.precision)
