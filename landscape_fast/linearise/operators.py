"""The Hessian of a dataset-level loss as an operator on blocks of vectors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from torch import nn

from landscape_fast.linearise.dataset_operator import DatasetOperator
from landscape_fast.linearise.engines import choose_engine
from landscape_fast.linearise.objective import Criterion, LossFunction, Objective
from landscape_fast.linearise.params import Selection
from landscape_fast.linearise.rules.precision import Precision
from landscape_fast.linearise.weight_decay import Decay

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


class HessianOperator(DatasetOperator):
    r"""Hessian of :math:`L(\theta) = \sum_b S_b(\theta) / \sum_b n_b`, in evaluation mode.

    A block of K vectors goes through each batch together. The answer does not depend on how the
    data is cut into batches.

    Args:
        model: Any module with real floating-point parameters on one device.
        loader: Iterable of batches; read once and kept within ``memory_budget``.
        criterion: ``criterion(model(inputs), targets)``; default cross-entropy. See
            :class:`~landscape_fast.linearise.objective.Objective` for what sets the normaliser.
        loss_fn: ``loss_fn(model, batch)`` returning a mean over rows or ``(sum, count)``; instead
            of ``criterion``. It is run once for every form of batch, and again after a change of
            what it refers to, as far as :mod:`~landscape_fast.linearise.references` can follow: not
            into objects of other packages. Make a new operator after other changes.
        params: Names or modules whose diagonal block of the Hessian is wanted; None for all
            trainable parameters.
        memory_budget: Bytes of data to keep; beyond it the loader is re-read for each product.
        values_budget: Bytes of the primal pass to keep between products, so that iterations do not
            repeat it; None for a quarter of the free memory, 0 for nothing.
        engine: ``"captured"`` walks a captured program with whole blocks of vectors, ``"autograd"``
            runs double backward per vector; ``"auto"`` captures where that is possible and agrees
            with double backward in float64 on a few rows.
        weight_decay: lambda, or lambdas by name of parameter or module (the longest that fits
            counts): adds lambda times the identity, the second derivative of lambda/2 ||w||^2,
            which SGD's ``weight_decay`` descends. All trainable parameters count in ``loss``.
        batchnorm: ``"eval"`` normalises by the running statistics; ``"train"`` by those of each
            batch as the loader cut it, whose rows are then coupled. Dropout is off in both.
        precision: Of the factors of matrix products and convolutions: ``"float32"`` as torch is
            set, ``"tf32"`` on CUDA, ``"bfloat16"``; sums stay in float32. Needs the captured
            engine. What is lost is measured in docs/engine.md.
        process_group: A group of ``torch.distributed`` whose processes hold shares of the data, at
            least a batch each, and the same model: the answer is that of all the data, in every
            process. All must make the same calls. See docs/several-processes.md. None for all data
            in this process.
        progress: Whether a line on standard error says how far long products are; None for only if
            it is a terminal.

    Attributes:
        shape: ``(n, n)``.
        loss: L at the parameters as they were when the operator was made.
        samples: Rows of data, of all processes.
        products: Vectors multiplied so far.
        engine: The engine that serves.
        engine_note: Why ``"auto"`` did not capture; None if it did.

    References:
        Pearlmutter (1994), doi:10.1162/neco.1994.6.1.147.

    Raises:
        ValueError: The loader is empty, the loss is not finite, the model is stochastic in
            evaluation mode, has no trainable parameter, is sharded (FSDP) or made in inference
            mode, checkpoints activations in the reentrant way, or differs between processes; or an
            argument contradicts another.
        RuntimeError: Another process of the group failed.

    Example:
        The Hessian of a mean squared error is a multiple of the inputs' second moment:

        >>> import torch
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> data = [(torch.eye(2), torch.zeros(2, 1))]
        >>> op = HessianOperator(model, data, criterion=torch.nn.MSELoss())
        >>> op(torch.tensor([[1.0, 0.0], [1.0, 2.0]]))
        tensor([[1., 0.],
                [1., 2.]])
        >>> op.quadratic(torch.tensor([[1.0, 2.0]]))
        tensor([5.], dtype=torch.float64)
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
            Objective(criterion, loss_fn),
            choose_engine,
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
