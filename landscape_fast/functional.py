"""Calls of a module with other tensors in place of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def called_with(module: nn.Module, tensors: dict[str, Tensor], args: tuple[Any, ...]) -> Any:
    """What ``module`` returns with ``tensors`` in place of parameters and buffers of these names.

    As :func:`torch.func.functional_call`, which leaves the list of weights that each recurrent
    layer computes with full of the values it put in: the layer would never see its own parameters
    again.

    Args:
        module: Any module; comes back as it was.
        tensors: By name. A buffer that the call replaces is replaced here.
        args: Positional arguments of the call.

    Example:
        >>> layer = nn.GRU(2, 1)
        >>> other = {name: torch.zeros_like(p) for name, p in layer.named_parameters()}
        >>> _ = called_with(layer, other, (torch.ones(1, 1, 2),))
        >>> layer._flat_weights[0] is layer.weight_ih_l0
        True
    """
    with _recurrent_weights_kept(module):
        return torch.func.functional_call(module, tensors, args)


@contextmanager
def _recurrent_weights_kept(module: nn.Module) -> Iterator[None]:
    kept = [
        (layer, list(layer._flat_weights))
        for layer in module.modules()
        if isinstance(layer, nn.RNNBase)
    ]
    try:
        yield
    finally:
        for layer, weights in kept:
            layer._flat_weights = weights
