"""The losses of single rows, and the objective whose Gauss-Newton matrix is their Fisher matrix."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable
from typing import Any

from torch import Tensor, nn

from landscape_fast.linearise.objective import Criterion, LossFunction, Objective, counted
from landscape_fast.linearise.structure import rows


class RowLosses(Objective):
    r"""A loss by rows, and the matrix of their gradients' outer products.

    Called, it gives sum and count like any objective. What is differentiated twice is
    :math:`\tfrac12 \sum_n s_n^2` of the row losses :math:`s_n`: its second derivative in them is
    the identity, so its Gauss-Newton matrix is :math:`\sum_n \nabla s_n \nabla s_n^\top`.

    Args:
        criterion: A loss of torch, unreduced here and summed over all but the rows.
        loss_fn: ``loss_fn(model, batch)`` returning the losses of the rows, (B,), or
            ``(losses, count)``.

    Raises:
        ValueError: ``criterion`` is not a known one; or as :class:`Objective`.
    """

    ends_at_model = False  # each row's loss is the output here

    def __init__(
        self, criterion: Criterion | None = None, loss_fn: LossFunction | None = None
    ) -> None:
        super().__init__(criterion, loss_fn)
        if loss_fn is None and not self._known:
            raise ValueError(
                "criterion is not a loss of torch, so the losses of single rows are not known; "
                "pass loss_fn(model, batch) that returns them, (B,)"
            )
        if self._known:
            self._criterion = copy.copy(self._criterion)
            self._criterion.reduction = "none"

    @property
    def key(self) -> Hashable | None:
        """As :class:`Objective`, and different from its."""
        inner = super().key
        return None if inner is None else ("rows", inner)

    def __call__(self, model: nn.Module, batch: Any) -> tuple[Tensor, float]:
        """Sum of the row losses and the count of ``batch``."""
        losses, count = self._losses(model, batch)
        return losses.sum(), count()

    def summed(self, model: nn.Module, batch: Any) -> Tensor:
        """Half the squared norm of the row losses."""
        return self.outputs_and_loss(model, batch)[1]

    def outputs_and_loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        """The row losses, (B,), and half their squared norm."""
        losses, _ = self._losses(model, batch)
        return losses, losses.square().sum() / 2

    def _losses(self, model: nn.Module, batch: Any) -> tuple[Tensor, Callable[[], float]]:
        """The losses of the rows, and their count, which looks at the numbers of the data."""
        if self._loss_fn is not None:
            returned = self._loss_fn(model, batch)
            losses, number = returned if isinstance(returned, tuple) else (returned, None)
            wanted = "loss_fn must return the losses of the rows"

            def count() -> float:
                return float(len(losses)) if number is None else counted(number)
        else:
            inputs, targets = self._pair(batch)
            outputs = model(inputs)
            losses = self._compared(outputs, targets)
            losses = losses.reshape(len(losses), -1).sum(1) if losses.dim() else losses
            wanted = "criterion must have a loss for each row"

            def count() -> float:
                return self._count(outputs, targets)

        expected = rows(batch)
        fits = isinstance(losses, Tensor) and losses.dim() == 1
        if not fits or expected not in (None, len(losses)):
            shape = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
            size = "B" if expected is None else expected
            raise ValueError(f"{wanted}, ({size},), got {shape}")
        return losses, count
