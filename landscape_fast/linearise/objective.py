"""The dataset-level loss: sums of per-term losses and the count that divides them.

``L(theta) = sum_b S_b(theta) / sum_b n_b`` with ``S_b`` the summed loss of batch b and ``n_b`` its
normaliser: valid targets, sums of class weights, elements or rows, as the loss itself counts them.
A mean of batch means would be another function as soon as one batch is ragged or weighted.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor, nn

from landscape_fast.arguments import require_number
from landscape_fast.linearise.criteria import BY_ELEMENT, BY_TARGET, as_module, require_paired
from landscape_fast.linearise.definition import Definition
from landscape_fast.linearise.structure import rows

LossFunction = Callable[[nn.Module, Any], Tensor | tuple[Tensor, Any]]
Criterion = Callable[[Any, Any], Tensor]


class Objective:
    """Sum and count of a loss over one batch, however the caller states the loss.

    Args:
        criterion: ``criterion(model(inputs), targets)`` for batches ``(inputs, targets)``; default
            cross-entropy. A torch loss module, or its function in ``torch.nn.functional``, is
            recognised: its reduction, class weights and ``ignore_index`` set the normaliser, and
            ``reduction="sum"`` means the undivided sum over the data. Any other callable is taken
            as a mean over the batch's rows.
        loss_fn: ``loss_fn(model, batch)`` for everything else; returns a mean over the batch's
            rows, or ``(sum, count)``.

    Raises:
        ValueError: Both are given, or the criterion does not reduce.
        TypeError: Either is not callable.
    """

    # The network ends at or before what the model returns, and the loss begins there.
    ends_at_model = True

    def __init__(
        self, criterion: Criterion | None = None, loss_fn: LossFunction | None = None
    ) -> None:
        if criterion is not None and loss_fn is not None:
            raise ValueError("criterion and loss_fn are both given; pass one of them")
        for name, value in (("criterion", criterion), ("loss_fn", loss_fn)):
            if value is not None and not callable(value):
                raise TypeError(f"{name} must be callable, got {type(value).__name__}")
            if isinstance(value, type):
                raise TypeError(f"{name} is the class {value.__name__}: pass an object of it")
        self._loss_fn = loss_fn
        self._criterion: Any = as_module(criterion)
        reduction = getattr(self._criterion, "reduction", "mean")
        if reduction == "none":
            raise ValueError("criterion has reduction='none'; use 'mean' or 'sum'")
        self.divides = reduction != "sum"
        self._known = type(self._criterion) in (*BY_TARGET, *BY_ELEMENT)
        self._per_row = reduction == "batchmean"
        self._definition: Definition | None = None
        if self._known:
            self._definition = Definition(self._criterion, buffers=True)
            self._criterion = copy.copy(self._criterion)
            self._criterion.reduction = "sum"

    @property
    def function(self) -> Callable[..., Any] | None:
        """What the caller wrote: the ``loss_fn``, or a criterion that torch does not have."""
        own = self._criterion if self._loss_fn is None else self._loss_fn
        return None if self._loss_fn is None and self._known else own

    def require_unchanged(self) -> None:
        """Refuse a criterion that is not what it was: the sums' divisor came from what it was.

        Raises:
            ValueError: A number or an attribute of the criterion changed.
        """
        if self._definition is not None and self._definition.changed():
            raise ValueError("criterion has changed since the operator was made: make a new one")

    @property
    def sums_rows(self) -> bool:
        """Whether the loss is known to be a sum over rows; the model may still couple them."""
        return bool(self._loss_fn is None and self._known)

    @property
    def by_function(self) -> bool:
        """Whether it is a function of the caller's that calls the model."""
        return self._loss_fn is not None

    @property
    def key(self) -> Hashable | None:
        """Tells known losses apart that differ in form; None for a function of the caller's."""
        if self._loss_fn is not None or not self._known:
            return None
        plain = {k: v for k, v in vars(self._criterion).items() if not k.startswith("_")}
        # A loss with weights is another program, and its weights are constants of that program.
        weighted = tuple(name for name, _ in self._criterion.named_buffers())
        return (type(self._criterion), repr(sorted(plain.items())), self.divides, weighted)

    def __call__(self, model: nn.Module, batch: Any) -> tuple[Tensor, float]:
        """Return the summed loss (a scalar tensor with its graph) and the count of ``batch``.

        Raises:
            ValueError: The batch is not a pair although a criterion is used, its rows cannot be
                counted, or the loss is not a scalar.
        """
        if self._loss_fn is not None:
            return self._from_function(self._loss_fn(model, batch), batch)
        inputs, targets = self._pair(batch)
        outputs = model(inputs)
        value = _scalar(self._compared(outputs, targets), "criterion")
        if self._known:
            return value, self._count(outputs, targets)
        if not self.divides:
            return value, 1.0
        count = _rows_or_error(batch, "return (sum, count) from a loss_fn instead")
        return value * count, float(count)

    def summed(self, model: nn.Module, batch: Any) -> Tensor:
        """Return the summed loss alone, without looking at any number of the data."""
        if self._loss_fn is not None:
            returned = self._loss_fn(model, batch)
            value = returned[0] if isinstance(returned, tuple) else returned
            return value.reshape(()) * (1 if isinstance(returned, tuple) else rows(batch) or 1)
        inputs, targets = self._pair(batch)
        value = self._criterion(model(inputs), targets).reshape(())
        return value if self._known or not self.divides else value * (rows(batch) or 1)

    def mean_on_trust(self, model: nn.Module, batch: Any) -> float | None:
        """What a function of the caller's returns, where that is taken as a mean; else None."""
        if self._loss_fn is not None:
            returned = self._loss_fn(model, batch)
            return None if isinstance(returned, tuple) else float(returned)
        if self._known or not self.divides:
            return None
        inputs, targets = self._pair(batch)
        return float(self._criterion(model(inputs), targets))

    def outputs_and_loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        """Outputs of the network and their summed loss, for the curvature of the second alone.

        Log-probabilities enter their loss linearly. They are taken as logits, which they are too.

        Raises:
            ValueError: The loss is not a known one of the model's output.
        """
        if self._loss_fn is not None or not self._known or type(self._criterion) is nn.KLDivLoss:
            loss = "loss_fn" if self._loss_fn is not None else type(self._criterion).__name__
            raise ValueError(f"{loss} does not say what the outputs of the network are")
        inputs, targets = self._pair(batch)
        outputs, criterion = model(inputs), self._criterion
        if type(criterion) is nn.L1Loss:
            raise ValueError("L1Loss is linear in the outputs of the network")
        if type(criterion) is nn.NLLLoss:
            total = outputs.detach().logsumexp(1 if outputs.dim() > 1 else 0)
            if not total.abs().max() < 1e-3:
                raise ValueError("the outputs before NLLLoss are not log-probabilities")
            criterion = nn.CrossEntropyLoss(
                criterion.weight, ignore_index=criterion.ignore_index, reduction="sum"
            )
        if type(criterion) is nn.BCELoss and "Sigmoid" in type(outputs.grad_fn).__name__:
            outputs = torch.logit(outputs)
            return outputs, criterion(torch.sigmoid(outputs), targets)
        return outputs, criterion(outputs, targets).reshape(())

    def _pair(self, batch: Any) -> tuple[Any, Any]:
        if isinstance(batch, list | tuple) and len(batch) == 2:
            return batch[0], batch[1]
        size = f" of {len(batch)}" if isinstance(batch, list | tuple | dict) else ""
        raise ValueError(
            f"loader yields a {type(batch).__name__}{size}, but a criterion needs batches "
            "(inputs, targets); pass loss_fn(model, batch) for anything else"
        )

    def _compared(self, outputs: Any, targets: Any) -> Any:
        """What the criterion makes of both; what is no tensor is named."""
        if self._known:
            advice = "pass loss_fn(model, batch) for anything else"
            for name, value in (("model must return", outputs), ("loader must yield", targets)):
                if not isinstance(value, Tensor):
                    what = f"{name} a tensor for {type(self._criterion).__name__}"
                    raise TypeError(f"{what}, got {type(value).__name__}; {advice}")
            require_paired(self._criterion, outputs, targets)
        return self._criterion(outputs, targets)

    def normaliser(self, counts: float) -> float:
        """What the summed loss of the whole data is divided by."""
        return counts if self.divides else 1.0

    def count_of_targets(self, batch: Any) -> float | None:
        """The count of ``batch`` where class indices alone decide it; else None."""
        if self._loss_fn is not None or type(self._criterion) not in BY_TARGET:
            return None
        _, targets = self._pair(batch)
        if not isinstance(targets, Tensor) or targets.is_floating_point():
            return None
        return self._count(targets, targets)

    def _count(self, outputs: Tensor, targets: Tensor) -> float:
        if isinstance(self._criterion, BY_ELEMENT):
            if self._per_row:
                return float(outputs.shape[0])
            return float(torch.broadcast_shapes(outputs.shape, targets.shape).numel())
        if targets.is_floating_point():  # class probabilities: one term per position
            return outputs.numel() / outputs.shape[1 if outputs.dim() > 1 else 0]
        valid = targets != self._criterion.ignore_index
        if self._criterion.weight is None:
            return float(valid.sum())
        return float(self._criterion.weight.double()[targets[valid]].sum())

    def _from_function(self, returned: Any, batch: Any) -> tuple[Tensor, float]:
        if isinstance(returned, tuple):
            if len(returned) != 2:
                raise ValueError(f"loss_fn must return (sum, count), got {len(returned)} values")
            return _scalar(returned[0], "loss_fn"), counted(returned[1])
        count = _rows_or_error(batch, "return (sum, count) from loss_fn")
        return _scalar(returned, "loss_fn") * count, float(count)


def _scalar(value: Any, name: str) -> Tensor:
    if not isinstance(value, Tensor) or value.numel() != 1:
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"{name} must return a scalar tensor, got {shape}")
    return value.reshape(())


def counted(count: Any) -> float:
    """What a ``loss_fn`` says that its sum is to be divided by.

    Raises:
        ValueError: It is no number, or a negative one.
    """
    if isinstance(count, Tensor) and count.numel() != 1:
        raise ValueError(
            "loss_fn must return a mean over rows or (sum, count), got a tensor of shape "
            f"{tuple(count.shape)} for the count: return the loss alone"
        )
    plain = count.item() if isinstance(count, Tensor) else count
    require_number(least=0, **{"the count that loss_fn returns": plain})
    return float(plain)


def _rows_or_error(batch: Any, advice: str) -> int:
    count = rows(batch)
    if count is None:
        raise ValueError(
            "the batch's tensors have different leading sizes, so a mean over its rows is not "
            f"defined; {advice}"
        )
    return count
