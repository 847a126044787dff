"""The losses that torch has, and how each counts what it sums."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_MODULE_OF_FUNCTION: dict[Any, type[nn.Module]] = {
    F.cross_entropy: nn.CrossEntropyLoss,
    F.nll_loss: nn.NLLLoss,
    F.mse_loss: nn.MSELoss,
    F.l1_loss: nn.L1Loss,
    F.smooth_l1_loss: nn.SmoothL1Loss,
    F.huber_loss: nn.HuberLoss,
    F.binary_cross_entropy: nn.BCELoss,
    F.binary_cross_entropy_with_logits: nn.BCEWithLogitsLoss,
}
BY_TARGET = (nn.CrossEntropyLoss, nn.NLLLoss)
BY_ELEMENT = (
    nn.MSELoss,
    nn.L1Loss,
    nn.SmoothL1Loss,
    nn.HuberLoss,
    nn.BCELoss,
    nn.BCEWithLogitsLoss,
    nn.KLDivLoss,
    nn.PoissonNLLLoss,
)


def as_module(criterion: Callable[..., Any] | None) -> Any:
    """The criterion as torch's module where torch has it, cross-entropy for None."""
    if criterion is None:
        return nn.CrossEntropyLoss()
    if isinstance(criterion, functools.partial) and not criterion.args:
        known = _MODULE_OF_FUNCTION.get(criterion.func)
        return known(**criterion.keywords) if known else criterion
    try:
        known = _MODULE_OF_FUNCTION.get(criterion)
    except TypeError:  # an unhashable callable object
        known = None
    return known() if known else criterion


def require_paired(criterion: object, outputs: Tensor, targets: Tensor) -> None:
    """Refuse outputs (N, 1) and targets (N,), of which torch compares all with all.

    Raises:
        ValueError: As described.
    """
    if not isinstance(criterion, BY_ELEMENT) or outputs.shape == targets.shape:
        return
    try:
        together = torch.broadcast_shapes(outputs.shape, targets.shape)
    except RuntimeError:
        return  # the criterion says it in its own words
    if together != outputs.shape:
        raise ValueError(
            f"{type(criterion).__name__} compares outputs of shape "
            f"{tuple(outputs.shape)} with targets of shape {tuple(targets.shape)}, each with "
            f"each as {tuple(together)}; give targets the shape of the outputs"
        )
