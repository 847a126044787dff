"""How decided the probabilities of a classifier are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from landscape_fast.linearise.batches import Batches
from landscape_fast.linearise.state import measurable, untouched
from landscape_fast.metrics.networks import device_of
from landscape_fast.results import Freezing


def probability_freezing(model: nn.Module, loader: Iterable[Any]) -> Freezing:
    r"""Spread of the logits of every sample, and how far it has decided the classes.

    While a network trains its logits grow, so that one class takes all probability and
    :math:`p_k (1 - p_k)`, by which the loss bends in the logits, vanishes: a random energy model
    whose temperature is one over the spread of the logits.

    Args:
        model: A classifier that returns logits (b, C); measured in evaluation mode and left
            untouched.
        loader: Iterable of batches ``(inputs, classes)``.

    Returns:
        The centred logits, with ``logit_std``, ``entropy``, ``confidence``, ``slope`` and
        ``critical_std`` read off them.

    Raises:
        ValueError: The loader is empty, or logits are no (b, C) beside class indices (b,).

    References:
        Fort and Ganguli (2019), arXiv:1910.05929. Derrida (1981), doi:10.1103/PhysRevB.24.2613.

    Example:
        >>> data = [(3.0 * torch.eye(2), torch.tensor([0, 1]))]
        >>> found = probability_freezing(nn.Identity(), data)
        >>> found.logit_std, round(found.confidence, 4)
        (1.5, 0.9526)
    """
    model = measurable(model)
    logits, targets = [], []
    with untouched(model), torch.no_grad():
        model.eval()
        for batch in Batches(loader, device=device_of(model)):
            if not (isinstance(batch, list | tuple) and len(batch) == 2):
                raise ValueError("loader must yield batches (inputs, classes)")
            found, classes = model(batch[0]), batch[1]
            shapes = [tuple(getattr(each, "shape", ())) for each in (found, classes)]
            if len(shapes[0]) != 2 or shapes[1] != shapes[0][:1]:
                raise ValueError(
                    "model must return logits (b, C) for class indices (b,), got shapes "
                    f"{shapes[0]} and {shapes[1]}"
                )
            logits.append(found.double().cpu())
            targets.append(classes.long().cpu())
    joined = torch.cat(logits)
    return Freezing(logits=joined - joined.mean(1, keepdim=True), targets=torch.cat(targets))
