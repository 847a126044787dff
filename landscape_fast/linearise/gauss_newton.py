"""The generalised Gauss-Newton matrix of a dataset-level loss as an operator."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from torch import nn

from landscape_fast.arguments import require_seed
from landscape_fast.linearise.dataset_operator import DatasetOperator
from landscape_fast.linearise.gauss_newton_engine import choose_gauss_newton
from landscape_fast.linearise.objective import Criterion, LossFunction, Objective
from landscape_fast.linearise.params import Selection
from landscape_fast.linearise.rules.precision import Precision
from landscape_fast.linearise.sampled_targets import SampledTargets
from landscape_fast.linearise.weight_decay import Decay

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


class GGNOperator(DatasetOperator):
    r"""Generalised Gauss-Newton matrix :math:`G = \frac{1}{N} \sum_n J_n^\top A_n J_n`.

    :math:`J_n` is the Jacobian of the network's outputs for row n in the parameters, :math:`A_n`
    the Hessian of the row's loss in these outputs, N what divides the loss. G is the Hessian of
    the loss with the network replaced by its linearisation: positive semidefinite where the loss is
    convex in the outputs.

    The outputs are the last value that the whole loss passes through and in which it is curved:
    the logits of cross-entropy, also if the model itself ends in a log-softmax, or in a sigmoid
    before ``BCELoss``. They are found in the captured loss, so a ``loss_fn`` needs nothing more.
    Where no single value will do (several heads), all that the model returned counts together.
    With ``engine="autograd"``, or where capture fails, the loss must be a known one of the model's
    output.

    Args:
        model: Any module with real floating-point parameters on one device.
        loader: Iterable of batches; read once and kept within ``memory_budget``.
        criterion: ``criterion(model(inputs), targets)``; default cross-entropy.
        loss_fn: ``loss_fn(model, batch)`` returning a mean over rows or ``(sum, count)``; instead
            of ``criterion``.
        params: As for :class:`~landscape_fast.linearise.operators.HessianOperator`.
        memory_budget: Likewise.
        values_budget: Likewise.
        engine: Likewise.
        weight_decay: Likewise.
        batchnorm: Likewise.
        precision: Likewise.
        process_group: Likewise.
        progress: Likewise.
        monte_carlo: Draw so many targets per row from the model's own predictive distribution, and
            take the mean outer product of their losses' gradients: unbiased for G, of rank at most
            M rows (M elements for ``MSELoss`` and binary cross-entropy). The loss must be a
            likelihood: cross-entropy (classes), ``MSELoss`` (Gaussians of variance 1/2), binary
            cross-entropy (bits), without weights. The same seed draws from the same numbers on
            every pass, so the matrix moves with the parameters alone. None for the exact matrix.
        seed: Of these draws.

    Attributes are those of the Hessian's operator.

    References:
        Schraudolph (2002), doi:10.1162/08997660260028683. Martens (2020), arXiv:1412.1193.

    Raises:
        ValueError: As for the Hessian; or the loss is linear in the outputs, parameters enter it
            beside them, the outputs cannot be known, or ``monte_carlo`` meets no likelihood.

    Example:
        A squared error of a linear model is its own linearisation, so G is the Hessian:

        >>> import torch
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> data = [(torch.eye(2), torch.zeros(2, 1))]
        >>> op = GGNOperator(model, data, criterion=torch.nn.MSELoss())
        >>> op(torch.tensor([[1.0, 2.0]]))
        tensor([[1., 2.]])
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
        monte_carlo: int | None = None,
        seed: int = 0,
    ) -> None:
        require_seed(seed)
        sampled = (
            None if monte_carlo is None else SampledTargets(criterion, loss_fn, monte_carlo, seed)
        )
        super().__init__(
            model,
            loader,
            Objective(criterion, loss_fn),
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
            sampled=sampled,
        )
