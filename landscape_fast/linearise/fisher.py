"""The empirical Fisher matrix of a dataset-level loss as an operator."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from torch import nn

from landscape_fast.linearise.dataset_operator import DatasetOperator
from landscape_fast.linearise.gauss_newton_engine import choose_gauss_newton
from landscape_fast.linearise.objective import Criterion, LossFunction
from landscape_fast.linearise.params import Selection
from landscape_fast.linearise.row_losses import RowLosses
from landscape_fast.linearise.rules.precision import Precision
from landscape_fast.linearise.weight_decay import Decay

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


class EmpiricalFisherOperator(DatasetOperator):
    r"""Empirical Fisher matrix :math:`F = \frac{1}{N} \sum_n g_n g_n^\top`.

    :math:`g_n` is the gradient of the loss of row n with the targets of the data, and N what
    divides the loss: rows, valid targets, the sum of class weights, or elements for a mean over
    elements such as ``MSELoss``; 1 for ``reduction="sum"``. The loss of a row is its own unreduced
    term, summed over tokens, pixels and outputs.

    It is neither the Hessian nor the Fisher matrix of the model, whose targets are drawn from the
    model itself: see :class:`~landscape_fast.linearise.gauss_newton.GGNOperator`, and Kunstner,
    Balles and Hennig (2019), arXiv:1905.12558, on how far apart they can be.

    Args:
        model: Any module with real floating-point parameters on one device.
        loader: Iterable of batches; read once and kept within ``memory_budget``.
        criterion: A loss module of torch or its function; default cross-entropy.
        loss_fn: ``loss_fn(model, batch)`` returning the losses of the rows, (B,), or
            ``(losses, count)``; instead of ``criterion``.
        params: As for :class:`~landscape_fast.linearise.operators.HessianOperator`.
        memory_budget: Likewise.
        values_budget: Likewise.
        engine: Likewise.
        weight_decay: Likewise.
        batchnorm: Likewise.
        precision: Likewise.
        process_group: Likewise.
        progress: Likewise.

    Attributes are those of the Hessian's operator.

    Raises:
        ValueError: As for the Hessian; or ``criterion`` is not a loss of torch, or ``loss_fn`` does
            not return one loss per row.

    Example:
        Squared errors of a linear model have the gradients 2 (prediction - target) input:

        >>> import torch
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> _ = torch.nn.init.zeros_(model.weight)
        >>> data = [(torch.eye(2), torch.tensor([[1.0], [3.0]]))]
        >>> op = EmpiricalFisherOperator(model, data, criterion=torch.nn.MSELoss())
        >>> op(torch.eye(2))
        tensor([[ 2.,  0.],
                [ 0., 18.]])
    """

    def __init__(
        self,
        model: nn.Module,
        loader: Iterable[Any],
        *,
        criterion: Criterion | None = None,
        loss_fn: LossFunction | None = None,
        params: Selection = None,
        memory_budget: int | None = None,
        values_budget: int | None = None,
        engine: str = "auto",
        weight_decay: Decay = 0.0,
        batchnorm: str = "eval",
        precision: Precision = "float32",
        process_group: ProcessGroup | None = None,
        progress: bool | None = None,
    ) -> None:
        super().__init__(
            model,
            loader,
            RowLosses(criterion, loss_fn),
            choose_gauss_newton,
            params=params,
            memory_budget=memory_budget,
            values_budget=values_budget,
            engine=engine,
            weight_decay=weight_decay,
            batchnorm=batchnorm,
            precision=precision,
            process_group=process_group,
            progress=progress,
        )
