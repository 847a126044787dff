"""The training losses a recipe can name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor
from torch.nn import functional

from landscape_fast.training.resolve import call, resolve

Loss = Callable[[Tensor, Tensor], Tensor]

LOSSES: Mapping[str, Loss] = {"cross_entropy": functional.cross_entropy}


def build_loss(name: str) -> Loss:
    """Return the loss called ``name``: ``loss(outputs, targets)``, the mean over a batch.

    Args:
        name: A key of :data:`LOSSES`, or ``package.module:callable``. A class is instantiated
            without arguments, so ``torch.nn:MSELoss`` works as ``torch.nn.functional:mse_loss``
            does.

    Raises:
        ValueError: Unknown name, or a class that needs arguments.
        TypeError: What is named is not callable.

    Example:
        >>> import torch
        >>> build_loss("torch.nn:MSELoss")(torch.ones(2), torch.zeros(2))
        tensor(1.)
    """
    loss = resolve(name, LOSSES, argument="loss")
    if isinstance(loss, type):
        loss = call(loss, {}, argument="loss options")
    return loss
